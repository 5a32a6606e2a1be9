"""I13: a tenant whom no fault touches waits no longer during faults, as far as the machine can tell."""

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.faults.history import REQUEST_TIMEOUT_S, Request

MOST_TIMES = 1.25

#: Of fewer answers the p99 is the word of one or two.
LEAST_ANSWERS = 300

#: With fewer processors the stack, its load and the faults wait for each other, and the p99 tells of that alone.
LEAST_PROCESSORS = 8

#: How the name of the stack's own worker begins; faults beside it harm those that the suite has born.
SPARED = "cpu-0@"


def untouched_ms(requests: Sequence[Request], moves: Sequence[Mapping[str, Any]]) -> Iterator[float]:
    """How long this tenant waited for each answer that no worker had to do with but the one that faults spare.

    Args:
        requests: Of all tenants.
        moves: Of all rows, as `witness.MOVES` reads them.
    """
    touched = {move["id"] for move in moves if move["holder"] and not move["holder"].startswith(SPARED)}
    for request in requests:
        if request.is_other and request.ids and not touched & set(request.ids):
            yield REQUEST_TIMEOUT_S * 1000 if request.took_ms is None else request.took_ms


def p99_times(calm_ms: Sequence[float], during_ms: Sequence[float]) -> float | None:
    """How many times longer the p99 is during faults; None where one of both cannot be told."""
    if min(len(calm_ms), len(during_ms)) < 2:
        return None
    return _p99(during_ms) / _p99(calm_ms)


def judge_others(
    calm_ms: Sequence[float], during_ms: Sequence[float], processors: int = os.cpu_count() or 1
) -> Iterator[str]:
    """Say what is wrong; nothing where there are too few answers or processors to tell."""
    times = p99_times(calm_ms, during_ms)
    if times is None or processors < LEAST_PROCESSORS or min(len(calm_ms), len(during_ms)) < LEAST_ANSWERS:
        return
    if times > MOST_TIMES:
        yield f"the p99 of others was {times:.2f} times that without a fault"


def _p99(values_ms: Sequence[float]) -> float:
    return statistics.quantiles(values_ms, n=100, method="inclusive")[98]
