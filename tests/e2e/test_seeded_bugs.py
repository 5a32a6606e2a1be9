"""The fault suite finds bugs of each class that it is there for: a stack with one of them in its code does not pass."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.arena import running_arena
from tests.faults.injectors import doorbells, freezes, kills
from tests.faults.matrix import Row
from tests.faults.run import run_group
from tests.running import ROOT

# Each bug has a stack of its own, and what is lost is waited for.
pytestmark = pytest.mark.timeout(600)

BROKEN = Path(__file__).parents[1] / "faults" / "broken"

AT_ONCE = 2
"""Stacks side by side: most of the time each of them waits."""


@dataclass(frozen=True)
class Seeded:
    """A bug, and the fault that brings it to light.

    Attributes:
        bug: Its name in ``tests/faults/broken``.
        row: The fault.
        attempts: How often at most: whether a bug does harm is also a matter of time.
        invariant: What is broken.
        releases: Whether deaths are told at once; a lease runs out otherwise.
    """

    bug: str
    row: Row
    attempts: int
    invariant: str
    releases: bool = True


SEEDED = [
    # A result of a worker that lost its claim.
    Seeded("no-fence", Row("zombie", "worker.before_commit", freezes.wake_zombies_at, 1, 1, 1), 6, "I5"),
    # A reaper that does not look again.
    Seeded("no-recheck", Row("kill", "worker.on_device", kills.kill_worker_at, 1, 1, 1), 8, "I5", releases=False),
    # An answer before its row: who is told of a row that is not there reads it at once, and is told that there is none.
    Seeded("early-ack", Row("doorbells", "duplicate", doorbells.send_doorbells, 1, 1, 1), 5, "I11"),
    # A doorbell before its row.
    Seeded("ring-first", Row("kill", "web.before_insert", kills.kill_web_at, 1, 1, 1), 4, "I2"),
]


def judge(seeded: Seeded, folder: Path) -> list[str]:
    """Run a stack with the bug and do the fault until it is found; its clients ask slowly, since its device is slow.

    Returns:
        The violations of the last attempt.
    """
    environment = {"PYTHONPATH": f"{BROKEN}:{ROOT}", "FAULTS_BREAK": seeded.bug}
    with running_arena(folder, seed=1, environment=environment, pause_s=2.0) as arena:
        arena.releases = seeded.releases
        for attempt in range(seeded.attempts):
            violations = run_group(arena, seeded.row, 1, seed=attempt).violations
            if is_found(seeded, violations):
                break
        return violations


def is_found(seeded: Seeded, violations: Iterable[str]) -> bool:
    """Whether what the bug breaks is among what was found."""
    return any(violation.startswith(f"{seeded.invariant}:") for violation in violations)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[list[str]]]]:
    """By bug, what the suite says of it."""
    with ThreadPoolExecutor(AT_ONCE) as stacks:
        yield {each.bug: stacks.submit(judge, each, tmp_path_factory.mktemp(each.bug)) for each in SEEDED}


@pytest.mark.parametrize("seeded", SEEDED, ids=lambda each: each.bug)
def test_a_seeded_bug_is_found(judged: dict[str, Future[list[str]]], seeded: Seeded) -> None:
    violations = judged[seeded.bug].result()

    assert is_found(seeded, violations), violations
