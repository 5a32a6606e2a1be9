"""What models of `benchmarks.gpu` take on the device, and how many items fit."""

from dataclasses import dataclass

import torch

from benchmarks.gpu_race import FORMATS, Plan, loaded, make_photo, make_weights, spec_of
from ml.choices import Variant
from ml.residency import MEBIBYTE
from ml.spec import ModelSpec

#: In which memory is measured.
HALF = FORMATS[1]

CEILING_SHARE = 0.015
"""Of the GPU's memory, left to the search for the ceiling: enough for the weights, too little for the batch."""

CEILING_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a model takes on the device, in MiB. On a CPU only its weights are known."""

    model: str
    batch: int
    weights_mib: float
    peak_mib: float | None
    returned_mib: float | None


def measure_memory(spec: ModelSpec, device: str) -> Memory:
    """Load a model, run one full batch, and let it go again."""
    weights = make_weights(spec)
    if not device.startswith("cuda"):
        with loaded(spec, weights, device, HALF) as engine:
            held = engine.held_bytes()
        return Memory(
            model=spec.name, batch=spec.max_batch, weights_mib=held / MEBIBYTE, peak_mib=None, returned_mib=None
        )
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with loaded(spec, weights, device, HALF) as engine:
        key = (spec.name, spec.version)
        engine.compute(key, engine.decode(key, [make_photo(seed) for seed in range(spec.max_batch)]))
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


def find_ceiling(plan: Plan, device: str) -> str:
    """Let the engine find out how many items fit, in a small share of the device's memory."""
    spec = spec_of("resnet50", plan, batch=CEILING_BATCH)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(CEILING_SHARE)
    try:
        with loaded(spec, make_weights(spec), device, Variant()) as engine:
            learned = engine.take_learned()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    found = [f"{each.ceiling.items} of {CEILING_BATCH}, after {each.ceiling.failures} failures" for each in learned]
    return found[0] if found else f"all {CEILING_BATCH} items fit"
