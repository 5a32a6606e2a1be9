"""Thousands of corrupt pictures through the door and the sandbox: `python -m tests.fuzz.images --count 10000`.

Every file goes the way of a request: the header is checked as the web process does, what passes is decoded in the
sandbox as the worker does. All of that runs in a process beside this one, so that a death outside of the sandbox is
counted rather than the end of the table.
"""

import io
import multiprocessing
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import click
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from ml.errors import DecodeFailedError, InvalidInputError
from ml.images import MAX_PIXELS
from ml.sandbox import Sandbox
from schemas.pictures import PictureError, check_picture
from tests.fuzz.corpus import LOSSLESS, SHARES, Sample, samples

CHUNK = 100

#: What the network of a shop model looks at.
TARGET_PX = 325

#: Levels of 255 by which a decoded JPEG may differ on average between two decoders.
TOLERANCE = 3.0

MOST_SECONDS = 10.0
MOST_BYTES = 2 * 1024**3

KIBIBYTE = 1024


@dataclass
class Findings:
    """What became of files.

    Attributes:
        counts: By category and fate.
        slowest_s: By category, from the door to the pixels.
        slowest_door_ms: Of any file.
        sandbox_bytes: Most memory of a decoding process.
        outside_bytes: Most memory of the process that serves.
        deaths: Of decoding processes.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    slowest_s: dict[str, float] = field(default_factory=dict)
    slowest_door_ms: float = 0.0
    sandbox_bytes: int = 0
    outside_bytes: int = 0
    deaths: int = 0

    def add(self, other: "Findings") -> None:
        """Take another's in."""
        self.counts += other.counts
        for category, seconds in other.slowest_s.items():
            self.slowest_s[category] = max(seconds, self.slowest_s.get(category, 0.0))
        self.slowest_door_ms = max(self.slowest_door_ms, other.slowest_door_ms)
        self.sandbox_bytes = max(self.sandbox_bytes, other.sandbox_bytes)
        self.outside_bytes = max(self.outside_bytes, other.outside_bytes)
        self.deaths += other.deaths


def examine(chunk: Sequence[Sample]) -> Findings:
    """Send files the way of a request."""
    found = Findings()
    for sample in chunk:
        began = time.perf_counter()
        fate = _fate(sample, found)
        seconds = time.perf_counter() - began
        found.counts[sample.category, fate] += 1
        found.slowest_s[sample.category] = max(seconds, found.slowest_s.get(sample.category, 0.0))
    sandbox = _sandbox()
    child = sandbox._slots[0].child
    if child is not None:
        found.sandbox_bytes = _peak_bytes(child.pid)
    found.deaths, sandbox.deaths = sandbox.deaths, 0
    found.outside_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBIBYTE
    return found


def _fate(sample: Sample, found: Findings) -> str:
    began = time.perf_counter()
    try:
        check_picture(sample.data, MAX_PIXELS)
    except PictureError:
        return "refused at the door"
    finally:
        found.slowest_door_ms = max(found.slowest_door_ms, (time.perf_counter() - began) * 1000)
    target = 0 if sample.kind else TARGET_PX
    try:
        with _sandbox().decoded(sample.data, target_px=target) as picture:
            if picture.height * picture.width > MAX_PIXELS:
                return "accepted beyond the limit"
            if sample.kind and not _is_right(sample, picture.pixels_hwc):
                return "wrong"
    except InvalidInputError:
        return "failed in decode"
    except DecodeFailedError:
        return "fault of ours"
    return "decoded"


def _is_right(sample: Sample, pixels_hwc: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bool:
    with Image.open(io.BytesIO(sample.data)) as image:
        expected = np.asarray(image.convert("RGB"), dtype=np.float32)
    if expected.shape != pixels_hwc.shape:
        return False
    difference = float(np.abs(expected - pixels_hwc).mean())
    return difference == 0 if sample.kind in LOSSLESS else difference <= TOLERANCE


_made: list[Sandbox] = []


def _sandbox() -> Sandbox:
    if not _made:
        _made.append(Sandbox(1))
    return _made[0]


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next((int(line.split()[1]) * KIBIBYTE for line in status.splitlines() if line.startswith("VmHWM")), 0)


def _chunks(files: Iterable[Sample]) -> Iterator[list[Sample]]:
    files = iter(files)
    while chunk := list(islice(files, CHUNK)):
        yield chunk


def run(count: int, seed: int = 0) -> tuple[Findings, int]:
    """Examine a whole corpus.

    Returns:
        What was found, and how often the process outside of the sandbox died.
    """
    found, deaths = Findings(), 0
    context = multiprocessing.get_context("spawn")
    outside = ProcessPoolExecutor(1, mp_context=context)
    for chunk in _chunks(samples(count, seed)):
        try:
            found.add(outside.submit(examine, chunk).result())
        except BrokenProcessPool:
            deaths += 1
            outside = ProcessPoolExecutor(1, mp_context=context)
    outside.shutdown()
    return found, deaths


def is_good(found: Findings, deaths: int) -> bool:
    """Whether all that was promised held."""
    bad = ("accepted beyond the limit", "fault of ours", "wrong")
    controls = {fate for (category, fate), count in found.counts.items() if category == "controls" and count}
    return (
        not deaths
        and not any(found.counts[category, fate] for category in SHARES for fate in bad)
        and controls == {"decoded"}
        and max(found.slowest_s.values()) <= MOST_SECONDS
        and max(found.sandbox_bytes, found.outside_bytes) <= MOST_BYTES
    )


@click.command()
@click.option("--count", type=int, default=10_000, show_default=True, help="Files.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another one makes other files.")
def main(count: int, seed: int) -> None:
    """Send corrupt pictures the way of a request and count what becomes of them."""
    found, deaths = run(count, seed)
    fates = (
        "refused at the door",
        "failed in decode",
        "decoded",
        "wrong",
        "fault of ours",
        "accepted beyond the limit",
    )
    table = Table("pictures", "files", *fates, "max s", box=None, pad_edge=False)
    for category in SHARES:
        counts = [found.counts[category, fate] for fate in fates]
        table.add_row(category, *map(str, (sum(counts), *counts)), f"{found.slowest_s[category]:.2f}")
    totals = [sum(found.counts[category, fate] for category in SHARES) for fate in fates]
    table.add_row("all", *map(str, (sum(totals), *totals)), f"{max(found.slowest_s.values()):.2f}")
    Console(width=160).print(table)
    click.echo(
        f"process deaths outside the sandbox: {deaths}; within: {found.deaths}\n"
        f"slowest look at the door: {found.slowest_door_ms:.2f} ms\n"
        f"most memory: {found.sandbox_bytes / 2**20:.0f} MiB in the sandbox, "
        f"{found.outside_bytes / 2**20:.0f} MiB outside"
    )
    verdict = is_good(found, deaths)
    click.echo("verdict: " + ("good" if verdict else "BROKEN"))
    sys.exit(0 if verdict else 1)


if __name__ == "__main__":
    main()
