import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from ml.garments import prepare_garment
from ml.images import decode_image
from ml.predictor import Predictor
from tests.unit.ml.conftest import EncodeImage

Array = npt.NDArray[Any]


def _rgb(gray_hw: Array) -> npt.NDArray[np.uint8]:
    return np.repeat(np.asarray(gray_hw).astype(np.uint8)[..., None], 3, axis=2)


def _originals(samples: Path) -> list[tuple[npt.NDArray[np.uint8], str]]:
    """Images of the data set with their labels."""
    labels = json.loads((samples / "labels.json").read_text(encoding="utf-8"))
    return [
        (np.asarray(Image.open(samples / name)), label) for name, label in labels.items() if name.endswith("-01.png")
    ]


def _enlarged(garment_hw: Array, side: int = 400) -> npt.NDArray[np.float64]:
    return np.asarray(Image.fromarray(garment_hw).resize((side, side), Image.Resampling.BICUBIC)).astype(float)


def _on_canvas(garment_hw: Array) -> npt.NDArray[np.float64]:
    canvas = np.zeros((800, 600))
    canvas[150:550, 120:520] = _enlarged(garment_hw)
    return canvas


def _shaded(garment_hw: Array) -> npt.NDArray[np.float64]:
    y, x = np.mgrid[-1:1:800j, -1:1:600j]
    shaded: npt.NDArray[np.float64] = (250 - 30 * (x * x + y * y)) * (1 - _on_canvas(garment_hw) / 255)
    return shaded


VARIANTS: dict[str, Callable[[Array], Array]] = {
    "negative": lambda garment: 255 - garment,
    "enlarged": lambda garment: _enlarged(garment, 600),
    "dark on white": lambda garment: 255 - _on_canvas(garment),
    "bright on black": _on_canvas,
    "dark on gray": lambda garment: 180 * (1 - _on_canvas(garment) / 255),
    "unevenly lit": _shaded,
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_photo_of_a_sample_gets_the_samples_label(
    variant: str, samples: Path, fashion: Predictor, encode_image: EncodeImage
) -> None:
    for garment_hw, label in _originals(samples):
        file = encode_image(_rgb(VARIANTS[variant](garment_hw)), "JPEG")
        output = fashion.forward(fashion.decode(file).unsqueeze(0))[0].detach()
        assert fashion.encode(output)["label"] == label


def test_an_image_of_the_data_set_stays_as_it_is(samples: Path) -> None:
    for garment_hw, _ in _originals(samples):
        assert (prepare_garment(_rgb(garment_hw), 28, 1)[0].numpy() == garment_hw).all()


def test_a_negative_becomes_the_original(samples: Path) -> None:
    for garment_hw, _ in _originals(samples):
        assert (prepare_garment(_rgb(255 - garment_hw), 28, 1)[0].numpy() == garment_hw).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_result_is_a_square_of_bytes(channels: int) -> None:
    prepared = prepare_garment(_rgb(np.full((50, 40), 255)), 28, channels)
    assert prepared.shape == (channels, 28, 28)
    assert prepared.dtype == torch.uint8
    assert prepared.is_contiguous()


def test_the_garment_fills_the_longer_side_and_is_centred() -> None:
    photo = np.full((300, 200), 255)
    photo[20:120, 10:60] = 0
    prepared = prepare_garment(_rgb(photo), 28, 1)[0]
    assert (prepared[:, 7:21] == 255).all()
    assert (prepared[:, :7] == 0).all()
    assert (prepared[:, 21:] == 0).all()


def test_dust_does_not_count_as_garment() -> None:
    photo = np.full((300, 300), 255)
    photo[100:200, 100:200] = 0
    photo[280, 280] = 0
    assert (prepare_garment(_rgb(photo), 28, 1) == 255).all()


def test_a_coloured_garment_is_found_on_a_coloured_background() -> None:
    photo = np.full((100, 100, 3), (120, 190, 230), dtype=np.uint8)
    photo[30:70, 30:70] = (20, 20, 30)
    assert prepare_garment(photo, 28, 1).min() > 150


def test_a_garment_in_one_corner_does_not_pass_for_background() -> None:
    photo = np.full((100, 100), 255)
    photo[:60, :60] = 0
    assert (prepare_garment(_rgb(photo), 28, 1) == 255).all()


def test_an_image_without_garment_gives_black() -> None:
    assert not prepare_garment(_rgb(np.full((60, 90), 200)), 28, 1).any()


def test_corners_of_four_colours_are_survived() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    assert prepare_garment(photo, 28, 1).shape == (1, 28, 28)


def test_a_narrow_strip_is_survived() -> None:
    assert prepare_garment(np.zeros((1000, 1, 3), dtype=np.uint8), 28, 1).shape == (1, 28, 28)


def test_a_transparent_background_counts_as_white(samples: Path, encode_image: EncodeImage) -> None:
    garment_hw, _ = _originals(samples)[0]
    covered = _on_canvas(garment_hw).astype(np.uint8)
    opaque = np.stack([255 - covered] * 3, axis=2)
    cut_out = np.dstack([opaque, np.where(covered > 0, 255, 0).astype(np.uint8)])
    expected = prepare_garment(opaque, 28, 1)
    assert (prepare_garment(decode_image(encode_image(cut_out)), 28, 1) == expected).all()
