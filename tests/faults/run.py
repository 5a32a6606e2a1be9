"""Runs rows of the matrix against an arena, group by group, each with a verdict of its own."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from tests.faults.arena import Arena
from tests.faults.injectors.done import Done
from tests.faults.matrix import Row
from tests.faults.results import Result


def run_group(arena: Arena, row: Row, count: int, seed: int) -> Result:
    """Do some faults of a row while clients ask, then judge."""
    began = time.monotonic()
    with arena.clients.asking():
        injected = row.inject(arena, row.state, count)
    return run_injected(arena, row, injected, seed, began)


def run_injected(arena: Arena, row: Row, injected: Done | None, seed: int, began: float | None = None) -> Result:
    """Judge what was done; None where no fault was."""
    injected = injected or Done()
    began = began or time.monotonic()
    findings = arena.check()
    return Result(
        row=row.name,
        seed=seed,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        faults=injected.faults,
        accepted=findings.accepted,
        lost=findings.lost,
        doubled=findings.doubled,
        given_up=findings.given_up,
        seconds=round(time.monotonic() - began, 1),
        recoveries=[round(each, 3) for each in _recoveries(arena, injected)],
        violations=[*injected.broken, *(str(violation) for violation in findings.violations)],
    )


def _recoveries(arena: Arena, injected: Done) -> Iterator[float]:
    """Seconds from each fault until service was back, and until the last row that a dead worker held had ended."""
    yield from injected.recoveries
    ended = arena.checker.ended_at(list(injected.deaths))
    for pid, died_at in injected.deaths.items():
        yield max(0.0, ended.get(pid, died_at) - died_at)
