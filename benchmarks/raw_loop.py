"""The best that a script without a server does: decode and forward in a loop, tuned by a small search.

Every candidate runs in processes of its own, all at once, each on its share of the cores; photos are decoded in full.
The fastest of a precision is what the backend and the peers are compared with.
"""

import io
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle, islice
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Literal

import simplejpeg
import torch
from PIL import Image
from torch import Tensor

from benchmarks.peers.resnet18 import build, prepare

Precision = Literal["fp32", "bf16"]
Decoder = Literal["pillow", "simplejpeg"]

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
DECODERS: tuple[Decoder, ...] = ("pillow", "simplejpeg")
BATCHES = (1, 8, 32)

#: Loading torch in all processes of a candidate.
START_TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to run the loop.

    Attributes:
        precision: fp32, or bfloat16 with channels last.
        batch: Photos of one forward.
        processes: Run at once; each has the threads.
        threads: Within one operation, and to decode with.
        decoder: Library that decodes.
    """

    precision: Precision
    batch: int
    processes: int
    threads: int
    decoder: Decoder = "pillow"

    def __str__(self) -> str:
        """Name it in the table's note."""
        return f"{self.precision}, batch {self.batch}, {self.processes} x {self.threads} threads, {self.decoder}"


@dataclass(frozen=True, kw_only=True)
class RawLoop:
    """A candidate and the photos a second that it made."""

    candidate: Candidate
    per_second: float


def candidates(precision: Precision, decoder: Decoder, cores: int) -> list[Candidate]:
    """List what is tried: every batch, by one process on all cores and by one process a core."""
    layouts = {(1, cores), (cores, 1)}
    return [
        Candidate(precision=precision, batch=batch, processes=processes, threads=threads, decoder=decoder)
        for batch in BATCHES
        for processes, threads in sorted(layouts)
    ]


def find_best(weights: Path, photos: Sequence[Path], precision: Precision, *, seconds: float) -> RawLoop:
    """Search: first the decoder, then batch and processes with it."""
    first = Candidate(precision=precision, batch=BATCHES[1], processes=os.cpu_count() or 1, threads=1)
    decoders = [run(replace(first, decoder=decoder), weights, photos, seconds) for decoder in DECODERS]
    decoder = max(decoders, key=lambda loop: loop.per_second).candidate.decoder
    tried = [
        run(candidate, weights, photos, seconds) for candidate in candidates(precision, decoder, os.cpu_count() or 1)
    ]
    return max([*decoders, *tried], key=lambda loop: loop.per_second)


def run(candidate: Candidate, weights: Path, photos: Sequence[Path], seconds: float) -> RawLoop:
    """Run one candidate."""
    context = multiprocessing.get_context("spawn")
    barrier, counts = context.Barrier(candidate.processes), context.Queue()
    processes = [
        context.Process(target=_loop, args=(candidate, weights, list(photos), seconds, barrier, counts))
        for _ in range(candidate.processes)
    ]
    for process in processes:
        process.start()
    rates = [counts.get(timeout=START_TIMEOUT_S + seconds * 4) for _ in processes]
    for process in processes:
        process.join()
    return RawLoop(candidate=candidate, per_second=sum(rates))


def _loop(
    candidate: Candidate,
    weights: Path,
    photos: list[Path],
    seconds: float,
    barrier: Barrier,
    counts: "Queue[float]",
) -> None:
    """Run in a process: warm up, wait for the others, then count."""
    answer = _build(candidate, weights)
    endless = cycle([photo.read_bytes() for photo in photos])
    with ThreadPoolExecutor(candidate.threads) as decoders:
        for _ in range(2):
            answer(list(islice(endless, candidate.batch)), decoders)
        barrier.wait(START_TIMEOUT_S)
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            done += len(answer(list(islice(endless, candidate.batch)), decoders))
        counts.put(done / (time.perf_counter() - started))


def _build(candidate: Candidate, weights: Path) -> Callable[[list[bytes], ThreadPoolExecutor], list[int]]:
    """Return a function from files to the index of each one's label."""
    torch.set_num_threads(candidate.threads)
    module, dtype = build(weights), torch.float32
    if candidate.precision == "bf16":
        module, dtype = module.to(torch.bfloat16).to(memory_format=torch.channels_last), torch.bfloat16
    decode = {"pillow": _decode_by_pillow, "simplejpeg": _decode_by_simplejpeg}[candidate.decoder]

    def answer(files: list[bytes], decoders: ThreadPoolExecutor) -> list[int]:
        batch_nchw = torch.stack(list(decoders.map(decode, files))).to(dtype)
        if candidate.precision == "bf16":
            batch_nchw = batch_nchw.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            labels: list[int] = module(batch_nchw).argmax(dim=1).tolist()
        return labels

    return answer


def _decode_by_pillow(data: bytes) -> Tensor:
    with Image.open(io.BytesIO(data)) as opened:
        return prepare(opened.convert("RGB"))


def _decode_by_simplejpeg(data: bytes) -> Tensor:
    return prepare(Image.fromarray(simplejpeg.decode_jpeg(data, colorspace="RGB")))
