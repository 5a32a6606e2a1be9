"""resnet18 on photos over HTTP: beside the best raw loop, on a phone's photos, and at a constant rate for minutes."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.backend import (
    headers,
    load_model,
    prediction_url,
    running_backend,
    wait_for_model,
    wait_until_settled,
    wait_until_tuned,
)
from benchmarks.open_loop import send_steadily
from benchmarks.pictures import write_phone_photos, write_photos
from benchmarks.raw_loop import PRECISIONS, Precision, RawLoop, find_best
from benchmarks.report import Figure, Unit, at_least, at_most
from benchmarks.resnet import FULL, TUNED, import_into, write_weights
from benchmarks.wrk import Load
from ml.machine import count_cores
from tests.running import RunningStack

CONNECTIONS = 32
JPEG = "image/jpeg"

#: Share of the raw loop: where the forward is fast, HTTP and storing weigh more.
TUNED_SHARE, FP32_SHARE = 80.0, 95.0
PHONE_RATIO = 4.0

STEADY_PER_MINUTE = 3_000.0
STEADY_SECONDS = 600.0
STEADY_P99_MS = 1_000.0


def running_here() -> AbstractContextManager[RunningStack]:
    """Run a stack of one worker a core, of one thread each, as `torchqueue models tune --processes` finds best on CPUs.

    The raw loop searches the same layouts.
    """
    return running_backend(f"--workers={count_cores()}")


def measure_throughput(seconds: float) -> list[Figure]:
    """Measure the rate on small photos, tuned and held to fp32, each over the best raw loop of that precision."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        photos = write_photos(folder)
        weights = write_weights(folder / "resnet18.safetensors", photos)
        raw = {precision: find_best(weights, photos, precision, seconds=seconds / 2) for precision in PRECISIONS}
        figures = [_raw_figure(precision, loop) for precision, loop in raw.items()]
        best = max(raw.values(), key=lambda loop: loop.per_second)
        with running_here() as stack:
            tuned = load_photos(stack, import_into(stack, weights, TUNED), photos, seconds)
            held = load_photos(stack, import_into(stack, weights, FULL), photos, seconds)
        return [
            *figures,
            _rate("resnet18, 640x427 JPEG, as tuned", tuned),
            _share("  over the best raw loop", tuned, best, TUNED_SHARE),
            _rate("resnet18, 640x427 JPEG, held to fp32 and full decode", held),
            _share("  over the best fp32 raw loop", held, raw["fp32"], FP32_SHARE),
        ]


def measure_phone(seconds: float) -> list[Figure]:
    """Measure the rate on 4000 x 2668 photos over the best raw loop, which decodes them in full."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        photos = write_phone_photos(folder)
        weights = write_weights(folder / "resnet18.safetensors", write_photos(folder))
        raw = [find_best(weights, photos, precision, seconds=seconds / 2) for precision in PRECISIONS]
        best = max(raw, key=lambda loop: loop.per_second)
        with running_here() as stack:
            ours = load_photos(stack, import_into(stack, weights, TUNED), photos, seconds)
        return [
            Figure(
                name="raw loop, 4000x2668 JPEG decoded in full",
                value=best.per_second,
                unit=Unit.PER_SECOND,
                note=str(best.candidate),
            ),
            _rate("resnet18, 4000x2668 JPEG", ours),
            Figure(
                name="  over the raw loop",
                value=ours.good_per_second / best.per_second,
                unit=Unit.RATIO,
                wanted=at_least(PHONE_RATIO),
            ),
        ]


def measure_steady(seconds: float, per_minute: float) -> list[Figure]:
    """Send photos at a constant rate and look at the slowest answers."""
    with TemporaryDirectory() as name, running_here() as stack:
        folder = Path(name)
        photos = write_photos(folder)
        model = import_into(stack, write_weights(folder / "resnet18.safetensors", photos), TUNED)
        bodies = [photo.read_bytes() for photo in photos]
        wait_for_model(stack, model, bodies[0], JPEG)
        wait_until_tuned(stack, model)
        wait_until_settled()
        met = asyncio.run(
            send_steadily(
                prediction_url(stack, model),
                bodies,
                headers(stack, JPEG),
                per_second=per_minute / 60,
                seconds=seconds,
            )
        )
    title = f"resnet18, photos, {per_minute:,.0f} a minute for {seconds:.0f} s"
    return [
        Figure(
            name=f"{title}: errors",
            value=met.failures.total(),
            unit=Unit.COUNT,
            wanted=at_most(0),
            note=", ".join(f"{count} x {end}" for end, count in met.failures.items()),
        ),
        Figure(
            name=f"{title}: p99",
            value=met.percentile_ms(0.99),
            unit=Unit.MS,
            wanted=at_most(STEADY_P99_MS),
            note=f"p50 {met.percentile_ms(0.5):.0f} ms",
        ),
    ]


def load_photos(stack: RunningStack, model: str, photos: Sequence[Path], seconds: float) -> Load:
    """Load a model with photos in turn, once it answers and is tuned."""
    wait_for_model(stack, model, photos[0].read_bytes(), JPEG)
    wait_until_tuned(stack, model)
    # The other worker begins to run it in the way that was found.
    wait_until_settled()
    return load_model(stack, model, photos, JPEG, connections=CONNECTIONS, seconds=seconds)


def _raw_figure(precision: Precision, loop: RawLoop) -> Figure:
    return Figure(
        name=f"raw loop, 640x427 JPEG, {precision}",
        value=loop.per_second,
        unit=Unit.PER_SECOND,
        note=str(loop.candidate),
    )


def _rate(name: str, load: Load) -> Figure:
    note = f"p50 {load.p50_ms:.0f} ms, p99 {load.p99_ms:.0f} ms; {load.failures} failed"
    return Figure(name=name, value=load.good_per_second, unit=Unit.PER_SECOND, note=note)


def _share(name: str, load: Load, raw: RawLoop, wanted: float) -> Figure:
    share = load.good_per_second / raw.per_second * 100
    return Figure(name=name, value=share, unit=Unit.PERCENT, wanted=at_least(wanted))
