import pytest
import torch

from ml.normalisation import Normalisation
from ml.spec import InputSpec

CPU = torch.device("cpu")


def test_bytes_of_an_image_become_what_the_network_was_trained_on() -> None:
    spec = InputSpec(type="image", size=2, channels=3, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    batch = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    normalised = Normalisation(spec, CPU)(batch)
    assert normalised.dtype == torch.float32
    assert normalised[0, :, 0, 0].tolist() == pytest.approx([1.0, 3.0, 1.0])


@pytest.mark.parametrize("input_type", ["vector", "record"])
def test_anything_but_an_image_stays_as_it_is(input_type: str) -> None:
    batch = torch.randn(4, 3)
    assert torch.equal(Normalisation(InputSpec(type=input_type, size=3), CPU)(batch), batch)  # type: ignore[arg-type]  # One of both.
