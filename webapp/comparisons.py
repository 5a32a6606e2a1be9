"""From a split and a comparison to what `schemas` dumps, for the API and for the command line."""

from collections.abc import Mapping
from typing import Any

from store.comparison import Comparison, Served, Shadowed
from store.statistics.sequences import Estimate, Interval, Proportion
from store.statistics.verdicts import ALPHA, Judged, SampleRatio, finite
from store.traffic import TrafficState

QUALITY_NAMES = {True: "accuracy", False: "mean_error"}


def present_comparison(found: Comparison) -> dict[str, Any]:
    """Present a comparison."""
    everyone = ([] if found.champion is None else [found.champion]) + list(found.challengers)
    number = None if found.champion is None else found.champion.number
    return {
        "model": found.model,
        "policy": found.policy,
        "since": found.since,
        "champion": number,
        "versions": [_served(each) for each in everyone],
        "comparisons": [_judged(each, number) for each in found.judged],
        "sample_ratio": _sample_ratio(found.sample_ratio),
        "shadows": [_shadow(each) for each in found.shadows],
        "alpha": ALPHA,
    }


def present_traffic(state: TrafficState) -> dict[str, Any]:
    """Present a split."""
    return {
        "model": state.model,
        "champion": state.champion,
        **state.plan.dump(),
        "policy": state.plan.policy,
        "sticky": state.plan.sticky,
        "arms": [
            {"version": number, "probability": probability, "posterior": posterior}
            for number, probability, posterior in state.arms
        ],
        "started_at": state.started_at,
        "updated_at": state.updated_at,
    }


def _served(served: Served) -> dict[str, Any]:
    quality = served.quality
    return {
        "version": served.number,
        "requests": served.failures.trials,
        "errors": served.failures.hits,
        "error_rate": _figure(served.failures),
        "latency_ms": {"p50": served.latencies.percentile_ms(0.5), "p99": served.latencies.percentile_ms(0.99)},
        "feedback": 0 if quality is None else quality.trials,
        "quality": None
        if quality is None
        else {"name": QUALITY_NAMES[isinstance(quality, Proportion)]} | _figure(quality),
    }


def _judged(judged: Judged, champion: int | None) -> dict[str, Any]:
    return {
        "version": judged.number,
        "against": champion,
        "difference": _interval(judged.difference, judged.interval),
        "e_value": judged.evidence,
        "verdict": judged.verdict,
    }


def _sample_ratio(found: SampleRatio) -> dict[str, Any]:
    return {
        "checked": found.is_checked,
        "reason": found.reason,
        "unit": found.unit,
        "counts": _by_text(found.counts),
        "shares": _by_text(found.shares),
        "e_value": found.evidence,
        "off": found.is_off,
    }


def _shadow(shadow: Shadowed) -> dict[str, Any]:
    times = shadow.percentiles_ms
    return {
        "version": shadow.number,
        "pairs": shadow.pairs,
        "errors": shadow.failures.hits,
        "agreement": _figure(shadow.agreement),
        "difference": _figure(shadow.difference),
        "compute_ms": {"p50": times["shadow_p50_ms"], "p99": times["shadow_p99_ms"]},
        "answer_compute_ms": {"p50": times["answer_p50_ms"], "p99": times["answer_p99_ms"]},
    }


def _figure(estimate: Estimate) -> dict[str, float | None]:
    return _interval(estimate.value, estimate.interval(ALPHA))


def _interval(value: float | None, interval: Interval) -> dict[str, float | None]:
    return {"value": value, **finite(interval)}


def _by_text(values: Mapping[int, Any] | None) -> dict[str, Any] | None:
    return None if values is None else {str(number): value for number, value in values.items()}
