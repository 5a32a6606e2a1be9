"""From the bytes of an image file, sent by anyone, to RGB pixels.

Shapes: H height, W width. Colour order is RGB everywhere.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from ml.errors import InvalidInputError
from ml.jpeg import decode_jpeg

FIELD = "input"
"""The name that the request gives to an image."""

MAX_PIXELS = 25_000_000
"""Width times height; beyond what cameras make, a file is more likely a decompression bomb."""

MIN_SIDE_PX = 8
"""A smaller image shows nothing that could be told apart."""

MAX_ELONGATION = 16
"""The longer side is scaled down to about so many times the target, though the shorter one may fall below it: a strip
of 8 x 3,000,000 pixels must not cost the preparation as much memory as it has pixels."""

FORMATS = ("JPEG", "PNG", "WEBP")

RGBImage = npt.NDArray[np.uint8]
"""``[H, W, 3]`` uint8, 0..255, RGB."""

RGBRow = npt.NDArray[np.uint8]
"""``[R]`` uint8: memory for pixels, contiguous and writable."""

WHITE = (255, 255, 255, 255)

_EXIF_ORIENTATION = 0x0112
_TRANSPOSE_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_LYING_DOWN = frozenset({5, 6, 7, 8})
"""Orientations under which the file's width is the picture's height."""

# Pillow's own limit is one number for the whole process, warns instead of refusing, and allows 178 megapixels. We check
# each header against our limit before any pixel is decoded, so Pillow's check would only add warnings.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class Picture:
    """What a file shows, upright, perhaps at a fraction of its size.

    Args:
        pixels_hwc: ``[h, w, 3]`` uint8, 0..255, RGB; writable.
        height: H of the file, upright, in pixels.
        width: W of the file, upright, in pixels.
        reduction: Each pixel stands for so many of the file's along either side: ``h = ceil(H / reduction)``, and the
            last row and column may stand for less. Whoever scales or cuts out must go by H and W: going by h and w
            shifts a photo by up to half a pixel, which changes it more than the reduction does.
    """

    pixels_hwc: RGBImage
    height: int
    width: int
    reduction: int = 1


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS, target_px: int | None = None) -> RGBImage:
    """The pixels alone of ``decode_picture``: ``[h, w, 3]`` uint8, 0..255, RGB."""
    return decode_picture(data, max_pixels=max_pixels, target_px=target_px).pixels_hwc


def decode_picture(
    data: bytes, *, max_pixels: int = MAX_PIXELS, target_px: int | None = None, room: RGBRow | None = None
) -> Picture:
    """Decode the first frame of a JPEG, PNG or WebP file of any mode, upright, on white where it is transparent.

    Args:
        data: The whole file.
        max_pixels: Largest width times height, read from the header before anything is decoded.
        target_px: An image whose shorter side is twice this or more is scaled down by a whole number, to no less than
            this unless it is a narrow strip; a JPEG while it is decoded, which takes a fraction of the time. None keeps
            every pixel.
        room: Where the pixels of a JPEG go when they fit; other formats, and None, take memory of their own.

    Raises:
        InvalidInputError: Not one of the three formats, damaged, truncated, too large or too small.
    """
    image = open_image(data, max_pixels=max_pixels)
    try:
        return _decode(data, image, _choose_factor(image, target_px), room)
    except MemoryError:
        # Ours to solve, not the sender's.
        raise
    # Hostile files make Pillow's decoders raise nearly every builtin error (OSError, SyntaxError, ValueError,
    # IndexError, struct.error, zlib.error, ...), and all of them mean the same to the sender.
    except Exception as error:
        raise InvalidInputError(FIELD, _explain(error)) from error


def open_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read the header only, and check the size that it states.

    Raises:
        InvalidInputError: Not one of the three formats, too large or too small.
    """
    image = _open(data)
    _check_size(image.width, image.height, max_pixels)
    return image


def read_orientation(image: Image.Image) -> int:
    """The orientation in EXIF, 1..8, where 1 is upright; for a PNG only after its pixels were loaded."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    # Cameras and editors write broken EXIF blocks around good pixels, and Pillow raises many errors for them; such an
    # image is taken as upright.
    except Exception:  # noqa: BLE001
        return 1


def _choose_factor(image: Image.Image, target_px: int | None) -> int:
    if target_px is None:
        return 1
    return max(1, min(image.size) // target_px, max(image.size) // (target_px * MAX_ELONGATION))


def _open(data: bytes) -> Image.Image:
    if not data:
        raise InvalidInputError(FIELD, "The image is empty.")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise InvalidInputError(FIELD, "This is not a JPEG, PNG or WebP image.") from error
    # For the same reason as in decode_picture.
    except Exception as error:
        raise InvalidInputError(FIELD, _explain(error)) from error


def _check_size(width: int, height: int, max_pixels: int) -> None:
    size = f"{width} x {height} pixels"
    if width * height > max_pixels:
        limit = max_pixels / 1e6
        raise InvalidInputError(FIELD, f"The image has {size}; at most {limit:g} megapixels are accepted.")
    if min(width, height) < MIN_SIDE_PX:
        raise InvalidInputError(FIELD, f"The image has {size}; at least {MIN_SIDE_PX} x {MIN_SIDE_PX} are needed.")


def _explain(error: Exception) -> str:
    # Pillow has no error of its own for this; its message always says the word.
    if "truncated" in str(error).lower():
        return "The image file is truncated."
    return "The image file is damaged and cannot be decoded."


def _decode(data: bytes, image: Image.Image, factor: int, room: RGBRow | None) -> Picture:
    width, height = image.size
    loaded, reduction = _load_fast(data, image, factor, room) or _load_rgb(image, factor)
    # After loading, because for a PNG Pillow looks for EXIF behind the pixels: it would load them then, and a damage
    # found on the way would be taken for broken EXIF.
    orientation = read_orientation(image)
    transpose, rest = _TRANSPOSE_BY_ORIENTATION.get(orientation), factor // reduction
    if isinstance(loaded, np.ndarray):
        if transpose is None and rest == 1:
            return Picture(loaded, height, width, reduction)
        loaded = Image.fromarray(loaded)
    reduced = loaded.reduce(rest) if rest > 1 else loaded
    upright = reduced if transpose is None else reduced.transpose(transpose)
    height, width = (width, height) if orientation in _LYING_DOWN else (height, width)
    return Picture(np.array(upright), height, width, reduction * rest)


def _load_fast(data: bytes, image: Image.Image, factor: int, room: RGBRow | None) -> tuple[RGBImage, int] | None:
    if not isinstance(image, JpegImageFile) or image.mode not in ("L", "RGB"):
        return None
    return decode_jpeg(data, height=image.height, width=image.width, factor=factor, room=room)


def _load_rgb(image: Image.Image, factor: int) -> tuple[Image.Image, int]:
    """Decode with Pillow, which has the last word on what the faster decoder does not take.

    Returns:
        The image, and by how much a JPEG was scaled down meanwhile: no more than ``factor``.
    """
    width, height = image.size
    drafted = image.draft(None, (math.ceil(width / factor), math.ceil(height / factor)))
    # ImageFile.LOAD_TRUNCATED_IMAGES stays False, its default: half a picture would get a confident wrong answer.
    image.load()
    return _to_rgb(image), 1 if drafted is None else round(width / drafted[1][2])


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode that the three formats have (1, L, LA, P, RGB, RGBA, CMYK, 16-bit gray) to RGB."""
    if image.mode.startswith("I"):
        return Image.fromarray(_to_8_bits(image)).convert("RGB")
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    if image.mode == "CMYK" and "adobe" not in image.info:
        # Pillow takes every CMYK JPEG as inverted, which only Adobe's programs write, and say so in a marker.
        image = ImageChops.invert(image)
    return image.convert("RGB")


def _to_8_bits(image: Image.Image) -> npt.NDArray[np.uint8]:
    """16-bit gray by its upper byte; Pillow's own conversion would turn all above 255 white."""
    levels = np.asarray(image).clip(0, 0xFFFF).astype(np.uint16)
    return (levels >> 8).astype(np.uint8)


def _on_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image).convert("RGB")
