"""What a measurement found of each way to run a network, and which one follows from it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from torch import Tensor

from ml.choices import Choice, Variant
from ml.predictor import Deviation, Predictor, Tolerance

LEAST_GAIN = 1.03
"""A way must be faster by this factor than a plainer one, or the plainer one is chosen."""

SATURATED = 0.95
"""The smallest batch with this share of the best rate is chosen: a larger one would only make its items wait."""


class Verdict(StrEnum):
    """What became of one way to run a network."""

    CHOSEN = "chosen"
    PASSED = "passed"
    SLOWER = "slower"
    REJECTED = "rejected"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way and its figures.

    Attributes:
        variant: The way.
        verdict: What became of it.
        reason: Why, for people.
        items_per_s: In its fastest run; None where it was not run.
        speedup: Over the network as it was written, run in turn; above 1 is faster.
        deviation: How far its answers were off; None where it was not judged.
    """

    variant: Variant
    verdict: Verdict
    reason: str = ""
    items_per_s: float | None = None
    speedup: float | None = None
    deviation: Deviation | None = None


@dataclass(frozen=True, kw_only=True)
class BatchSpeed:
    """Items a second at one size of batch, run in the chosen way."""

    size: int
    items_per_s: float


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A measurement and what follows from it.

    Attributes:
        choice: What to run the version with.
        candidates: Every way that was thought of, the plainest first.
        batches: Every size of batch that was measured.
        race_batch: Items in the batch that the ways were compared with.
        samples: Items that answers were judged by.
        source: Where these come from.
        tolerance: What the kind allows.
        seconds: How long it took.
    """

    choice: Choice
    candidates: list[Candidate]
    batches: list[BatchSpeed]
    race_batch: int
    samples: int
    source: str
    tolerance: Tolerance
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether every way was measured before the time was up."""
        return all(each.verdict is not Verdict.SKIPPED for each in self.candidates)

    def to_json(self) -> dict[str, Any]:
        """Figures as stored and as shown by the API, rounded to what they are worth."""
        return {
            "candidates": [_candidate_json(candidate) for candidate in self.candidates],
            "batches": [{"size": each.size, "items_per_s": round(each.items_per_s, 1)} for each in self.batches],
            "race_batch": self.race_batch,
            "samples": self.samples,
            "source": self.source,
            "tolerance": asdict(self.tolerance),
            "seconds": round(self.seconds, 2),
        }


def judge(predictor: Predictor, reference: Tensor, outputs: Tensor) -> tuple[str, Deviation | None]:
    """What is wrong with outputs ``[B, ...]`` of a way beside float32's (empty: nothing), and how far they are off."""
    if outputs.shape != reference.shape:
        return f"its outputs have shape {list(outputs.shape)}, not {list(reference.shape)}", None
    # An item that is not finite in float32 either says nothing about the way.
    sound = reference.flatten(1).isfinite().all(dim=1)
    reference, outputs = reference[sound], outputs[sound]
    if len(reference) == 0:
        return "the network's own outputs are not finite on any sample", None
    if not bool(outputs.isfinite().all()):
        return "its outputs hold NaN or infinity", None
    deviation, allowed = predictor.deviation(reference, outputs), predictor.tolerance
    if deviation.agreement < allowed.min_agreement:
        return f"agrees on {deviation.agreement:.1%} of the samples, {allowed.min_agreement:.1%} is asked", deviation
    if deviation.max_error > allowed.max_error:
        return f"is off by {deviation.max_error:.2g}, {allowed.max_error:.2g} is allowed", deviation
    return "", deviation


def pick_fastest(candidates: Sequence[Candidate]) -> Candidate:
    """The fastest that passed, the plainer of two that are nearly as fast.

    Where the configuration pins a way that did not pass, its word counts, as long as that way ran at all; else the
    network runs as it was written.
    """
    passed = [each for each in candidates if each.verdict is Verdict.PASSED]
    if passed:
        best = passed[0]
        for each in passed[1:]:
            best = each if (each.speedup or 0) > (best.speedup or 0) * LEAST_GAIN else best
        return best
    ran = [each for each in candidates if each.variant != Variant() and (each.speedup or each.deviation)]
    return max(ran, key=lambda each: each.speedup or 0) if ran else candidates[0]


def smallest_saturated(batches: Sequence[BatchSpeed]) -> int | None:
    """The smallest size that is nearly as fast as any; None where too few were measured to tell."""
    if len(batches) < 2:
        return None
    best = max(each.items_per_s for each in batches)
    return next(each.size for each in batches if each.items_per_s >= best * SATURATED)


def _candidate_json(candidate: Candidate) -> dict[str, Any]:
    deviation = candidate.deviation
    return {
        "name": candidate.variant.name,
        "verdict": str(candidate.verdict),
        "reason": candidate.reason,
        "items_per_s": None if candidate.items_per_s is None else round(candidate.items_per_s, 1),
        "speedup": None if candidate.speedup is None else round(candidate.speedup, 3),
        "agreement": None if deviation is None else round(deviation.agreement, 4),
        "max_error": None if deviation is None else float(f"{deviation.max_error:.3g}"),
    }
