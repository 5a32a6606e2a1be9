import dataclasses
from pathlib import Path

import pytest
import torch

from ml.errors import UnknownKindError, WeightsError
from ml.kinds import build_predictor, build_untrained
from ml.predictor import Predictor
from ml.spec import ModelSpec
from ml.weights import dump_weights, save_weights


@pytest.fixture
def trained(vector_spec: ModelSpec) -> Predictor:
    return build_untrained(vector_spec, "cpu")


def test_a_predictor_is_built_from_bytes(vector_spec: ModelSpec, trained: Predictor) -> None:
    built = build_predictor(vector_spec, dump_weights(trained.module), "cpu")
    items = torch.randn(3, 2)
    assert torch.equal(built.forward(items), trained.forward(items))


def test_a_predictor_is_built_from_a_file(vector_spec: ModelSpec, trained: Predictor, tmp_path: Path) -> None:
    save_weights(trained.module, tmp_path / "weights.safetensors")
    assert build_predictor(vector_spec, tmp_path / "weights.safetensors", "cpu").spec == vector_spec


def test_a_built_predictor_is_ready_to_answer(vector_spec: ModelSpec, trained: Predictor) -> None:
    assert not build_predictor(vector_spec, dump_weights(trained.module), "cpu").module.training


def test_a_missing_file_is_named(vector_spec: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nothing\.safetensors cannot be read"):
        build_predictor(vector_spec, tmp_path / "nothing.safetensors", "cpu")


def test_an_unknown_kind_is_answered_with_the_known(vector_spec: ModelSpec) -> None:
    with pytest.raises(UnknownKindError, match="known are: classification, similarity"):
        build_untrained(dataclasses.replace(vector_spec, kind="divination"), "cpu")
