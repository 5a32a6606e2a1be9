"""When a split is ended by itself: a version that is clearly worse than the champion shall not answer any longer.

Clearly: all guards of a split together stop one in which no version is worse with a probability of `ALPHA` at most,
however often they are looked at and however long it runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.traffic import Guards
from store.comparison import Served
from store.statistics.sequences import Mean, Proportion

#: All guards of a split together stop a good one with this probability at most.
ALPHA = 0.05

#: Of what is slower than a 99th percentile there is one in a hundred.
SLOWEST = 0.01

FIGURE_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Breach:
    """A guard that a version broke, with the figures that say so."""

    version_id: int
    number: int
    guard: str
    reason: str
    figures: Mapping[str, Any]


Check = Callable[[Served, Served, float, float], Breach | None]


def find_breach(guards: Guards, champion: Served, challengers: Sequence[Served]) -> Breach | None:
    """Return the first guard that is broken, or None.

    Args:
        guards: Those that are None are left out.
        champion: What the others are measured by.
        challengers: Each is looked at.
    """
    checks = [(check, limit) for name, check in CHECKS.items() if (limit := getattr(guards, name)) is not None]
    for challenger in challengers:
        for check, limit in checks:
            breach = check(challenger, champion, limit, ALPHA / (len(checks) * len(challengers)))
            if breach is not None:
                return breach
    return None


def _check_errors(challenger: Served, champion: Served, rise: float, alpha: float) -> Breach | None:
    mine, theirs = challenger.failures, champion.failures
    if not mine.is_more_by(theirs, rise, alpha):
        return None
    reason = f"{_percent(mine.value)} of its predictions fail, {_percent(theirs.value)} of the champion's"
    figures = {"failed": mine.hits, "of": mine.trials, "champion_failed": theirs.hits, "champion_of": theirs.trials}
    return _breach(challenger, "error_rate_rise", rise, reason, figures)


def _check_latency(challenger: Served, champion: Served, ratio: float, alpha: float) -> Breach | None:
    slow = challenger.latencies.slower_than(champion.latencies, ratio)
    if not slow.trials or slow.interval(alpha).lower <= SLOWEST:
        return None
    mine, theirs = challenger.latencies.percentile_ms(0.99), champion.latencies.percentile_ms(0.99)
    reason = f"its 99th percentile is {mine} ms, {theirs} ms the champion's"
    return _breach(challenger, "latency_ratio", ratio, reason, {"p99_ms": mine, "champion_p99_ms": theirs})


def _check_quality(challenger: Served, champion: Served, drop: float, alpha: float) -> Breach | None:
    mine, theirs = challenger.quality, champion.quality
    if isinstance(mine, Proportion) and isinstance(theirs, Proportion):
        is_worse = theirs.is_more_by(mine, drop, alpha)
        reason = f"{_percent(mine.value)} of its answers are right, {_percent(theirs.value)} of the champion's"
    elif isinstance(mine, Mean) and isinstance(theirs, Mean):
        is_worse = mine.is_more_by(theirs, drop * abs(theirs.value or 0.0), alpha)
        reason = f"its answers are off by {mine.value:.6g} on average, the champion's by {theirs.value:.6g}"
    else:
        return None
    figures = {
        "value": mine.value,
        "feedback": mine.trials,
        "champion_value": theirs.value,
        "champion_feedback": theirs.trials,
    }
    return _breach(challenger, "quality_drop", drop, reason, figures) if is_worse else None


def _breach(challenger: Served, guard: str, limit: float, reason: str, figures: Mapping[str, Any]) -> Breach:
    rounded = {
        name: round(value, FIGURE_DECIMALS) if isinstance(value, float) else value for name, value in figures.items()
    }
    return Breach(
        challenger.version_id,
        challenger.number,
        guard,
        f"version {challenger.number} broke the guard {guard}: {reason}",
        {"guard": guard, "limit": limit, "version": challenger.number, **rounded},
    )


def _percent(share: float | None) -> str:
    return "nothing" if share is None else f"{share:.2%}"


CHECKS: Mapping[str, Check] = {
    "error_rate_rise": _check_errors,
    "latency_ratio": _check_latency,
    "quality_drop": _check_quality,
}
