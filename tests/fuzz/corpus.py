"""Picture files as strangers send them: cut off, damaged, lying, enormous, odd, and a few that are good.

Always the same files for the same count: whatever is found can be made again by its category and number.
"""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, PngImagePlugin

#: Of 10,000 files, so many are of each category.
SHARES = {
    "cut off": 2000,
    "bytes flipped": 4000,
    "lying headers": 1500,
    "bombs": 300,
    "polyglots": 500,
    "EXIF and ICC": 200,
    "odd modes": 1000,
    "controls": 500,
}

SEEDS = 100
LOSSLESS = ("PNG", "WEBP")

GIGA_SIDES = (65_535, 100_000, 2**24 - 1, 2**31 - 1, 2**32 - 1)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

EXIF_ORIENTATION = 0x0112
EXIF_SOFTWARE = 0x0131


@dataclass(frozen=True, slots=True)
class Sample:
    """One file.

    Attributes:
        category: One of `SHARES`.
        data: The file.
        kind: Its format, where it is a control.
    """

    category: str
    data: bytes
    kind: str | None = None


def samples(count: int, seed: int = 0) -> Iterator[Sample]:
    """Make about `count` files, category by category."""
    total = sum(SHARES.values())
    for category, share in SHARES.items():
        for number in range(max(1, share * count // total)):
            # A string, so that each file is the same whatever the count.
            draw = random.Random(f"{seed}/{category}/{number}")
            yield MAKERS[category](draw, number)


def control(draw: random.Random, number: int) -> Sample:
    """A good file; its pixels are those that Pillow reads from it."""
    kind = ("JPEG", "PNG", "WEBP")[number % 3]
    size = (draw.randint(8, 700), draw.randint(8, 700))
    options = {"lossless": True} if kind == "WEBP" else {"quality": draw.randint(60, 95)} if kind == "JPEG" else {}
    return Sample("controls", _encode(_scene(size, draw.randrange(1000)), kind, **options), kind)


def _cut_off(draw: random.Random, number: int) -> Sample:
    data = _seed(number % SEEDS)
    end = len(data) * (number // SEEDS % 20) // 20 + draw.randint(0, 3)
    return Sample("cut off", data[: min(end, len(data) - 1)])


def _flipped(draw: random.Random, number: int) -> Sample:
    data = bytearray(_seed(number % SEEDS))
    # Most of what decoders trust stands at the beginning.
    reach = 64 if number % 2 else len(data)
    for _ in range(draw.choice((1, 1, 2, 8, 64))):
        data[draw.randrange(min(reach, len(data)))] = draw.choice((0, 0xFF, 0x7F, 0x80, draw.randrange(256)))
    return Sample("bytes flipped", bytes(data))


def _lying(draw: random.Random, number: int) -> Sample:
    data = bytearray(_seed(number % SEEDS))
    side = draw.choice((0, 1, 7, 8, 255, 4096, 5001, *GIGA_SIDES))
    if data.startswith(PNG_SIGNATURE):
        _lie_in_png(data, draw, side)
    elif data[:2] == b"\xff\xd8":
        _lie_in_jpeg(data, draw, side)
    else:
        at = draw.choice((4, 16, 24, 26, 27, 21))
        data[at : at + 3] = (side & 0xFFFFFF).to_bytes(3, "little")
    return Sample("lying headers", bytes(data))


def _lie_in_png(data: bytearray, draw: random.Random, side: int) -> None:
    place = draw.choice((16, 20, 8, 33, 24, 25, 28))
    if place in (24, 25, 28):
        data[place] = draw.randrange(256)
    else:
        data[place : place + 4] = (side & 0xFFFFFFFF).to_bytes(4, "big")
    if draw.random() < 0.8:
        # A lie that its checksum confirms.
        data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")


def _lie_in_jpeg(data: bytearray, draw: random.Random, side: int) -> None:
    frames = [at for at in range(len(data) - 9) if data[at] == 0xFF and data[at + 1] in (0xC0, 0xC2)]
    at = frames[0] if frames else 2
    place = draw.choice((at + 2, at + 4, at + 5, at + 7, at + 9, 4))
    data[place : place + 2] = (side & 0xFFFF).to_bytes(2, "big")


def _bomb(draw: random.Random, number: int) -> Sample:
    return Sample("bombs", BOMBS[number % len(BOMBS)](draw))


def _png_bomb(draw: random.Random) -> bytes:
    side = draw.choice((5001, 20_000, 65_535, 100_000, 2**31 - 1))
    pixels = zlib.compress(bytes(1_000_000), 9)
    return _png([(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", pixels)])


def _webp_bomb(draw: random.Random) -> bytes:
    side = draw.choice((5001, 16_383))
    bits = (side - 1) | (side - 1) << 14
    body = b"VP8L" + struct.pack("<I", 200) + b"\x2f" + bits.to_bytes(4, "little") + bytes(195)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _webp_canvas_bomb(_draw: random.Random) -> bytes:
    side = (2**24 - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + bytes(4) + side + side + bytes(20)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _gif_bomb(_draw: random.Random) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0xF0, 0, 0) + bytes(6) + b"," + bytes(9) + b"\x02\x00;"


def _tiff_bomb(_draw: random.Random) -> bytes:
    entries = [(256, 4, 1, 2**31 - 1), (257, 4, 1, 2**31 - 1), (273, 4, 1, 8), (279, 4, 1, 100)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4)


def _text_bomb(draw: random.Random) -> bytes:
    """Small pixels beside text that grows a thousand times."""
    chunks = [(b"zTXt", b"k\0\0" + zlib.compress(bytes(50_000_000), 9))] * draw.randint(1, 4)
    return _small_png(chunks)


def _profile_bomb(_draw: random.Random) -> bytes:
    return _small_png([(b"iCCP", b"p\0\0" + zlib.compress(bytes(100_000_000), 9))])


def _pixel_bomb(_draw: random.Random) -> bytes:
    """Small sides before pixels that grow a thousand times."""
    header = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
    return _png([(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100_000_000), 9))])


def _strip(draw: random.Random) -> bytes:
    """As many pixels as are accepted, in a strip or a square, of next to no bytes."""
    size = draw.choice(((8, 3_125_000), (65_535, 381), (5_000, 5_000)))
    return _encode(Image.new("1", size), "PNG")


def _frames(kind: str) -> Callable[[random.Random], bytes]:
    def make(draw: random.Random) -> bytes:
        frames = [Image.new("L", (16, 16), shade % 256) for shade in range(draw.choice((2, 50, 500)))]
        return _encode(frames[0].convert("RGB"), kind, save_all=True, append_images=frames[1:])

    return make


def _scans_bomb(_draw: random.Random) -> bytes:
    """A progressive JPEG whose last scan is repeated until decoding takes ages."""
    data = _encode(_scene((1500, 1500), 1), "JPEG", progressive=True, quality=60)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * 300 + data[-2:]


BOMBS: tuple[Callable[[random.Random], bytes], ...] = (
    _png_bomb,
    _webp_bomb,
    _webp_canvas_bomb,
    _gif_bomb,
    _tiff_bomb,
    _text_bomb,
    _profile_bomb,
    _pixel_bomb,
    _strip,
    _frames("PNG"),
    _frames("WEBP"),
    _scans_bomb,
)

WRAPPERS = (
    lambda data: b"%PDF-1.7\n" + data,
    lambda data: b"GIF89a" + data,
    lambda data: data + b"PK\x03\x04" + data,
    lambda data: data[:2] + b"<script>alert(1)</script>" + data[2:],
    lambda data: b"<svg xmlns='http://www.w3.org/2000/svg'>" + data,
    lambda data: b"BM" + data[2:],
    lambda data: b"\xff\xd8\xff" + data,
    lambda data: PNG_SIGNATURE + data,
    lambda data: b"RIFF" + data[4:8] + b"WEBP" + data,
    lambda data: data + b"<?php system($_GET[0]); ?>",
    lambda data: b"P6 99999 99999 255\n" + data,
    lambda data: b"\0" * 64 + data,
    lambda data: data[::-1],
    lambda data: data[:0],
    lambda data: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n" + data,
)


def _polyglot(draw: random.Random, number: int) -> Sample:
    first, second = _seed(draw.randrange(SEEDS)), _seed(draw.randrange(SEEDS))
    if number % 3 == 0:
        half = draw.randrange(len(first))
        return Sample("polyglots", first[:half] + second)
    return Sample("polyglots", WRAPPERS[number % len(WRAPPERS)](first))


def _with_metadata(draw: random.Random, number: int) -> Sample:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = draw.choice((0, 1, 3, 6, 8, 9, 255, 65_535))
    exif[EXIF_SOFTWARE] = "x" * draw.choice((1, 1000, 60_000))
    raw = bytearray(exif.tobytes())
    for _ in range(draw.choice((0, 0, 4, 40))):
        raw[draw.randrange(len(raw))] = draw.randrange(256)
    kind = ("JPEG", "PNG", "WEBP")[number % 3]
    profile = draw.choice((b"", bytes(100), draw.randbytes(10_000), b"\xff" * 60_000))
    return Sample("EXIF and ICC", _encode(_scene((64, 48), 5), kind, exif=bytes(raw), icc_profile=profile or None))


ODD = (
    ("PNG", "1"),
    ("PNG", "L"),
    ("PNG", "LA"),
    ("PNG", "P"),
    ("PNG", "RGBA"),
    ("PNG", "I;16"),
    ("JPEG", "L"),
    ("JPEG", "CMYK"),
    ("WEBP", "RGBA"),
    ("WEBP", "L"),
)
#: What their encoders write at most, in pixels.
LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}

ODD_SIZES = ((1, 1), (7, 9), (8, 8), (1, 65_535), (65_535, 1), (8, 10_000), (16_383, 8), (255, 257), (8, 9))


def _odd(draw: random.Random, number: int) -> Sample:
    kind, mode = ODD[number % len(ODD)]
    width, height = draw.choice(ODD_SIZES)
    longest = LONGEST_SIDE.get(kind, width + height)
    width, height = min(width, longest), min(height, longest)
    if mode == "I;16":
        image = Image.fromarray(np.full((height, width), draw.randrange(65_536), dtype=np.uint16))
    else:
        image = _scene((width, height), draw.randrange(100)).convert(mode)
    options = {"transparency": 3} if mode == "P" and number % 2 else {}
    return Sample("odd modes", _encode(image, kind, **options))


MAKERS: dict[str, Callable[[random.Random, int], Sample]] = {
    "cut off": _cut_off,
    "bytes flipped": _flipped,
    "lying headers": _lying,
    "bombs": _bomb,
    "polyglots": _polyglot,
    "EXIF and ICC": _with_metadata,
    "odd modes": _odd,
    "controls": control,
}


@lru_cache(maxsize=SEEDS)
def _seed(number: int) -> bytes:
    """One of the good files that others are made from."""
    draw = random.Random(number)
    kind = ("JPEG", "JPEG", "PNG", "WEBP")[number % 4]
    mode = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "P", "RGBA", "L", "1"), "WEBP": ("RGB", "RGBA")}[kind]
    image = _scene((draw.randint(16, 300), draw.randint(16, 300)), number).convert(mode[number // 4 % len(mode)])
    options: dict[str, object] = {}
    if kind == "JPEG":
        options = {"quality": draw.randint(30, 95), "progressive": number % 8 == 1}
    elif kind == "WEBP":
        options = {"lossless": number % 8 == 3}
    return _encode(image, kind, **options)


def _scene(size: tuple[int, int], seed: int) -> Image.Image:
    """Soft colours with some edges, so that a file has about as many bytes as a photo's."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def _encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in [*chunks, (b"IEND", b"")]
    )


def _small_png(extra: list[tuple[bytes, bytes]]) -> bytes:
    info = PngImagePlugin.PngInfo()
    plain = _encode(_scene((16, 16), 2), "PNG", pnginfo=info)
    end_of_header = 33
    inserted = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in extra
    )
    return plain[:end_of_header] + inserted + plain[end_of_header:]
