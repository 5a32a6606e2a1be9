"""The engine against the raw loop on a GPU: `python -m benchmarks.gpu`; without one the same with small sizes.

Each loop is measured in turn with the other, in one process, on the same device with the same network, so that their
ratio holds on a noisy machine. The raw loop is what one would write by hand: pinned buffer, forward, strongest label;
with decoding it prepares the next batch on threads (or by nvJPEG) meanwhile, as the engine does. Weights are random,
with a fixed seed: they change no speed.
"""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click
import httpx
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.choices import Choice, Variant
from ml.decoding import stack
from ml.devices import list_devices
from ml.engine import Engine, Key
from ml.kinds import build_untrained
from ml.nvjpeg import decode_photos
from ml.predictor import Predictor
from ml.residency import MEBIBYTE
from ml.spec import ModelSpec
from ml.weights import dump_weights
from tests.running import SAMPLES, RunningStack

PHOTO_SIZE = (640, 427)
LABELS = 1000
DECODE_THREADS = 8
STACK_CLIENTS = 32

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}

#: Number formats, each with the memory layout that it is fastest in.
FORMATS = tuple(Variant(dtype=dtype, channels_last=True) for dtype in ("fp32", "bf16"))

#: In which memory is measured.
HALF = FORMATS[1]

LEAST_RATIO = 0.9
MOST_PEAK_MIB = {"resnet18": 600.0}

CEILING_SHARE = 0.015
"""Of the GPU's memory, left to the search for the ceiling: enough for the weights, too little for the batch."""

CEILING_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to measure.

    Attributes:
        seconds: Per loop and round.
        rounds: How often each loop has its turn; the median counts.
        batch: Items in one forward.
        size: Side of the squares that resnets see, in pixels.
        networks: Names in `torchvision.models`.
        variants: Ways in which the engine runs each network.
    """

    seconds: float
    rounds: int
    batch: int
    size: int
    networks: tuple[str, ...]
    variants: tuple[Variant, ...]

    @classmethod
    def full(cls) -> "Plan":
        """For a GPU, within eight minutes."""
        variants = (*FORMATS, Variant(dtype="bf16", channels_last=True, compile=True))
        return cls(seconds=2.0, rounds=3, batch=64, size=224, networks=("resnet50",), variants=variants)

    @classmethod
    def small(cls) -> "Plan":
        """To see that everything runs where there is no GPU."""
        return cls(seconds=0.1, rounds=1, batch=2, size=32, networks=("resnet50",), variants=FORMATS)


@dataclass(frozen=True, kw_only=True)
class Row:
    """Two loops over the same work, in images a second."""

    model: str
    variant: str
    work: str
    batch: int
    raw_per_s: float
    engine_per_s: float

    @property
    def ratio(self) -> float:
        """The engine's rate over that of the raw loop."""
        return self.engine_per_s / self.raw_per_s


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a model takes on the device, in MiB. On a CPU only its weights are known."""

    model: str
    batch: int
    weights_mib: float
    peak_mib: float | None
    returned_mib: float | None


@dataclass(kw_only=True)
class Report:
    """One run."""

    device: str
    torch: str
    rows: list[Row] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    ceiling: str = "not measured: the CPU's memory has no limit of its own"
    stack: str = "not asked for"


def measure(plan: Plan, device: str) -> Report:
    """Measure everything but the stack."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU"
    report = Report(device=name, torch=torch.__version__)
    files = [_photo(seed) for seed in range(plan.batch)]
    for network in plan.networks:
        spec = _spec(network, plan)
        weights = _weights(spec)
        for variant in plan.variants:
            report.rows += _compare(spec, weights, files, plan, device, variant)
    fashion = read_bundle(BUNDLED_DIRECTORY / "fashion")
    spec = ModelSpec.from_config("fashion", 1, {**fashion.config, "max_batch": plan.batch})
    garments = [path.read_bytes() for path in sorted(SAMPLES.glob("*.jpg"))]
    garments = [garments[place % len(garments)] for place in range(plan.batch)]
    for variant in plan.variants:
        report.rows += _compare(spec, fashion.weights, garments, plan, device, variant)
    for network in ("resnet18", *plan.networks):
        report.memory.append(_measure_memory(_spec(network, plan, batch=min(32, plan.batch)), device))
    if device.startswith("cuda"):
        report.ceiling = _find_ceiling(plan, device)
    return report


def _compare(
    spec: ModelSpec, weights: bytes, files: Sequence[bytes], plan: Plan, device: str, variant: Variant
) -> Iterator[Row]:
    key = (spec.name, spec.version)
    works: list[tuple[str, bool]] = [("decode on the CPU + forward", False)]
    if device.startswith("cuda") and spec.input.preparation == "photo":
        works.append(("nvJPEG + forward", True))
    with _loaded(spec, weights, device, variant) as engine:
        predictor = engine._models[key].predictor  # noqa: SLF001 - the raw loop runs the very same network
        items = engine.decode(key, files)
        tensors = [item for item in items if isinstance(item, Tensor)]
        raw, ours = _race(lambda: _raw_forward(predictor, tensors), lambda: engine.compute(key, items), plan)
        yield _row(spec, variant, "forward", plan, raw, ours)
    for work, on_device in works:
        with _loaded(spec, weights, device, variant, decode_on_device=on_device) as engine:
            raw, ours = _race_decoding(engine, key, files, plan, on_device=on_device)
        yield _row(spec, variant, work, plan, raw, ours)


def _race_decoding(
    engine: Engine, key: Key, files: Sequence[bytes], plan: Plan, *, on_device: bool
) -> tuple[float, float]:
    predictor = engine._models[key].predictor  # noqa: SLF001
    with ThreadPoolExecutor(DECODE_THREADS) as threads, ThreadPoolExecutor(1) as ahead:
        by_hand = _pipeline(
            ahead,
            partial(_raw_decode, predictor, files, threads, on_device=on_device),
            partial(_raw_forward, predictor),
        )
        by_engine = _pipeline(ahead, partial(engine.decode, key, files), partial(engine.compute, key))
        return _race(by_hand, by_engine, plan)


def _pipeline(
    ahead: ThreadPoolExecutor, decode: Callable[[], Any], forward: Callable[[Any], object]
) -> Callable[[], None]:
    """One step of a loop that prepares the next batch while it computes this one."""
    pending = [ahead.submit(decode)]

    def step() -> None:
        batch = pending.pop().result()
        pending.append(ahead.submit(decode))
        forward(batch)

    return step


def _raw_decode(
    predictor: Predictor, files: Sequence[bytes], threads: ThreadPoolExecutor, *, on_device: bool
) -> list[Tensor]:
    if on_device:
        squares = decode_photos(files, predictor.spec.input, predictor.device)
        return [square for square in squares if square is not None]
    return list(threads.map(predictor.decode, files))


def _raw_forward(predictor: Predictor, items: Sequence[Tensor]) -> list[int]:
    with torch.inference_mode():
        labels: list[int] = predictor.forward(stack(items, predictor.device)).argmax(dim=1).tolist()
    return labels


def _race(raw: Callable[[], object], ours: Callable[[], object], plan: Plan) -> tuple[float, float]:
    """Median rates of both loops in images a second, measured in turn."""
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(plan.rounds):
        for loop, found in zip((raw, ours), rates, strict=True):
            found.append(_rate(loop, plan))
    return median(rates[0]), median(rates[1])


def _rate(loop: Callable[[], object], plan: Plan) -> float:
    loop()
    started, steps = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < plan.seconds or steps == 0:
        # Both loops end with labels on the host, so nothing is still under way when the clock is read.
        loop()
        steps += 1
    return steps * plan.batch / elapsed


def _row(spec: ModelSpec, variant: Variant, work: str, plan: Plan, raw: float, ours: float) -> Row:
    return Row(model=spec.name, variant=variant.name, work=work, batch=plan.batch, raw_per_s=raw, engine_per_s=ours)


def _measure_memory(spec: ModelSpec, device: str) -> Memory:
    weights = _weights(spec)
    if not device.startswith("cuda"):
        with _loaded(spec, weights, device, HALF) as engine:
            held = engine.held_bytes()
        return Memory(
            model=spec.name, batch=spec.max_batch, weights_mib=held / MEBIBYTE, peak_mib=None, returned_mib=None
        )
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with _loaded(spec, weights, device, HALF) as engine:
        key = (spec.name, spec.version)
        engine.compute(key, engine.decode(key, [_photo(seed) for seed in range(spec.max_batch)]))
        held, reserved = engine.held_bytes(), torch.cuda.memory_reserved()
        peak = torch.cuda.max_memory_reserved()
        engine.unload(*key)
        returned = reserved - torch.cuda.memory_reserved()
    return Memory(
        model=spec.name,
        batch=spec.max_batch,
        weights_mib=held / MEBIBYTE,
        peak_mib=peak / MEBIBYTE,
        returned_mib=returned / MEBIBYTE,
    )


def _find_ceiling(plan: Plan, device: str) -> str:
    """Let the engine find out how many items fit, in a small share of the device's memory."""
    spec = _spec("resnet50", plan, batch=CEILING_BATCH)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(CEILING_SHARE)
    try:
        with _loaded(spec, _weights(spec), device, Variant()) as engine:
            learned = engine.take_learned()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    found = [f"{each.ceiling.items} of {CEILING_BATCH}, after {each.ceiling.failures} failures" for each in learned]
    return found[0] if found else f"all {CEILING_BATCH} items fit"


def measure_stack(seconds: float) -> str:
    """Predictions of `fashion` through HTTP, Postgres and the worker of this machine's device, with stored inputs."""
    with TemporaryDirectory(prefix="torchqueue-bench-") as folder:
        try:
            with RunningStack.start(Path(folder) / "var") as running:
                return _load_stack(running, seconds)
        # A missing wheel, a port, a folder without room: none of it should cost the figures that were measured.
        except Exception as error:  # noqa: BLE001
            return f"did not run: {type(error).__name__}: {error}"


def _load_stack(running: RunningStack, seconds: float) -> str:
    counts = {"answered": 0, "failed": 0}
    lock, stopping = threading.Lock(), threading.Event()
    photo = (SAMPLES / "sandal-02.jpg").read_bytes()

    def ask() -> None:
        headers = {"Authorization": f"Bearer {running.admin_key}", "Content-Type": "application/octet-stream"}
        with httpx.Client(base_url=running.url, headers={**headers, "Prefer": "wait=30"}, timeout=60.0) as client:
            while not stopping.is_set():
                answer = client.post("/v1/models/fashion/predictions", content=photo)
                good = answer.is_success and answer.json()["status"] == "succeeded"
                with lock:
                    counts["answered" if good else "failed"] += 1

    threads = [threading.Thread(target=ask) for _ in range(STACK_CLIENTS)]
    for thread in threads:
        thread.start()
    stopping.wait(seconds)
    stopping.set()
    for thread in threads:
        thread.join()
    return f"{counts['answered'] / seconds:,.0f} fashion/s over {STACK_CLIENTS} connections, {counts['failed']} failed"


@contextmanager
def _loaded(
    spec: ModelSpec, weights: bytes, device: str, variant: Variant, *, decode_on_device: bool = False
) -> Iterator[Engine]:
    engine = Engine(device, decode_threads=DECODE_THREADS, decode_on_device=decode_on_device)
    try:
        engine.load(spec, weights, Choice(variant=variant))
        yield engine
    finally:
        engine.close()


def _spec(network: str, plan: Plan, *, batch: int | None = None) -> ModelSpec:
    """A classifier of torchvision as a model of ours."""
    config = {
        "kind": "classification",
        "arch": f"torchvision:{network}",
        "input": {"type": "image", "size": plan.size, "channels": 3, "preparation": "photo", **IMAGENET},
        "labels": [str(label) for label in range(LABELS)],
        "max_batch": batch or plan.batch,
    }
    return ModelSpec.from_config(network, 1, config)


def _weights(spec: ModelSpec) -> bytes:
    torch.manual_seed(0)
    return dump_weights(build_untrained(spec, "cpu").module)


def _photo(seed: int) -> bytes:
    """A JPEG of 640 x 427 with about as much detail as a photograph has."""
    rng = np.random.default_rng(seed)
    shapes = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).resize(PHOTO_SIZE)
    grain = rng.normal(0, 6, (PHOTO_SIZE[1], PHOTO_SIZE[0], 3))
    buffer = io.BytesIO()
    Image.fromarray((np.asarray(shapes) + grain).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


@click.command()
@click.option("--device", default=None, help="cuda:0, cpu:0, ...; by default the first of this machine.")
@click.option("--small/--full", default=None, help="Small sizes; by default where there is no GPU.")
@click.option("--stack/--no-stack", "with_stack", default=True, show_default=True, help="Measure the full stack too.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Also write JSON there.")
def main(device: str | None, small: bool | None, with_stack: bool, json_path: Path | None) -> None:
    """Measure the engine against the raw loop."""
    device = device or list_devices()[0]
    small = not device.startswith("cuda") if small is None else small
    plan = Plan.small() if small else Plan.full()
    report = measure(plan, device)
    if with_stack:
        report.stack = measure_stack(max(2.0, plan.seconds))
    _print(report)
    figures = {**asdict(report), "ratios": [round(row.ratio, 3) for row in report.rows]}
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2))
    else:
        click.echo(json.dumps(figures))


def _print(report: Report) -> None:
    console = Console()
    console.print(f"{report.device}, torch {report.torch}")
    wanted = f"≥ {LEAST_RATIO:.0%}"
    columns = ("model", "variant", "work", "batch", "raw /s", "engine /s", "ratio", wanted)
    rates = Table(*columns, box=None, pad_edge=False)
    for row in report.rows:
        figures = (f"{row.raw_per_s:,.0f}", f"{row.engine_per_s:,.0f}", f"{row.ratio:.0%}")
        rates.add_row(row.model, row.variant, row.work, str(row.batch), *figures, _met(row.ratio >= LEAST_RATIO))
    console.print(rates)
    memory = Table("model", "batch", "weights MiB", "peak MiB", "returned MiB", "met", box=None, pad_edge=False)
    for each in report.memory:
        mib = (each.weights_mib, each.peak_mib, each.returned_mib)
        most = MOST_PEAK_MIB.get(each.model)
        verdict = "" if most is None or each.peak_mib is None else _met(each.peak_mib <= most)
        shown = ("-" if each_mib is None else f"{each_mib:,.0f}" for each_mib in mib)
        memory.add_row(each.model, str(each.batch), *shown, verdict)
    console.print(memory)
    console.print(f"batch ceiling in {CEILING_SHARE:.1%} of the memory: {report.ceiling}")
    console.print(f"full stack: {report.stack}")


def _met(holds: bool) -> str:
    return "yes" if holds else "no"


if __name__ == "__main__":
    main()
