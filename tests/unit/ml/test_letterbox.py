import numpy as np
import pytest

from ml.letterbox import PAD_LEVEL, Frame, find_frame, prepare_letterbox


@pytest.mark.parametrize(
    ("size", "frame"),
    [
        ((640, 480), Frame(0, 12, 96, 72)),
        ((480, 640), Frame(12, 0, 72, 96)),
        ((10, 10), Frame(0, 0, 96, 96)),
        ((3_000_000, 8), Frame(0, 47, 96, 1)),
    ],
)
def test_a_picture_lies_in_the_middle_as_large_as_it_can(size: tuple[int, int], frame: Frame) -> None:
    assert find_frame(*size, 96) == frame


@pytest.mark.parametrize("channels", [1, 3])
def test_the_whole_picture_is_kept_between_bars(channels: int) -> None:
    white_hwc = np.full((48, 96, 3), 255, dtype=np.uint8)
    square = prepare_letterbox(white_hwc, 32, channels)
    assert (square.shape, square.is_contiguous()) == ((channels, 32, 32), True)
    assert (square[:, 8:24] == 255).all()
    assert (square[:, :8] == PAD_LEVEL).all()
    assert (square[:, 24:] == PAD_LEVEL).all()
