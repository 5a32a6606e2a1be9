"""The fault suite finds bugs of each class that it is there for: a stack with one of them in its code does not pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.arena import Arena, running_arena
from tests.faults.injectors import doorbells, freezes, kills
from tests.faults.matrix import Row
from tests.faults.results import Result
from tests.faults.run import run_group
from tests.running import ROOT

# A stack is started for each bug, and what is lost is waited for.
pytestmark = pytest.mark.timeout(400)

BROKEN = Path(__file__).parents[1] / "faults" / "broken"


@contextmanager
def broken_arena(folder: Path, bug: str) -> Iterator[Arena]:
    """A stack with a bug; its clients ask slowly, since its device is slow."""
    environment = {"PYTHONPATH": f"{BROKEN}:{ROOT}", "FAULTS_BREAK": bug}
    with running_arena(folder, seed=1, environment=environment, pause_s=2.0) as arena:
        yield arena


def broken(result: Result, invariant: str) -> bool:
    return any(violation.startswith(f"{invariant}:") for violation in result.violations)


def test_a_result_of_a_worker_that_lost_its_claim_is_found(tmp_path: Path) -> None:
    row = Row("zombie", "worker.before_commit", freezes.wake_zombies_at, 1, 1, 1)
    with broken_arena(tmp_path, "no-fence") as arena:
        result = run_group(arena, row, 2, seed=1)

    assert broken(result, "I5"), result


def test_a_reaper_that_does_not_look_again_is_found(tmp_path: Path) -> None:
    row = Row("kill", "worker.on_device", kills.kill_worker_at, 1, 1, 1)
    with broken_arena(tmp_path, "no-recheck") as arena:
        arena.releases = False
        result = run_group(arena, row, 4, seed=1)

    assert broken(result, "I5"), result


def test_an_answer_before_its_row_is_found(tmp_path: Path) -> None:
    row = Row("doorbells", "duplicate", doorbells.send_doorbells, 1, 1, 1)
    with broken_arena(tmp_path, "early-ack") as arena:
        result = run_group(arena, row, 5, seed=1)

    # Who is told of a row that is not there reads it at once, and is told that there is none.
    assert broken(result, "I11"), result


def test_a_doorbell_before_its_row_is_found(tmp_path: Path) -> None:
    row = Row("kill", "web.before_insert", kills.kill_web_at, 1, 1, 1)
    with broken_arena(tmp_path, "ring-first") as arena:
        result = run_group(arena, row, 1, seed=1)

    assert broken(result, "I2"), result
