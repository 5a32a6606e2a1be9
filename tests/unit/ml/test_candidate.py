import io
import pickle
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.candidate import check_candidate
from ml.errors import ArchiveError, InvalidSpecError, MLError, ModelLoadError, WeightsError
from ml.kinds import build_predictor, build_untrained
from ml.spec import ModelSpec
from ml.weights import dump_weights
from tests.unit.ml.archives.conftest import export, make_module

LABELS = ["a", "b", "c"]
ARCHIVE_CONFIG: dict[str, Any] = {"name": "mine", "labels": LABELS}


@pytest.fixture
def config(vector_config: dict[str, Any]) -> dict[str, Any]:
    return {"name": "mine", **vector_config, "labels": LABELS}


@pytest.fixture
def weights(config: dict[str, Any]) -> bytes:
    return dump_weights(build_untrained(ModelSpec.from_config("mine", 1, config), "cpu").module)


def _changed(weights: bytes, **changes: torch.Tensor | None) -> bytes:
    tensors = {**safetensors.torch.load(weights), **changes}
    return safetensors.torch.save({name: tensor for name, tensor in tensors.items() if tensor is not None})


def test_a_model_that_fits_has_answered(config: dict[str, Any], weights: bytes) -> None:
    candidate = check_candidate({**config, "metrics": {"test_accuracy": 0.5}, "description": "Mine."}, weights)
    assert candidate.answer["label"] in LABELS
    assert (candidate.name, candidate.kind) == ("mine", "classification")
    assert (candidate.metrics, candidate.description, candidate.notices) == ({"test_accuracy": 0.5}, "Mine.", ())


def test_the_answer_is_about_the_sample(config: dict[str, Any], weights: bytes) -> None:
    blank, sample = check_candidate(config, weights), check_candidate(config, weights, [3.0, -3.0])
    assert blank.answer["score"] != sample.answer["score"]


def test_the_configuration_builds_the_same_model_again() -> None:
    data = export(make_module())
    candidate = check_candidate(ARCHIVE_CONFIG, data)
    predictor = build_predictor(ModelSpec.from_config("mine", 2, candidate.config), data, "cpu")
    blank = torch.zeros(3, 8, 8, dtype=torch.uint8)
    assert predictor.encode(predictor.forward(blank.unsqueeze(0))[0])["label"] == candidate.answer["label"]


def test_an_archive_tells_its_input_itself() -> None:
    candidate = check_candidate(ARCHIVE_CONFIG, export(make_module()))
    assert candidate.config["format"] == "torch-export"
    assert candidate.config["input"] == {"type": "image", "size": 8, "channels": 3}
    assert "pixels as 0..1" in candidate.notices[0]


def test_an_archive_for_one_size_of_batch_is_served_with_a_notice() -> None:
    candidate = check_candidate(ARCHIVE_CONFIG, export(make_module(), batch=4))
    assert candidate.config["max_batch"] == 4
    assert any("filled up with zeros" in notice for notice in candidate.notices)


def test_an_archive_cannot_be_trained() -> None:
    spec = ModelSpec.from_config("mine", 1, check_candidate(ARCHIVE_CONFIG, export(make_module())).config)
    with pytest.raises(InvalidSpecError, match="cannot be trained"):
        build_untrained(spec, "cpu")


def test_torchvisions_input_need_not_be_given() -> None:
    config = {"name": "mine", "arch": "torchvision:squeezenet1_1", "labels": LABELS}
    spec = ModelSpec.from_config(
        "mine", 1, {**config, "kind": "classification", "input": {"type": "image", "size": 64}}
    )
    candidate = check_candidate(config, dump_weights(build_untrained(spec, "cpu").module))
    assert candidate.config["input"]["size"] == 224
    assert candidate.config["input"]["std"] == [0.229, 0.224, 0.225]


def _torch_save() -> bytes:
    buffer = io.BytesIO()
    torch.save({"0.weight": torch.zeros(1)}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not safetensors"),
        (b"nonsense", "not safetensors"),
        (pickle.dumps({"0.weight": 1}), "is a pickle"),
        (_torch_save(), "is a pickle"),
        (_torch_save()[:300], "is a pickle"),
        (safetensors.torch.save({"x": torch.zeros(1)}), "missing 0.bias.* unknown x"),
    ],
)
def test_a_file_of_something_else_is_refused(config: dict[str, Any], data: bytes, sentence: str) -> None:
    with pytest.raises(WeightsError, match=sentence):
        check_candidate(config, data)


def test_truncated_weights_are_refused(config: dict[str, Any], weights: bytes) -> None:
    with pytest.raises(WeightsError, match="truncated"):
        check_candidate(config, weights[:-10])


def test_a_truncated_archive_is_refused() -> None:
    with pytest.raises(ArchiveError, match="truncated"):
        check_candidate(ARCHIVE_CONFIG, export(make_module())[:20_000])


def test_weights_that_are_not_finite_are_refused(config: dict[str, Any], weights: bytes) -> None:
    with pytest.raises(WeightsError, match=r"0\.bias holds NaN"):
        check_candidate(config, _changed(weights, **{"0.bias": torch.full((8,), float("nan"))}))


def test_weights_for_other_labels_are_refused_with_both_shapes(config: dict[str, Any], weights: bytes) -> None:
    with pytest.raises(WeightsError, match=r"2\.\w+ has shape \[3.*\], expected \[4.*\]\. Check .* labels"):
        check_candidate({**config, "labels": [*LABELS, "d"]}, weights)


def test_weights_with_another_checksum_are_refused(config: dict[str, Any], weights: bytes) -> None:
    with pytest.raises(WeightsError, match="SHA-256"):
        check_candidate({**config, "sha256": "00" * 32}, weights)


def test_an_archive_for_other_labels_is_refused_with_both_counts() -> None:
    with pytest.raises(ModelLoadError, match="3 outputs an item, but 4 labels"):
        check_candidate({**ARCHIVE_CONFIG, "labels": [*LABELS, "d"]}, export(make_module()))


def test_an_archive_for_another_input_is_refused_with_both_shapes() -> None:
    config = {**ARCHIVE_CONFIG, "input": {"type": "image", "size": 28, "channels": 3}}
    with pytest.raises(ArchiveError, match=r"\[3, 8, 8\] float32, the configuration gives it \[3, 28, 28\] float32"):
        check_candidate(config, export(make_module()))


def test_an_archive_for_another_type_is_refused_with_both() -> None:
    module = make_module().double()
    with pytest.raises(ArchiveError, match=r"float64, the configuration gives it .* float32"):
        check_candidate(ARCHIVE_CONFIG, export(module, example=torch.rand(5, 3, 8, 8, dtype=torch.float64)))


def test_an_archive_that_was_exported_while_training_is_refused() -> None:
    with pytest.raises(ModelLoadError, match=r"Call eval\(\) on it and export it again"):
        check_candidate(ARCHIVE_CONFIG, export(make_module().train()))


class DividesByBlank(nn.Module):
    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.mean(dim=(2, 3)) / batch.amax(dim=(1, 2, 3), keepdim=True).flatten(1)


def test_an_archive_that_answers_nan_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="NaN or infinity when tried"):
        check_candidate(ARCHIVE_CONFIG, export(DividesByBlank()))


class NeedsLight(nn.Module):
    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        torch._assert_async(batch.amin() > 0, "too dark")
        return batch.mean(dim=(2, 3))


def test_an_archive_that_fails_on_a_blank_input_is_refused_with_its_reason() -> None:
    with pytest.raises(ModelLoadError, match=r"fails when tried: RuntimeError: .*too dark"):
        check_candidate(ARCHIVE_CONFIG, export(NeedsLight(), example=torch.rand(5, 3, 8, 8) + 1))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "My model"}, "name"),
        ({"name": None}, "name"),
        ({"arch": None}, "arch"),
        ({"format": "torch-export"}, "format"),
        ({"format": "pickle"}, "format"),
        ({"labels": ["a"]}, "labels"),
        ({"labels": ["a", "a", "b"]}, "labels"),
        ({"input": {"type": "image", "size": 2}}, "input.type"),
        ({"input": None}, "input"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_with_the_field(
    config: dict[str, Any], weights: bytes, change: dict[str, Any], field: str
) -> None:
    changed = {key: value for key, value in {**config, **change}.items() if value is not None}
    with pytest.raises(InvalidSpecError) as caught:
        check_candidate(changed, weights)
    assert caught.value.field == field


def test_an_archive_takes_no_architecture() -> None:
    with pytest.raises(InvalidSpecError, match="brings its own"):
        check_candidate({**ARCHIVE_CONFIG, "arch": "mlp"}, export(make_module()))


@pytest.mark.parametrize("change", [{"kind": "guessing"}, {"arch": "magic"}])
def test_what_is_unknown_is_refused_with_how_to_add_ones_own(
    config: dict[str, Any], weights: bytes, change: dict[str, str]
) -> None:
    with pytest.raises(MLError, match="TORCHQUEUE_PLUGINS loads your own"):
        check_candidate({**config, **change}, weights)


def test_a_folder_of_ours_is_a_candidate() -> None:
    bundle = read_bundle(BUNDLED_DIRECTORY / "xor")
    assert check_candidate(bundle.config, bundle.weights, [0, 1]).answer["label"] == "1"
