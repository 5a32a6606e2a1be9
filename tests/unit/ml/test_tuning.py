"""`ml.tuning`: what is measured, thrown out and chosen. No test depends on which way is faster."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ml.choices import Variant
from ml.errors import TuningInterruptedError, VariantError
from ml.kinds import build_untrained
from ml.predictor import Deviation, Predictor
from ml.samples import Samples
from ml.spec import ModelSpec
from ml.tuning import tune
from ml.verdicts import BatchSpeed, Candidate, Tuning, Verdict, pick_fastest, smallest_saturated

MakeModel = Callable[..., Predictor]

SAMPLES = Samples(items=list(torch.linspace(-1, 1, 32).reshape(16, 2)), source="a test")


class Rounded(nn.Module):
    """The two logits differ by less than bfloat16 can tell, and the second is the greater; in bfloat16 the first is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, batch: Tensor) -> Tensor:
        ones = torch.ones(len(batch), 1, dtype=batch.dtype) * self.weight
        return torch.cat([ones * 100, ones * 100.1], dim=1)


class Overflowing(nn.Module):
    """Good in float32; NaN in anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, batch: Tensor) -> Tensor:
        return batch if batch.dtype == torch.float32 else batch * float("nan")


class Stubborn(nn.Module):
    """Cannot be run in anything but float32."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, batch: Tensor) -> Tensor:
        if batch.dtype != torch.float32:
            raise NotImplementedError("no kernel for it\nand a long stack")
        return batch


class Slow(nn.Module):
    """Takes much longer in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, batch: Tensor) -> Tensor:
        if batch.dtype != torch.float32:
            until = time.thread_time() + 0.02
            while time.thread_time() < until:
                pass
        return batch


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_model(vector_config: dict[str, Any]) -> MakeModel:
    """Make a model of two labels around a network, with rules."""

    def make(network: nn.Module, **tuning: Any) -> Predictor:
        spec = ModelSpec.from_config("m", 1, {**vector_config, "tuning": tuning})
        predictor = build_untrained(spec, "cpu")
        predictor.module = network.eval()
        return predictor

    return make


def candidate(tuning: Tuning, name: str) -> Candidate:
    """Find a way by name."""
    return next(each for each in tuning.candidates if each.variant.name == name)


def test_a_way_that_flips_answers_is_rejected(make_model: MakeModel) -> None:
    found = tune(make_model(Rounded()), SAMPLES)
    flipped = candidate(found, "bf16")
    assert (flipped.verdict, flipped.deviation and flipped.deviation.agreement) == (Verdict.REJECTED, 0.0)
    assert flipped.reason == "agrees on 0.0% of the samples, 99.0% is asked"
    assert found.choice.variant == Variant()


def test_a_way_that_gives_nan_is_rejected(make_model: MakeModel) -> None:
    rejected = candidate(tune(make_model(Overflowing()), SAMPLES), "bf16")
    assert (rejected.verdict, rejected.reason) == (Verdict.REJECTED, "its outputs hold NaN or infinity")


def test_a_way_that_cannot_be_run_is_rejected_with_the_reason(make_model: MakeModel) -> None:
    rejected = candidate(tune(make_model(Stubborn()), SAMPLES), "bf16")
    assert (rejected.verdict, rejected.reason) == (Verdict.REJECTED, "NotImplementedError: no kernel for it")


def test_a_hopelessly_slow_way_is_not_even_judged(make_model: MakeModel) -> None:
    slow = candidate(tune(make_model(Slow()), SAMPLES, budget_s=1.0), "bf16")
    assert slow.verdict is Verdict.SLOWER
    assert slow.deviation is None
    assert slow.reason.endswith("times slower on one item")


def test_a_way_whose_numbers_are_off_is_rejected(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = make_model(nn.Linear(2, 2))
    monkeypatch.setattr(type(predictor), "deviation", lambda *_: Deviation(agreement=1.0, max_error=0.5))
    assert candidate(tune(predictor, SAMPLES), "bf16").reason == "is off by 0.5, 0.02 is allowed"


def test_reduced_precision_is_not_judged_by_made_up_inputs(make_model: MakeModel) -> None:
    made_up = Samples(items=SAMPLES.items, source="random", real=False)
    rejected = candidate(tune(make_model(nn.Linear(2, 2)), made_up), "bf16")
    assert rejected.verdict is Verdict.REJECTED
    assert "no real inputs" in rejected.reason


def test_what_is_forbidden_is_not_measured(make_model: MakeModel) -> None:
    found = tune(make_model(nn.Linear(2, 2), forbid=["bf16"]), SAMPLES)
    assert [each.variant.name for each in found.candidates] == ["fp32"]


def test_what_is_pinned_is_chosen_although_it_is_slower(make_model: MakeModel) -> None:
    found = tune(make_model(Slow(), pin={"dtype": "bf16", "batch": 4}), SAMPLES)
    assert found.choice.variant == Variant(dtype="bf16")
    assert (found.choice.batch, found.batches) == (4, [])


def test_what_is_pinned_and_cannot_run_is_not_chosen(make_model: MakeModel) -> None:
    assert tune(make_model(Stubborn(), pin={"dtype": "bf16"}), SAMPLES).choice.variant == Variant()


def test_nothing_is_chosen_that_there_was_no_time_to_measure(make_model: MakeModel) -> None:
    found = tune(make_model(nn.Linear(2, 2)), SAMPLES, budget_s=0.0)
    assert (candidate(found, "bf16").verdict, found.complete) == (Verdict.SKIPPED, False)
    assert (found.choice.variant, found.choice.batch) == (Variant(), None)


def test_a_measurement_makes_way(make_model: MakeModel) -> None:
    def interrupt() -> None:
        raise TuningInterruptedError

    with pytest.raises(TuningInterruptedError):
        tune(make_model(nn.Linear(2, 2)), SAMPLES, check=interrupt)


def test_a_compilation_that_fails_closes_that_way_alone(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise VariantError("torch.compile crashed its process")

    monkeypatch.setattr("ml.tuning.check_compiles", refuse)
    found = tune(make_model(nn.Linear(2, 2), **{"try": ["compile"]}), SAMPLES)
    [refused] = [each for each in found.candidates if each.variant.compile]
    assert (refused.verdict, refused.reason) == (Verdict.REJECTED, "torch.compile crashed its process")
    assert not found.choice.variant.compile


def test_every_figure_can_be_stored(make_model: MakeModel) -> None:
    stored = tune(make_model(nn.Linear(2, 2)), SAMPLES).to_json()
    assert [each["name"] for each in stored["candidates"]] == ["fp32", "bf16"]
    assert [each["size"] for each in stored["batches"]] == [1, 2, 4, 8]
    assert (stored["samples"], stored["source"]) == (16, "a test")
    assert stored["tolerance"] == {"min_agreement": 0.99, "max_error": 0.02}


def test_the_fastest_is_picked_and_the_plainer_of_two_alike() -> None:
    plain, alike, fast = (
        _passed(Variant(), 1.0),
        _passed(Variant(fused=True), 1.02),
        _passed(Variant(dtype="bf16"), 2.0),
    )
    assert pick_fastest([plain, alike]) is plain
    assert pick_fastest([plain, alike, fast]) is fast


@pytest.mark.parametrize(
    ("rates", "expected"),
    [([], None), ([5.0], None), ([10.0, 10.2, 10.1], 1), ([10.0, 20.0, 40.0, 41.0], 4), ([1.0, 2.0, 4.0], 4)],
)
def test_the_smallest_batch_that_is_nearly_as_fast_as_any_is_picked(rates: list[float], expected: int | None) -> None:
    batches = [BatchSpeed(size=1 << power, items_per_s=rate) for power, rate in enumerate(rates)]
    assert smallest_saturated(batches) == expected


def _passed(variant: Variant, speedup: float) -> Candidate:
    deviation = Deviation(agreement=1.0, max_error=0.0)
    return Candidate(variant=variant, verdict=Verdict.PASSED, items_per_s=1.0, speedup=speedup, deviation=deviation)
