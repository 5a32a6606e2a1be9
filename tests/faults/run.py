"""Runs rows of the matrix against an arena, group by group, each with a verdict of its own."""

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime

from tests.faults.arena import Arena
from tests.faults.checker import Findings
from tests.faults.injectors.done import Done
from tests.faults.matrix import Row
from tests.faults.others import judge_others, p99_times
from tests.faults.results import Result

#: For learning how long answers take without a fault.
CALM_S = 8.0


def run_group(arena: Arena, row: Row, count: int, seed: int) -> Result:
    """Do some faults of a row while clients ask, then judge."""
    broken = [] if not row.spares_others or arena.calm_ms else _measure_calm(arena)
    began = time.monotonic()
    with arena.clients.asking(), arena.others.asking() if row.spares_others else nullcontext():
        injected = row.inject(arena, row.state, count)
    injected.broken += broken
    return run_injected(arena, row, injected, seed, began)


def run_injected(arena: Arena, row: Row, injected: Done | None, seed: int, began: float | None = None) -> Result:
    """Judge what was done; None where no fault was."""
    injected = injected or Done()
    began = began or time.monotonic()
    findings = arena.check()
    if findings.given_up and not injected.kills:
        findings.add("I10", [f"{findings.given_up} rows were given up, and no worker died"])
    findings.add("I13", judge_others(arena.calm_ms, findings.others_ms))
    times = p99_times(arena.calm_ms, findings.others_ms)
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
        others=[] if times is None else [round(times, 2)],
        violations=[*injected.broken, *_texts(findings)],
    )


def _measure_calm(arena: Arena) -> Sequence[str]:
    """Learn how long answers take while clients ask and nothing is broken; returns broken promises all the same."""
    with arena.clients.asking(), arena.others.asking():
        time.sleep(CALM_S)
    findings = arena.check()
    arena.calm_ms = findings.others_ms
    return _texts(findings)


def _texts(findings: Findings) -> list[str]:
    return [str(violation) for violation in findings.violations]


def _recoveries(arena: Arena, injected: Done) -> Iterator[float]:
    """Seconds from each fault until service was back, and until the last row that a dead worker held had ended."""
    yield from injected.recoveries
    ended = arena.checker.ended_at(list(injected.deaths))
    for pid, died_at in injected.deaths.items():
        yield max(0.0, ended.get(pid, died_at) - died_at)
