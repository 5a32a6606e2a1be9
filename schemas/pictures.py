"""What a picture file says of itself in its first bytes, read without any decoder.

Whoever accepts a file from a stranger looks here first: three formats, one frame, sides within limits, nothing cut off.
A few bytes are looked at in place and nothing is decompressed, so a hostile file costs as little as a good one.
Decoding, which may fail for a hundred other reasons, is done elsewhere, in processes that may die of it.
"""

from dataclasses import dataclass

#: Nothing can be recognised in less.
MIN_SIDE_PX = 8

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_HEADER_BYTES = 26
PNG_END = b"IEND\xaeB`\x82"

#: Chunks of a PNG that are looked at for the mark of an animation, which stands before the first pixel.
PNG_CHUNKS = 64

JPEG_SIGNATURE = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"

#: Of one file; phones write some hundred when they keep a depth map beside the photo.
JPEG_SEGMENTS = 4096

#: Markers that begin a frame and tell its size; C4, C8 and CC among them mean something else.
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

#: Markers without a length.
JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
JPEG_SCAN = 0xDA

RIFF_HEADER_BYTES = 8
WEBP_HEADER_BYTES = 30
WEBP_ANIMATED = 0x02
WEBP_LOSSLESS = 0x2F
SIDE_14_BITS = 0x3FFF


class PictureError(ValueError):
    """Raised when a file is no picture that is accepted; the message, after "the picture", says why."""


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """What the file says of itself.

    Attributes:
        media_type: By its first bytes, whatever it was called.
        width: Pixels, as stored: a photo that is turned by its EXIF is not turned here.
        height: Likewise.
    """

    media_type: str
    width: int
    height: int


def check_picture(data: bytes, max_pixels: int) -> PictureHeader:
    """Read a header and hold it against the limits.

    Args:
        data: The whole file.
        max_pixels: Largest width times height.

    Raises:
        PictureError: It is not accepted.
    """
    header = read_header(data)
    if header.width * header.height > max_pixels:
        raise PictureError(f"has more than {max_pixels // 1_000_000} megapixels; scale it down")
    if min(header.width, header.height) < MIN_SIDE_PX:
        size = f"{header.width}x{header.height}"
        raise PictureError(f"is {size} pixels; the least is {MIN_SIDE_PX}x{MIN_SIDE_PX}")
    return header


def read_header(data: bytes) -> PictureHeader:
    """Tell format and size.

    Raises:
        PictureError: It is none of the three formats, an animation, damaged at its beginning, or cut off.
    """
    if data.startswith(PNG_SIGNATURE):
        return _read_png(data)
    if data.startswith(JPEG_SIGNATURE):
        return _read_jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _read_webp(data)
    raise PictureError("is no JPEG, PNG or WebP picture")


def _read_png(data: bytes) -> PictureHeader:
    if len(data) < PNG_HEADER_BYTES or data[12:16] != b"IHDR":
        raise PictureError("has a damaged header")
    if PNG_END not in data:
        raise _cut_off()
    position = len(PNG_SIGNATURE)
    for _ in range(PNG_CHUNKS):
        name = data[position + 4 : position + 8]
        if name == b"acTL":
            raise _animated()
        if name in (b"IDAT", b"IEND", b""):
            break
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return PictureHeader("image/png", int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))


def _read_jpeg(data: bytes) -> PictureHeader:
    # A maker's own data may follow, hence the search; within the first half it is that of a thumbnail.
    if data.rfind(JPEG_END, len(data) - len(data) // 2) < 0:
        raise _cut_off()
    position = 2
    for _ in range(JPEG_SEGMENTS):
        position = data.find(b"\xff", position)
        marker = _marker_after(data, position)
        if marker is None or marker[0] == JPEG_SCAN:
            break
        kind, position = marker
        if kind in JPEG_BARE or kind == 0:
            continue
        if kind in JPEG_FRAMES and len(data) >= position + 7:
            height, width = (int.from_bytes(data[position + at : position + at + 2], "big") for at in (3, 5))
            return PictureHeader("image/jpeg", width, height)
        position += max(2, int.from_bytes(data[position : position + 2], "big"))
    raise PictureError("has a damaged header")


def _marker_after(data: bytes, position: int) -> tuple[int, int] | None:
    """The marker that a byte of ones begins, and where it ends; any number of such bytes may fill up before it."""
    if position < 0:
        return None
    while position < len(data) and data[position] == 0xFF:
        position += 1
    return (data[position], position + 1) if position < len(data) else None


def _read_webp(data: bytes) -> PictureHeader:
    if len(data) < WEBP_HEADER_BYTES:
        raise PictureError("has a damaged header")
    if len(data) < int.from_bytes(data[4:8], "little") + RIFF_HEADER_BYTES:
        raise _cut_off()
    kind = data[12:16]
    if kind == b"VP8X":
        if data[20] & WEBP_ANIMATED:
            raise _animated()
        return PictureHeader("image/webp", *(int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27)))
    if kind == b"VP8L" and data[20] == WEBP_LOSSLESS:
        bits = int.from_bytes(data[21:25], "little")
        return PictureHeader("image/webp", (bits & SIDE_14_BITS) + 1, (bits >> 14 & SIDE_14_BITS) + 1)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return PictureHeader(
            "image/webp", *(int.from_bytes(data[at : at + 2], "little") & SIDE_14_BITS for at in (26, 28))
        )
    raise PictureError("has a damaged header")


def _cut_off() -> PictureError:
    return PictureError("is cut off: the end of the picture is missing")


def _animated() -> PictureError:
    return PictureError("is an animation; send one of its frames")
