"""The loops of `benchmarks.gpu`: the engine and what one would write by hand, in turn, with the same network."""

import io
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ml.choices import Choice, Variant
from ml.decoding import stack
from ml.engine import Engine, Key
from ml.kinds import build_untrained
from ml.nvjpeg import decode_photos
from ml.predictor import Predictor
from ml.spec import ModelSpec
from ml.weights import dump_weights

PHOTO_SIZE = (640, 427)
LABELS = 1000
DECODE_THREADS = 8

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}

#: Number formats, each with the memory layout that it is fastest in.
FORMATS = tuple(Variant(dtype=dtype, channels_last=True) for dtype in ("fp32", "bf16"))


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


def compare(
    spec: ModelSpec, weights: bytes, files: Sequence[bytes], plan: Plan, device: str, variant: Variant
) -> Iterator[Row]:
    """Race both loops over the forward alone, and over each way to decode and the forward."""
    key = (spec.name, spec.version)
    works: list[tuple[str, bool]] = [("decode on the CPU + forward", False)]
    if device.startswith("cuda") and spec.input.preparation == "photo":
        works.append(("nvJPEG + forward", True))
    with loaded(spec, weights, device, variant) as engine:
        predictor = engine._models[key].predictor  # noqa: SLF001 - the raw loop runs the very same network
        items = engine.decode(key, files)
        tensors = [item for item in items if isinstance(item, Tensor)]
        raw, ours = _race(lambda: _raw_forward(predictor, tensors), lambda: engine.compute(key, items), plan)
        yield _row(spec, variant, "forward", plan, raw, ours)
    for work, on_device in works:
        with loaded(spec, weights, device, variant, decode_on_device=on_device) as engine:
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


@contextmanager
def loaded(
    spec: ModelSpec, weights: bytes, device: str, variant: Variant, *, decode_on_device: bool = False
) -> Iterator[Engine]:
    """Yield an engine that holds one model and runs it in one way."""
    engine = Engine(device, decode_threads=DECODE_THREADS, decode_on_device=decode_on_device)
    try:
        engine.load(spec, weights, Choice(variant=variant))
        yield engine
    finally:
        engine.close()


def spec_of(network: str, plan: Plan, *, batch: int | None = None) -> ModelSpec:
    """A classifier of torchvision as a model of ours."""
    config = {
        "kind": "classification",
        "arch": f"torchvision:{network}",
        "input": {"type": "image", "size": plan.size, "channels": 3, "preparation": "photo", **IMAGENET},
        "labels": [str(label) for label in range(LABELS)],
        "max_batch": batch or plan.batch,
    }
    return ModelSpec.from_config(network, 1, config)


def make_weights(spec: ModelSpec) -> bytes:
    """Weights at random, with a fixed seed."""
    torch.manual_seed(0)
    return dump_weights(build_untrained(spec, "cpu").module)


def make_photo(seed: int) -> bytes:
    """A JPEG of 640 x 427 with about as much detail as a photograph has."""
    rng = np.random.default_rng(seed)
    shapes = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).resize(PHOTO_SIZE)
    grain = rng.normal(0, 6, (PHOTO_SIZE[1], PHOTO_SIZE[0], 3))
    buffer = io.BytesIO()
    Image.fromarray((np.asarray(shapes) + grain).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
