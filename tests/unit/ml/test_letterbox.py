import numpy as np
import pytest
from PIL import Image

from ml.images import decode_image
from ml.letterbox import PAD_LEVEL, Frame, find_frame, prepare_letterbox, read_picture_size
from tests.unit.ml.conftest import EncodeImage


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


@pytest.mark.parametrize("stored", [(60, 40), (40, 60), (50, 50)])
def test_the_size_is_that_of_the_stored_picture(stored: tuple[int, int], encode_image: EncodeImage) -> None:
    data = encode_image(Image.new("RGB", stored))
    assert read_picture_size(data, decode_image(data)) == stored


def test_the_size_of_a_picture_on_its_side_is_told_upright(encode_image: EncodeImage) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode_image(Image.new("RGB", (600, 400)), "JPEG", exif=exif)
    assert read_picture_size(data, decode_image(data, target_px=48)) == (400, 600)


def test_a_reduced_picture_has_the_size_of_its_file(encode_image: EncodeImage) -> None:
    data = encode_image(Image.new("RGB", (1600, 1200)), "JPEG")
    image_hwc = decode_image(data, target_px=96)
    assert image_hwc.shape[1] < 1600
    assert read_picture_size(data, image_hwc) == (1600, 1200)
