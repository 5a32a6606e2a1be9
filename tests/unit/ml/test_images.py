import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from ml.errors import InvalidInputError
from ml.images import decode_image, decode_picture
from ml.jpeg import decode_jpeg
from tests.unit.ml.conftest import EncodeImage

RED = (255, 0, 0)
JPEG_TOLERANCE = 4


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png_of_zeros(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj()
    pixels = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _webp_header(width: int, height: int) -> bytes:
    content = b"\x2f" + struct.pack("<I", (width - 1) | ((height - 1) << 14)) + bytes(99)
    body = b"WEBPVP8L" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _refusal(data: bytes) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        decode_image(data, target_px=224)
    return caught.value


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_a_png_of_any_mode_becomes_rgb_bytes(encode_image: EncodeImage, mode: str) -> None:
    decoded = decode_image(encode_image(Image.new("RGB", (12, 9), "white").convert(mode)))
    assert decoded.shape == (9, 12, 3)
    assert decoded.dtype == np.uint8
    assert (decoded == 255).all()


@pytest.mark.parametrize(("image_format", "options"), [("PNG", {}), ("JPEG", {}), ("WEBP", {"lossless": True})])
def test_colours_come_in_the_order_red_green_blue(
    encode_image: EncodeImage, image_format: str, options: dict[str, bool]
) -> None:
    decoded = decode_image(encode_image(Image.new("RGB", (16, 16), RED), image_format, **options))
    assert np.abs(decoded[8, 8].astype(int) - RED).max() <= JPEG_TOLERANCE


def test_a_cmyk_jpeg_keeps_its_colour(encode_image: EncodeImage) -> None:
    decoded = decode_image(encode_image(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    assert np.abs(decoded[8, 8].astype(int) - RED).max() <= JPEG_TOLERANCE


def test_a_cmyk_jpeg_without_adobes_marker_is_not_inverted(encode_image: EncodeImage) -> None:
    data = encode_image(Image.new("CMYK", (16, 16), (255, 0, 0, 255)), "JPEG")
    start = data.index(b"\xff\xee")
    length = int.from_bytes(data[start + 2 : start + 4], "big")
    decoded = decode_image(data[:start] + data[start + 2 + length :])
    # Pillow stored the inverse of what it was given.
    assert np.abs(decoded[8, 8].astype(int) - RED).max() <= JPEG_TOLERANCE


def test_16_bit_gray_is_scaled_and_not_clipped(encode_image: EncodeImage) -> None:
    levels = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (8, 1))
    decoded = decode_image(encode_image(levels))
    assert (decoded[0, :, 0] == np.arange(256)).all()


def test_transparent_pixels_become_white(encode_image: EncodeImage) -> None:
    decoded = decode_image(encode_image(Image.new("RGBA", (8, 8), (0, 0, 0, 0))))
    assert (decoded == 255).all()


def test_half_transparent_black_becomes_gray(encode_image: EncodeImage) -> None:
    decoded = decode_image(encode_image(Image.new("LA", (8, 8), (0, 128))))
    assert (decoded == 127).all()


def test_a_transparent_palette_colour_becomes_white(encode_image: EncodeImage) -> None:
    image = Image.new("P", (8, 8), 3)
    image.putpalette([0, 0, 0] * 256)
    assert (decode_image(encode_image(image, transparency=3)) == 255).all()


def test_the_orientation_in_exif_is_applied(encode_image: EncodeImage) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = np.zeros((16, 32), dtype=np.uint8)
    image[:, :16] = 255
    decoded = decode_image(encode_image(image, "JPEG", exif=exif))
    assert decoded.shape == (32, 16, 3)
    assert decoded[4, 8, 0] > 250
    assert decoded[28, 8, 0] < 5


@pytest.mark.parametrize("target_px", [None, 100])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied_as_pillow_does_it(
    encode_image: EncodeImage, orientation: int, target_px: int | None
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    gradient = Image.merge(
        "RGB", [Image.linear_gradient("L").resize((480, 240)).rotate(angle) for angle in (0, 90, 180)]
    )
    data = encode_image(gradient, "JPEG", exif=exif, quality=95)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    picture = decode_picture(data, target_px=target_px)
    assert (picture.width, picture.height) == expected.size
    assert picture.reduction == (1 if target_px is None else 2)
    reduced = expected.reduce(picture.reduction) if target_px else expected
    assert np.abs(picture.pixels_hwc.astype(int) - np.asarray(reduced)).mean() < 1


@pytest.mark.parametrize("size", [(901, 707), (903, 701), (4001, 3003)])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_a_picture_knows_how_much_of_the_file_its_pixels_stand_for(
    encode_image: EncodeImage, image_format: str, size: tuple[int, int]
) -> None:
    picture = decode_picture(encode_image(Image.new("L", size), image_format), target_px=100)
    assert picture.reduction > 1
    assert (picture.width, picture.height) == size
    assert picture.pixels_hwc.shape[:2] == (-(-size[1] // picture.reduction), -(-size[0] // picture.reduction))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_decoded_in_full_has_the_pixels_that_pillow_reads(
    encode_image: EncodeImage, mode: str, progressive: bool
) -> None:
    data = encode_image(Image.radial_gradient("L").convert("RGB").convert(mode), "JPEG", progressive=progressive)
    with Image.open(io.BytesIO(data)) as image:
        assert (decode_image(data) == np.asarray(image.convert("RGB"))).all()


def test_a_jpeg_with_a_harmless_flaw_is_decoded_by_pillow(encode_image: EncodeImage) -> None:
    data = encode_image(Image.new("RGB", (640, 480), RED), "JPEG")
    # Bytes that mean nothing between two segments, as some cameras leave them.
    flawed = data[:20] + bytes(3) + data[20:]
    assert decode_jpeg(flawed, height=480, width=640, factor=4) is None
    picture = decode_picture(flawed, target_px=100)
    assert (picture.reduction, picture.pixels_hwc.shape) == (4, (120, 160, 3))


def test_a_jpeg_of_another_size_than_was_checked_is_left_alone(encode_image: EncodeImage) -> None:
    data = encode_image(Image.new("RGB", (64, 48)), "JPEG")
    assert decode_jpeg(data, height=48, width=32, factor=1) is None


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_is_ignored(encode_image: EncodeImage) -> None:
    data = encode_image(Image.new("L", (16, 16)), "JPEG", exif=b"Exif\x00\x00II*\x00nonsense")
    assert decode_image(data).shape == (16, 16, 3)


def test_the_first_frame_of_an_animation_is_taken(encode_image: EncodeImage) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    data = encode_image(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert tuple(decode_image(data)[8, 8]) == RED


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_a_large_image_is_decoded_to_no_less_than_the_target(encode_image: EncodeImage, image_format: str) -> None:
    decoded = decode_image(encode_image(Image.new("RGB", (900, 700)), image_format), target_px=100)
    assert 100 <= min(decoded.shape[:2]) < 200
    assert decoded.shape[1] / decoded.shape[0] == pytest.approx(9 / 7, rel=0.02)


def test_a_narrow_strip_is_scaled_down_too() -> None:
    decoded = decode_image(_png_of_zeros(8, 100_000), target_px=100)
    assert decoded.shape[0] < 2 * 100 * 16


def test_no_data_is_refused() -> None:
    error = _refusal(b"")
    assert (error.field, error.detail) == ("input", "The image is empty.")


@pytest.mark.parametrize("data", [b"hello", b"\xff\xd8\xff", bytes(1000), b"GIF89a" + bytes(50)])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    assert _refusal(data).field == "input"


def test_another_image_format_is_refused(encode_image: EncodeImage) -> None:
    assert "not a JPEG, PNG or WebP" in _refusal(encode_image(Image.new("L", (16, 16)), "BMP")).detail


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_file_is_refused(encode_image: EncodeImage, image_format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode_image(noise, image_format)
    assert _refusal(data[: len(data) // 2]).field == "input"


def test_a_truncated_jpeg_is_said_to_be_truncated(encode_image: EncodeImage) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert _refusal(encode_image(noise, "JPEG")[:-500]).detail == "The image file is truncated."


@pytest.mark.parametrize("place", range(4, 32, 7))
def test_a_damaged_file_is_refused(encode_image: EncodeImage, place: int) -> None:
    data = bytearray(encode_image(Image.new("RGB", (64, 64), "red")))
    data[data.index(b"IDAT") + place] ^= 0xFF
    assert "damaged" in _refusal(bytes(data)).detail


@pytest.mark.parametrize("size", [(1, 1), (7, 8), (8, 7)])
def test_an_image_that_is_too_small_is_refused(encode_image: EncodeImage, size: tuple[int, int]) -> None:
    assert "at least 8 x 8" in _refusal(encode_image(Image.new("L", size))).detail


def test_the_smallest_image_is_accepted(encode_image: EncodeImage) -> None:
    assert decode_image(encode_image(Image.new("L", (8, 8)))).shape == (8, 8, 3)


def test_a_bomb_is_refused_by_its_header() -> None:
    error = _refusal(_png_of_zeros(10_000, 10_000))
    assert error.detail == "The image has 10000 x 10000 pixels; at most 25 megapixels are accepted."


def test_a_webp_bomb_is_refused_by_its_header() -> None:
    assert "at most 25 megapixels" in _refusal(_webp_header(16_383, 16_383)).detail


def test_the_limit_can_be_lowered(encode_image: EncodeImage) -> None:
    with pytest.raises(InvalidInputError, match=r"at most 0\.0001 megapixels"):
        decode_image(encode_image(Image.new("L", (11, 10))), max_pixels=100)


def test_every_truncation_of_a_small_file_ends_in_a_refusal_or_an_image(encode_image: EncodeImage) -> None:
    data = encode_image(Image.new("RGBA", (9, 9), "red"), "WEBP")
    for length in range(len(data)):
        with contextlib.suppress(InvalidInputError):
            assert decode_image(data[:length]).shape == (9, 9, 3)
