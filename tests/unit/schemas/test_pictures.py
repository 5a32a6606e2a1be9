"""`schemas.pictures`: what the first bytes of a file say, against what Pillow reads from the same file."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from schemas.pictures import JPEG_SEGMENTS, PictureError, PictureHeader, check_picture, read_header
from tests.factories import picture

MAX_PIXELS = 1_000_000

FORMATS = {
    "a PNG": picture("PNG", "RGB", (31, 17)),
    "a gray PNG": picture("PNG", "L", (17, 31)),
    "a JPEG": picture("JPEG", "RGB", (31, 17)),
    "a progressive JPEG": picture("JPEG", "RGB", (31, 17), progressive=True),
    "a CMYK JPEG": picture("JPEG", "CMYK", (31, 17)),
    "a JPEG with a long comment": picture("JPEG", "RGB", (31, 17), comment=b"\xff\xc0" * 30_000),
    "a WebP": picture("WEBP", "RGB", (31, 17)),
    "a lossless WebP": picture("WEBP", "RGB", (31, 17), lossless=True),
    "a WebP with transparency": picture("WEBP", "RGBA", (31, 17)),
    "a WebP with EXIF": picture("WEBP", "RGB", (31, 17), exif=Image.Exif().tobytes()),
}


def frames(kind: str) -> bytes:
    """An animation of two frames."""
    buffer = io.BytesIO()
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    first.save(buffer, kind, save_all=True, append_images=[second], duration=100)
    return buffer.getvalue()


def riff(body: bytes) -> bytes:
    """A WebP file that holds this."""
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.parametrize("data", FORMATS.values(), ids=FORMATS)
def test_a_header_says_what_pillow_reads(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        expected = PictureHeader(str(Image.MIME[str(image.format)]), image.width, image.height)

    assert read_header(data) == expected


@pytest.mark.parametrize("data", FORMATS.values(), ids=FORMATS)
def test_a_file_that_is_cut_off_is_refused(data: bytes) -> None:
    with pytest.raises(PictureError, match="cut off"):
        check_picture(data[:-20], MAX_PIXELS)


@pytest.mark.parametrize("data", FORMATS.values(), ids=FORMATS)
def test_what_a_maker_adds_at_the_end_does_not_matter(data: bytes) -> None:
    assert check_picture(data + bytes(10), MAX_PIXELS)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_refused(kind: str) -> None:
    with pytest.raises(PictureError, match="animation"):
        read_header(frames(kind))


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "PPM", "ICO", "TGA"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(PictureError, match="no JPEG, PNG or WebP"):
        read_header(picture(kind, "RGB", (16, 16)))


@pytest.mark.parametrize(("size", "message"), [((1001, 1000), "megapixels"), ((7, 100), "the least is 8x8")])
def test_a_picture_beyond_the_limits_is_refused(size: tuple[int, int], message: str) -> None:
    with pytest.raises(PictureError, match=message):
        check_picture(picture("PNG", "L", size), MAX_PIXELS)


BROKEN = {
    "a JPEG of nothing but markers": b"\xff\xd8" + b"\xff\xe0\x00\x02" * (JPEG_SEGMENTS + 10) + b"\xff\xd9",
    "a JPEG without a frame": b"\xff\xd8\xff\xda" + bytes(100) + b"\xff\xd9",
    "a JPEG that ends in its frame": b"\xff\xd8\xff\xc0\x00\x11\xff\xd9",
    "a JPEG of ones": b"\xff\xd8" + b"\xff" * 1000 + b"\xd9",
    "a PNG with another first chunk": b"\x89PNG\r\n\x1a\n" + bytes(30) + b"IEND\xaeB`\x82",
    "a WebP of no known kind": riff(b"VP8Z" + bytes(40)),
    "a WebP without its start code": riff(b"VP8 " + bytes(40)),
    "a lossless WebP without its mark": riff(b"VP8L" + bytes(40)),
    "a WebP of 20 bytes": riff(b"VP8 " + bytes(4)),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_damaged_header_is_refused(data: bytes) -> None:
    with pytest.raises(PictureError, match="damaged header"):
        read_header(data)


@given(st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBPVP8X", b""]), st.binary(max_size=300))
def test_no_bytes_raise_anything_else(start: bytes, rest: bytes) -> None:
    try:
        read_header(start + rest)
    except PictureError:
        return


@given(st.sampled_from(sorted(FORMATS)), st.integers(0, 10**6), st.integers(0, 255))
def test_no_changed_byte_raises_anything_else(name: str, at: int, value: int) -> None:
    data = bytearray(FORMATS[name])
    data[at % len(data)] = value
    try:
        check_picture(bytes(data), MAX_PIXELS)
    except PictureError:
        return
