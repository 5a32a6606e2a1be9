import dataclasses
import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ml.errors import InvalidInputError, InvalidSpecError, NonFiniteOutputError
from ml.inputs import blank_item
from ml.kinds import build_untrained
from ml.predictor import File, Predictor
from ml.segmentation import count_confusion, iou_by_label, mean_iou
from ml.spec import ModelSpec
from ml.verdicts import judge
from tests.unit.ml.conftest import EncodeImage

SIDE = 32
CONFIG: dict[str, Any] = {
    "kind": "segmentation",
    "arch": "garment-unet",
    "arch_options": {"widths": [2, 2, 2, 2]},
    "input": {"type": "image", "size": SIDE, "channels": 3, "preparation": "letterbox"},
    "labels": ["Background", "Bag", "Sandal"],
}


@pytest.fixture
def spec() -> ModelSpec:
    return ModelSpec.from_config("scenes", 1, CONFIG)


@pytest.fixture
def predictor(spec: ModelSpec) -> Predictor:
    built = build_untrained(spec, "cpu")
    built.module.eval()
    return built


def outputs_of(predictor: Predictor, labels_ss: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Sure outputs ``[K, S + 1, S]`` for label indices ``[S, S]`` of a picture of ``size``."""
    logits = torch.nn.functional.one_hot(labels_ss, len(predictor.spec.labels)).permute(2, 0, 1) * 20.0
    if size is None:
        return logits
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "PNG")
    told = predictor.decode(buffer.getvalue())[:1, SIDE:].float().expand(len(logits), -1, -1)
    return torch.cat([logits, told], dim=1)


def test_a_picture_becomes_a_square_and_its_size(predictor: Predictor, encode_image: EncodeImage) -> None:
    item = predictor.decode(encode_image(Image.new("RGB", (600, 401), "white")))
    assert (item.shape, item.dtype) == ((3, SIDE + 1, SIDE), torch.uint8)
    assert item[0, SIDE, :6].tolist() == [0, 600 // 256, 600 % 256, 0, 401 // 256, 401 % 256]


def test_numbers_are_refused(predictor: Predictor) -> None:
    with pytest.raises(InvalidInputError, match="takes an image file"):
        predictor.decode([0.0, 1.0])


def test_a_bad_picture_leaves_its_error_in_its_place(predictor: Predictor, encode_image: EncodeImage) -> None:
    good, bad = predictor.decode_batch([encode_image(Image.new("RGB", (9, 9))), b"no picture"])
    assert isinstance(good, Tensor)
    assert isinstance(bad, InvalidInputError)


def test_the_size_goes_around_the_network(predictor: Predictor, encode_image: EncodeImage) -> None:
    item = predictor.decode(encode_image(Image.new("RGB", (700, 300))))
    outputs = predictor.forward(item.unsqueeze(0))
    assert outputs.shape == (1, 3, SIDE + 1, SIDE)
    assert torch.equal(outputs[0, 0, SIDE], item[0, SIDE].float())


def test_a_blank_item_has_no_size_and_is_answered_too(predictor: Predictor) -> None:
    outputs = predictor.forward(blank_item(predictor.spec.input).unsqueeze(0))
    assert outputs.shape == (1, 3, SIDE, SIDE)
    assert predictor.encode(outputs[0])["picture"] == {"width": SIDE, "height": SIDE}


def test_a_batch_is_answered_as_its_items_are(predictor: Predictor, encode_image: EncodeImage) -> None:
    rng = np.random.default_rng(0)
    sizes = [(40, 60), (60, 40), (33, 32), (500, 100)]
    files = [encode_image(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)) for width, height in sizes]
    items = torch.stack([predictor.decode(file) for file in files])
    with torch.inference_mode():
        together = predictor.encode_batch(predictor.forward(items))
        alone = [predictor.encode(predictor.forward(item.unsqueeze(0))[0]) for item in items]
    assert together == alone
    assert [(result["picture"]["width"], result["picture"]["height"]) for result in alone] == sizes


def test_areas_are_shares_of_the_picture_and_boxes_are_in_its_pixels(predictor: Predictor) -> None:
    labels = torch.zeros(SIDE, SIDE, dtype=torch.int64)
    # The picture is twice as wide as high: rows 8 to 24 of the square.
    labels[8:16, 0:8], labels[12:20, 20:32] = 1, 2
    result = predictor.encode(outputs_of(predictor, labels, (640, 320)))
    assert result["classes"] == [
        {"label": "Sandal", "score": 1.0, "area": 0.1875, "boxes": [[400, 80, 640, 240]]},
        {"label": "Bag", "score": 1.0, "area": 0.125, "boxes": [[0, 0, 160, 160]]},
    ]
    assert result["picture"] == {"width": 640, "height": 320}


def test_each_part_of_a_class_has_its_box(predictor: Predictor) -> None:
    labels = torch.zeros(SIDE, SIDE, dtype=torch.int64)
    labels[0:4, 0:4], labels[10:20, 10:20] = 1, 1
    [found] = predictor.encode(outputs_of(predictor, labels))["classes"]
    assert found["boxes"] == [[10, 10, 20, 20], [0, 0, 4, 4]]


def test_the_mask_has_the_shape_of_the_picture_and_its_indices(predictor: Predictor) -> None:
    labels = torch.zeros(SIDE, SIDE, dtype=torch.int64)
    labels[8:16, 0:8] = 1
    mask = predictor.encode(outputs_of(predictor, labels, (640, 320)))["mask"]
    assert isinstance(mask["file"], File)
    indices_hw = np.asarray(Image.open(io.BytesIO(mask["file"].data)))
    assert indices_hw.shape == (mask["height"], mask["width"]) == (16, 32)
    assert (indices_hw == labels[8:24].numpy()).all()
    assert [(entry["index"], entry["label"]) for entry in mask["legend"]] == [(1, "Bag")]


def test_specks_and_bars_are_background(predictor: Predictor) -> None:
    labels = torch.zeros(SIDE, SIDE, dtype=torch.int64)
    labels[20, 20], labels[0:4] = 1, 2
    result = predictor.encode(outputs_of(predictor, labels, (640, 320)))
    assert result["classes"] == []
    assert not np.asarray(Image.open(io.BytesIO(result["mask"]["file"].data))).any()


def test_a_picture_of_the_longest_strip_keeps_its_size(predictor: Predictor) -> None:
    outputs = outputs_of(predictor, torch.ones(SIDE, SIDE, dtype=torch.int64), (3_000_000, 8))
    result = predictor.encode(outputs)
    assert result["picture"] == {"width": 3_000_000, "height": 8}
    assert result["classes"][0]["boxes"] == [[0, 0, 3_000_000, 8]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_the_size(predictor: Predictor, dtype: torch.dtype) -> None:
    outputs = outputs_of(predictor, torch.zeros(SIDE, SIDE, dtype=torch.int64), (4_031, 3_023)).to(dtype)
    assert predictor.encode(outputs)["picture"] == {"width": 4_031, "height": 3_023}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_output_that_is_not_finite_fails_alone(predictor: Predictor, value: float) -> None:
    outputs = torch.zeros(2, 3, SIDE, SIDE)
    outputs[0, 1, 5, 5] = value
    bad, good = predictor.encode_batch(outputs)
    assert isinstance(bad, NonFiniteOutputError)
    assert isinstance(good, dict)


def test_the_loss_falls_as_outputs_come_near_the_truth(predictor: Predictor) -> None:
    targets = torch.randint(0, 3, (2, SIDE, SIDE))
    right = torch.stack([outputs_of(predictor, target) for target in targets])
    losses = [float(predictor.loss(right * strength, targets)) for strength in (-0.1, 0.0, 0.1, 1.0)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.01


def test_the_metric_is_one_for_the_truth(predictor: Predictor) -> None:
    targets = torch.randint(0, 3, (2, SIDE, SIDE))
    right = torch.stack([outputs_of(predictor, target) for target in targets])
    assert predictor.metric(right, targets) == 1.0
    assert predictor.metric(-right, targets) == 0.0


def test_the_mean_leaves_out_the_background_and_labels_that_nobody_names() -> None:
    confusion = count_confusion(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 1]), 3)
    assert confusion.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert iou_by_label(confusion)[:2].tolist() == [0.5, pytest.approx(2 / 3)]
    assert mean_iou(confusion) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("labels", {"labels": ("Background",)}),
        ("labels", {"labels": tuple(map(str, range(257)))}),
    ],
)
def test_labels_that_no_mask_can_hold_are_refused(spec: ModelSpec, field: str, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpecError, match=f"^{field}"):
        build_untrained(dataclasses.replace(spec, **change), "cpu")


def test_a_preparation_that_cuts_is_refused(spec: ModelSpec) -> None:
    cut = dataclasses.replace(spec, input=dataclasses.replace(spec.input, preparation="photo"))
    with pytest.raises(InvalidSpecError, match=r"^input\.preparation: must be 'letterbox'"):
        build_untrained(cut, "cpu")


def test_a_way_that_changes_the_mask_is_thrown_out_however_large_the_picture(predictor: Predictor) -> None:
    size = (250, 200)
    reference = outputs_of(predictor, torch.zeros(SIDE, SIDE, dtype=torch.int64), size)[None]
    labels_ss = torch.zeros(SIDE, SIDE, dtype=torch.int64)
    labels_ss[: SIDE // 4] = 1
    # Faint enough that the bytes of the size are far larger than any difference.
    faint, changed = reference.clone(), outputs_of(predictor, labels_ss, size)[None].clone()
    for outputs in (faint, changed):
        outputs[:, :, :SIDE] *= 0.01

    assert predictor.deviation(faint, changed).agreement == pytest.approx(0.75)
    assert "agrees on 75.0%" in judge(predictor, faint, changed)[0]
    assert judge(predictor, faint, faint * 1.001)[0] == ""
