from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms._presets import ImageClassification

from ml.errors import InvalidSpecError
from ml.images import Picture, decode_picture
from ml.preparation import PHOTO_TOLERANCE, find_preparation, prepare_photo, prepare_photo_on_device
from tests.unit.ml.conftest import EncodeImage

Pixels = npt.NDArray[np.uint8]
Prepare = Callable[[Picture, int, int], torch.Tensor]

SIZE = 224


def _picture(pixels_hwc: Pixels) -> Picture:
    return Picture(pixels_hwc, *pixels_hwc.shape[:2])


@pytest.fixture(params=[0, 1], ids=["china", "flower"])
def photograph(request: pytest.FixtureRequest) -> Pixels:
    """A real photograph, 640 x 427, sharp to the pixel."""
    photograph: Pixels = load_sample_images().images[request.param].copy()
    return photograph


@pytest.mark.parametrize("channels", [1, 3])
def test_a_photo_becomes_a_square_of_bytes(channels: int) -> None:
    prepared = prepare_photo(_picture(np.zeros((90, 50, 3), dtype=np.uint8)), 32, channels)
    assert prepared.shape == (channels, 32, 32)
    assert prepared.dtype == torch.uint8
    assert prepared.is_contiguous()


def test_the_centre_of_a_photo_is_kept() -> None:
    photo = np.zeros((60, 180, 3), dtype=np.uint8)
    photo[:, 60:120] = 255
    assert (prepare_photo(_picture(photo), 16, 3) == 255).all()


def test_the_colour_order_of_a_photo_is_kept() -> None:
    prepared = prepare_photo(_picture(np.full((20, 20, 3), (250, 100, 0), dtype=np.uint8)), 8, 3)
    assert prepared[:, 4, 4].tolist() == [250, 100, 0]


def test_a_gray_photo_has_the_brightness_that_pillow_gives_it() -> None:
    prepared = prepare_photo(_picture(np.full((20, 20, 3), (250, 100, 0), dtype=np.uint8)), 8, 1)
    assert prepared[0, 4, 4] == Image.new("RGB", (1, 1), (250, 100, 0)).convert("L").getpixel((0, 0))


def test_a_photo_is_prepared_as_torchvision_prepares_it(photograph: Pixels) -> None:
    preset: Any = ImageClassification(crop_size=SIZE, mean=(0.0,) * 3, std=(1.0,) * 3)
    expected = preset(Image.fromarray(photograph)) * 255
    prepared = prepare_photo(_picture(photograph), SIZE, 3)
    assert (prepared.float() - expected).abs().max() <= 1.01


def test_a_photo_is_prepared_on_a_device_as_on_the_cpu(photograph: Pixels) -> None:
    pixels_chw = torch.from_numpy(photograph).permute(2, 0, 1)
    on_device = prepare_photo_on_device(pixels_chw.float(), SIZE, 3)
    expected = prepare_photo(_picture(photograph), SIZE, 3)
    assert (on_device.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("shape", [(20_000, 8, 3), (8, 20_000, 3)])
def test_of_a_long_strip_the_middle_is_seen(shape: tuple[int, int, int]) -> None:
    strip = np.zeros(shape, dtype=np.uint8)
    strip[shape[0] // 2 - 4 : shape[0] // 2 + 4, shape[1] // 2 - 4 : shape[1] // 2 + 4] = 255
    assert prepare_photo(_picture(strip), 16, 3)[:, 7:9, 7:9].min() > 200


@pytest.mark.parametrize("size", [(4000, 2668), (2668, 4000), (4031, 3023), (2000, 1333), (1000, 667)])
def test_a_photo_decoded_at_reduced_scale_is_within_the_tolerance_of_the_full_decode(
    photograph: Pixels, size: tuple[int, int], encode_image: EncodeImage
) -> None:
    file = encode_image(Image.fromarray(photograph).resize(size, Image.Resampling.BICUBIC), "JPEG", quality=90)
    full, reduced = decode_picture(file), decode_picture(file, target_px=_target(SIZE))
    assert reduced.reduction > 1
    assert _difference(prepare_photo(full, SIZE, 3), prepare_photo(reduced, SIZE, 3)) <= PHOTO_TOLERANCE


@pytest.mark.parametrize("size", [36, 64, 96, 112, 128, 146])
def test_a_sharp_photo_for_a_small_network_is_within_the_tolerance_too(
    photograph: Pixels, size: int, encode_image: EncodeImage
) -> None:
    file = encode_image(photograph, "JPEG", quality=95)
    full, reduced = decode_picture(file), decode_picture(file, target_px=_target(size))
    assert reduced.reduction > 1
    assert _difference(prepare_photo(full, size, 3), prepare_photo(reduced, size, 3)) <= PHOTO_TOLERANCE


def test_a_reduced_garment_is_the_garment(fashion: Any, samples: Path, encode_image: EncodeImage) -> None:
    for file in sorted(samples.glob("*.jpg"))[::3]:
        photo = Image.open(file)
        large = encode_image(photo.resize((photo.width * 4, photo.height * 4), Image.Resampling.BICUBIC), "JPEG")
        preparation = find_preparation("garment")
        tops = [
            fashion.encode(fashion.forward(preparation.prepare(picture, 28, 1)[None])[0])["label"]
            for picture in (decode_picture(large), decode_picture(large, target_px=28 * 8))
        ]
        assert all(first == second for first, second in pairwise(tops)), file.name


def test_an_unknown_preparation_is_named() -> None:
    with pytest.raises(InvalidSpecError, match=r"input\.preparation: must be one of: garment, letterbox, photo"):
        find_preparation("magic")


def _target(size: int) -> int:
    return int(np.ceil(size * find_preparation("photo").detail))


def _difference(first: torch.Tensor, second: torch.Tensor) -> float:
    """Mean absolute difference in levels of 255."""
    return float((first.float() - second.float()).abs().mean())
