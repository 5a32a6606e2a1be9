"""`tasks.checking`: what an uploaded file must be, and that nothing is ever unpickled."""

import io
import pickle
from typing import Any

import pytest
import torch

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from tasks.checking import check

XOR = read_bundle(BUNDLED_DIRECTORY / "xor")
FASHION = read_bundle(BUNDLED_DIRECTORY / "fashion")

CONFIG = {**{key: value for key, value in XOR.config.items() if key != "sha256"}, "name": "xor"}


class Bomb:
    """Whoever unpickles it fails the test."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("it was unpickled",)


def pickled() -> bytes:
    """What `torch.save` writes today."""
    buffer = io.BytesIO()
    torch.save({"bomb": Bomb()}, buffer)
    return buffer.getvalue()


def with_nan() -> bytes:
    """The weights of `xor`, one number of which is none."""
    return XOR.weights[:-4] + b"\0\0\xc0\x7f"


BAD_WEIGHTS = {
    "a pickle": (pickle.dumps(Bomb()), "is a pickle"),
    "a pickle in a zip file": (pickled(), "is a pickle"),
    "another architecture": (FASHION.weights, "another architecture"),
    "NaN": (with_nan(), "NaN or infinity"),
    "a truncated file": (XOR.weights[:-10], "truncated"),
    "a header alone": (XOR.weights[:200], "truncated"),
    "text": (b"these are no weights", "not safetensors"),
    "zeros": (bytes(1000), "not safetensors"),
}


def test_a_model_that_answers_is_to_be_registered() -> None:
    found = check(CONFIG, XOR.weights)

    assert (found["config"]["arch"], "field" in found) == (CONFIG["arch"], False)


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_weights_that_cannot_be_used_are_refused_with_the_reason(name: str) -> None:
    weights, reason = BAD_WEIGHTS[name]

    found = check(CONFIG, weights)

    assert found["field"] == "weights"
    assert reason in found["detail"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"arch": "nope"}, "config"),
        ({"kind": "nope"}, "config"),
        ({"labels": 7}, "config.labels"),
        ({"input": {"type": "vector"}}, "config.input.size"),
        ({"max_batch": 0}, "config.max_batch"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused_with_its_field(changes: dict[str, Any], field: str) -> None:
    assert check(CONFIG | changes, XOR.weights)["field"] == field
