"""The engine tunes itself: which way to run a network is fastest here and still gives the same answers.

Every way is run in turn with the network as it was written, batch by batch, so that both see the same machine: on a
shared one only their ratio means anything. A way counts by its fastest run; noise only ever adds time. On one thread
of a CPU it is processor time that counts.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ml.choices import Choice, TuningRules, Variant
from ml.compiling import COMPILE_LIMIT_S, check_compiles
from ml.errors import VariantError
from ml.predictor import Deviation, Predictor
from ml.samples import Samples
from ml.variants import apply_variant, batch_sizes, list_candidates, list_refinements, split_for_compiler
from ml.verdicts import BatchSpeed, Candidate, Tuning, Verdict, judge, pick_fastest, smallest_saturated

BUDGET_S = 20.0
"""Longest measurement of one model; what is not measured by then is not chosen. Compilations come on top."""

PATIENCE = 2.0
"""A measurement that counts processor time ends after so many times its budget by the clock on the wall."""

ROUNDS = 7
"""Runs of each way, in turn with the network as it was written."""

HOPELESS = 1.3
"""A way that is slower by this factor after three runs is given up; by its square, after the first."""

PEEK_FACTOR = 3.0
"""A way that takes so many times longer for one item is not even judged where that would cost a share of the budget."""

RACE_FORWARD_S = 0.1
"""The size of batch that ways are compared with takes about so long, at most."""

RACE_BATCH = {"cpu": 16, "cuda": 64}
"""Most items in a batch that ways are compared with."""

REFERENCE_SHARE = 0.05
"""Of the budget, for the answers that the others are judged by: a slow network is judged by fewer samples."""

LEAST_SAMPLES = 8

LEAST_TIMED_S = 0.002
"""Forwards that are shorter are timed several at once: the clock and the interpreter would decide otherwise."""

VARIANTS_SHARE = 0.75
"""Of the budget; the rest is for sizes of batch."""


def tune(
    predictor: Predictor,
    samples: Samples,
    *,
    budget_s: float = BUDGET_S,
    compile_limit_s: float = COMPILE_LIMIT_S,
    check: Callable[[], None] = lambda: None,
) -> Tuning:
    """Measure the ways to run a network, and choose.

    Args:
        predictor: Runs its network as it was written; not changed.
        samples: What answers are judged by.
        budget_s: Longest measurement.
        compile_limit_s: Longest compilation, on top.
        check: Called between forwards; may raise to break off.
    """
    with torch.inference_mode():
        return _Race(predictor, samples, budget_s, compile_limit_s, check).run()


@dataclass
class _Race:
    """One measurement under way."""

    predictor: Predictor
    samples: Samples
    budget_s: float
    compile_limit_s: float
    check: Callable[[], None]

    def __post_init__(self) -> None:
        one_thread = self.predictor.device.type == "cpu" and torch.get_num_threads() == 1
        # One thread's own processor time does not count what other processes took of the core meanwhile.
        self.clock = time.thread_time if one_thread else time.perf_counter
        self.started = self.clock()
        self.began = time.perf_counter()

    def run(self) -> Tuning:
        self._calibrate()
        rules = self.predictor.spec.tuning
        ways = [Variant(), *rules.narrow([v for v in list_candidates(self.predictor) if v != Variant()])]
        found = [self._plain(rules)]
        # The most promising first, in case the time runs out; then in their order again, the plainest first.
        found += [self._try(variant, rules) for variant in reversed(ways) if variant != Variant()]
        found.sort(key=lambda each: ways.index(each.variant))
        refinements = rules.narrow(list_refinements(pick_fastest(found).variant, self.predictor, rules))
        found += [self._try(variant, rules) for variant in refinements if variant not in ways]
        best = pick_fastest(found)
        batches = [] if "batch" in rules.pin else self._measure_batches(best.variant)
        return Tuning(
            choice=Choice(variant=best.variant, batch=rules.pin.get("batch", smallest_saturated(batches))),
            candidates=[replace(each, verdict=Verdict.CHOSEN) if each is best else each for each in found],
            batches=batches,
            race_batch=self.batch_size,
            samples=len(self.items),
            source=self.samples.source,
            tolerance=self.predictor.tolerance,
            seconds=time.perf_counter() - self.began,
        )

    def _calibrate(self) -> None:
        """Time one item, choose the batch from it, and compute what the others are judged by."""
        self.one = torch.stack(self.samples.items[:1])
        self._run(self.predictor, self.one)
        self.one_s = min(self._time(self.predictor, self.one, 1) for _ in range(3))
        affordable = int(self.budget_s * REFERENCE_SHARE / self.one_s)
        self.items = self.samples.items[: max(LEAST_SAMPLES, affordable)]
        most = min(RACE_BATCH[self.predictor.device.type], self.predictor.spec.max_batch)
        self.batch_size = max(1, min(most, int(RACE_FORWARD_S / self.one_s)))
        self.batch = self._batch_of(self.batch_size)
        self.reference = self._outputs(self.predictor)
        self.batch_s = self._time(self.predictor, self.batch, 1)
        self.repeats = max(1, math.ceil(LEAST_TIMED_S / self.batch_s))

    def _plain(self, rules: TuningRules) -> Candidate:
        fastest_s = min(self._time(self.predictor, self.batch, self.repeats) for _ in range(3))
        allowed = rules.narrow([Variant()]) == [Variant()]
        return Candidate(
            variant=Variant(),
            verdict=Verdict.PASSED if allowed else Verdict.REJECTED,
            reason="the reference" if allowed else "the configuration pins another",
            items_per_s=self.batch_size / fastest_s,
            speedup=1.0,
            deviation=Deviation(agreement=1.0, max_error=0.0),
        )

    def _try(self, variant: Variant, rules: TuningRules) -> Candidate:
        if self._time_left(VARIANTS_SHARE) <= 0:
            return Candidate(variant=variant, verdict=Verdict.SKIPPED, reason="the time was up")
        if not self.samples.real and variant.dtype != "fp32" and "dtype" not in rules.pin:
            reason = "there are no real inputs to judge it by; add samples to the configuration"
            return Candidate(variant=variant, verdict=Verdict.REJECTED, reason=reason)
        # A network may fail in any way in a form that it was not written for; that closes this way and no other.
        try:
            return self._measure(variant)
        except VariantError as error:
            return Candidate(variant=variant, verdict=Verdict.REJECTED, reason=str(error))
        except (RuntimeError, TypeError, ValueError, NotImplementedError, AttributeError) as error:
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            return Candidate(variant=variant, verdict=Verdict.REJECTED, reason=reason)

    def _measure(self, variant: Variant) -> Candidate:
        if variant.compile:
            self._check_compiles(variant)
        candidate = apply_variant(self.predictor, variant, limit=self.predictor.spec.max_batch)
        self._run(candidate, self.one)
        one_s = self._time(candidate, self.one, 1)
        costly = one_s * len(self.items) > self.budget_s * REFERENCE_SHARE
        if costly and (slower := one_s / self.one_s) > PEEK_FACTOR:
            reason = f"{slower:.0f} times slower on one item"
            return Candidate(variant=variant, verdict=Verdict.SLOWER, reason=reason, speedup=1 / slower)
        outputs = self._outputs(candidate)
        problem, deviation = judge(self.predictor, self.reference, outputs)
        if problem:
            return Candidate(variant=variant, verdict=Verdict.REJECTED, reason=problem, deviation=deviation)
        speedup, fastest_s = self._race(candidate)
        return Candidate(
            variant=variant,
            verdict=Verdict.PASSED if speedup >= 1 else Verdict.SLOWER,
            reason="" if speedup >= 1 else "slower than fp32",
            items_per_s=self.batch_size / fastest_s,
            speedup=speedup,
            deviation=deviation,
        )

    def _check_compiles(self, variant: Variant) -> None:
        """Compile in a child first; the time that it takes is not part of the budget."""
        started, began = self.clock(), time.perf_counter()
        eager = replace(variant, compile=False, graphs=False)
        given = self._seen_by_module(torch.stack(self.samples.items[:1] * 2))
        module, example = split_for_compiler(apply_variant(self.predictor, eager, limit=1).module, given)
        check_compiles(module, example, limit_s=self.compile_limit_s)
        self.started += self.clock() - started
        self.began += time.perf_counter() - began

    def _seen_by_module(self, batch: Tensor) -> Tensor:
        """What the kind's ``forward`` hands to its network."""
        seen: list[Tensor] = []
        hook = self.predictor.module.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
        try:
            self._run(self.predictor, batch)
        finally:
            hook.remove()
        return seen[0]

    def _race(self, candidate: Predictor) -> tuple[float, float]:
        """Speed-up over the network as it was written, and seconds of the fastest run."""
        plain_s, fastest_s = math.inf, math.inf
        for done in range(1, ROUNDS + 1):
            plain_s = min(plain_s, self._time(self.predictor, self.batch, self.repeats))
            fastest_s = min(fastest_s, self._time(candidate, self.batch, self.repeats))
            hopeless = fastest_s > plain_s * (HOPELESS if done >= 3 else HOPELESS**2)
            if hopeless or self._time_left(VARIANTS_SHARE) <= 0:
                break
        return plain_s / fastest_s, fastest_s

    def _measure_batches(self, variant: Variant) -> list[BatchSpeed]:
        candidate = apply_variant(self.predictor, variant, limit=self.predictor.spec.max_batch)
        found: list[BatchSpeed] = []
        for size in batch_sizes(self.predictor.spec.max_batch):
            if self._time_left() <= 0:
                break
            batch = self._batch_of(size)
            try:
                self._run(candidate, batch)
            except torch.OutOfMemoryError:
                break
            repeats = max(1, self.repeats * self.batch_size // size)
            fastest_s = min(self._time(candidate, batch, repeats) for _ in range(3))
            found.append(BatchSpeed(size=size, items_per_s=size / fastest_s))
        return found

    def _outputs(self, predictor: Predictor) -> Tensor:
        """``[N, ...]`` float32 outputs for all samples, on the CPU."""
        items = self.items
        starts = range(0, len(items), self.batch_size)
        batches = [torch.stack(items[start : start + self.batch_size]) for start in starts]
        return torch.cat([self._run(predictor, batch).float().cpu() for batch in batches])

    def _batch_of(self, size: int) -> Tensor:
        items = self.samples.items
        return torch.stack((items * math.ceil(size / len(items)))[:size])

    def _run(self, predictor: Predictor, batch: Tensor) -> Tensor:
        self.check()
        return predictor.forward(batch)

    def _time(self, predictor: Predictor, batch: Tensor, repeats: int) -> float:
        """Seconds of one forward, by the clock that other processes disturb least."""
        started = self.clock()
        for _ in range(repeats):
            self._run(predictor, batch)
        if predictor.device.type == "cuda":  # pragma: no cover - needs a GPU
            torch.cuda.synchronize(predictor.device)
        return (self.clock() - started) / repeats

    def _time_left(self, share: float = 1.0) -> float:
        patience = self.began + self.budget_s * PATIENCE - time.perf_counter()
        return min(patience, self.started + self.budget_s * share - self.clock())
