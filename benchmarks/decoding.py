"""From the bytes of a photo to the square that a network sees: `python -m benchmarks.decoding`.

Compares what the engine does with a decode in full, on one core. The photo is one of scikit-learn's, the larger file
the same scaled up. Counted is the time that the core worked for us, so other processes cost little.
"""

import io
import time
from collections.abc import Callable
from statistics import median

import click
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_sample_images
from torch import Tensor

from ml.images import decode_picture
from ml.inputs import ImageDecoder
from ml.preparation import prepare_photo
from ml.spec import InputSpec

SIZE = 224
QUALITY = 85
SIZES = ((640, 427), (4000, 2668))


def by_hand(file: bytes) -> Tensor:
    """Decode in full with Pillow, scale the shorter side to 256, cut out 224."""
    with Image.open(io.BytesIO(file)) as image:
        pixels = image.convert("RGB")
    width, height = (int(256 * side / min(pixels.size)) for side in pixels.size)
    left, top = round((width - SIZE) / 2), round((height - SIZE) / 2)
    square = pixels.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + SIZE, top + SIZE))
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def in_full(file: bytes) -> Tensor:
    """The engine's way without the reduced scale."""
    return prepare_photo(decode_picture(file), SIZE, 3)


def measure_ms(prepare: Callable[[bytes], Tensor], file: bytes, seconds: float) -> float:
    """Milliseconds of this thread's work, the median of the tries."""
    times = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.thread_time()
        prepare(file)
        times.append((time.thread_time() - started) * 1000)
    return median(times)


def _encode(size: tuple[int, int]) -> bytes:
    photo = Image.fromarray(load_sample_images().images[0]).resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


@click.command()
@click.option("--seconds", type=float, default=3.0, show_default=True, help="For each way and size.")
def main(seconds: float) -> None:
    """Measure the ways from a JPEG to a square of 224 pixels."""
    torch.set_num_threads(1)
    decode = ImageDecoder(InputSpec(type="image", size=SIZE)).decode
    table = Table("file", "way", "ms", "times by hand", "mean difference of 255", box=None, pad_edge=False)
    for size in SIZES:
        file = _encode(size)
        expected = by_hand(file).float()
        base = measure_ms(by_hand, file, seconds)
        for name, way in {"by hand": by_hand, "engine, in full": in_full, "engine": decode}.items():
            spent = measure_ms(way, file, seconds)
            difference = float((way(file).float() - expected).abs().mean())
            table.add_row(f"{size[0]} x {size[1]}", name, f"{spent:.2f}", f"{base / spent:.1f}", f"{difference:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
