import numpy as np
import pytest
import torch

from ml.errors import InvalidSpecError
from ml.preparation import find_preparation, prepare_photo


@pytest.mark.parametrize("channels", [1, 3])
def test_a_photo_becomes_a_square_of_bytes(channels: int) -> None:
    prepared = prepare_photo(np.zeros((90, 50, 3), dtype=np.uint8), 32, channels)
    assert prepared.shape == (channels, 32, 32)
    assert prepared.dtype == torch.uint8


def test_the_centre_of_a_photo_is_kept() -> None:
    photo = np.zeros((60, 180, 3), dtype=np.uint8)
    photo[:, 60:120] = 255
    assert (prepare_photo(photo, 16, 3) == 255).all()


def test_the_colour_order_of_a_photo_is_kept() -> None:
    prepared = prepare_photo(np.full((20, 20, 3), (250, 100, 0), dtype=np.uint8), 8, 3)
    assert prepared[:, 4, 4].tolist() == [250, 100, 0]


def test_an_unknown_preparation_is_named() -> None:
    with pytest.raises(InvalidSpecError, match=r"input\.preparation: must be one of: garment, photo"):
        find_preparation("magic")
