"""What it costs to decode strangers' pictures in processes of their own: `python -m benchmarks.sandbox`.

The same engine, the same photos, in turns within one run: decoded by threads of the engine's process, and by its
sandbox. Counted are photos a second, for decoding alone (batches of 32 as the worker hands them over, down to the
square that the network sees) and for decoding and computing in the worker's pipeline, where batch k + 1 is decoded
while batch k computes. Wanted is a sandbox that costs no more than a twentieth.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import click

from benchmarks.pictures import write_phone_photos, write_photos
from benchmarks.resnet import CONFIG, write_weights
from ml.engine import Engine
from ml.spec import ModelSpec

WANTED = 0.95
BATCH = 32
NAME = "bench-resnet18"
KEY = (NAME, 1)

WAYS = {"threads": False, "sandbox": True}

ROW = "{:<12} {:<9} {:>11} {:>11} {:>6}"

Work = Callable[[Engine, Sequence[bytes]], int]
"""Does a batch or two of work; returns how many photos it was."""


def decode_alone(engine: Engine, photos: Sequence[bytes]) -> int:
    """One batch."""
    engine.decode(KEY, photos)
    return len(photos)


def pipeline(engine: Engine, photos: Sequence[bytes], batches: int = 2) -> int:
    """Several batches, as the worker runs them."""
    with ThreadPoolExecutor(1) as ahead:
        following = ahead.submit(engine.decode, KEY, photos)
        for number in range(batches):
            decoded = following.result()
            if number < batches - 1:
                following = ahead.submit(engine.decode, KEY, photos)
            outcomes = engine.compute(KEY, decoded)
            assert all(outcome.result is not None for outcome in outcomes), "every photo is good"
    return batches * len(photos)


def measure(engines: dict[str, Engine], photos: Sequence[bytes], work: Work, seconds: float) -> dict[str, float]:
    """Photos a second of each way: the median of rounds in turns, so that other work on the machine hits both."""
    rates: dict[str, list[float]] = {way: [] for way in engines}
    for engine in engines.values():
        work(engine, photos)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for way, engine in engines.items():
            started = time.perf_counter()
            count = work(engine, photos)
            rates[way].append(count / (time.perf_counter() - started))
    return {way: median(found) for way, found in rates.items()}


def _load(weights: bytes, *, sandboxed: bool, threads: int) -> Engine:
    engine = Engine("cpu:0", sandboxed=sandboxed, decode_threads=threads)
    engine.load(ModelSpec.from_config(NAME, 1, CONFIG), weights)
    return engine


@click.command()
@click.option("--seconds", type=float, default=10.0, show_default=True, help="For each row of the table.")
@click.option("--threads", type=int, default=2, show_default=True, help="Photos decoded at the same time.")
def main(seconds: float, threads: int) -> None:
    """Compare decoding in threads with decoding in the sandbox."""
    # Row by row: each takes its time, and a run that is broken off has measured what it printed.
    click.echo(ROW.format("photos", "work", "threads /s", "sandbox /s", "ratio"))
    with TemporaryDirectory() as name, ExitStack() as opened:
        small = write_photos(Path(name), count=BATCH)
        weights = write_weights(Path(name) / "resnet18.safetensors", small).read_bytes()
        engines = {way: _load(weights, sandboxed=sandboxed, threads=threads) for way, sandboxed in WAYS.items()}
        for engine in engines.values():
            opened.callback(engine.close)
        for size, paths in (("640 x 427", small), ("4000 x 2668", write_phone_photos(Path(name)))):
            photos = [paths[place % len(paths)].read_bytes() for place in range(BATCH)]
            for title, work in (("decoding", decode_alone), ("engine", pipeline)):
                rates = measure(engines, photos, work, seconds)
                ratio = rates["sandbox"] / rates["threads"]
                figures = [f"{rates[way]:,.1f}" for way in WAYS]
                verdict = "" if ratio >= WANTED else f"  missed: wanted {WANTED}"
                click.echo(ROW.format(size, title, *figures, f"{ratio:.3f}") + verdict)


if __name__ == "__main__":
    main()
