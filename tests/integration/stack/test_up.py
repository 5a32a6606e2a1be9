"""Parts of `stack.up` that need no whole stack."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine as Database

from stack.embedded import free_port
from stack.plan import _lease_check as lease_check
from stack.state import ProcessState, StackState
from stack.up import _claim_releaser as claim_releaser
from stack.up import _end_leftovers as end_leftovers
from stack.up import _kept_password as kept_password
from stack.up import _write_env as write_env
from store.database import create_database
from store.settings import Settings
from tests.factories import Rows

AWAY = f"postgresql+psycopg2://nobody@127.0.0.1:{free_port()}/none"


@pytest.fixture
def said() -> list[str]:
    return []


def test_the_claims_of_a_dead_worker_are_given_back(
    settings: Settings, database: Database, committed: Rows, said: list[str]
) -> None:
    worker_id = committed.worker(host=os.uname().nodename, pid=77)
    prediction_id = committed.add()
    committed.claim(worker_id=worker_id)

    claim_releaser(settings, database, said.append)(77)

    assert (committed.status(prediction_id), said) == ("queued", [])


def test_a_death_while_postgres_is_away_is_left_to_the_lease(settings: Settings, said: list[str]) -> None:
    away = create_database(AWAY, application="tests")

    claim_releaser(settings, away, said.append)(77)

    assert said == ["Postgres is away: the dead worker's claims are taken back when its lease runs out"]


def test_a_worker_is_ready_when_it_has_registered(database: Database, committed: Rows) -> None:
    committed.worker(host=os.uname().nodename, pid=78)

    assert (lease_check(database)(78), lease_check(database)(79)) == (True, False)


def test_no_worker_is_ready_while_postgres_is_away() -> None:
    assert lease_check(create_database(AWAY, application="tests"))(78) is False


def test_what_a_killed_stack_left_running_is_ended(
    tmp_path: Path, left_behind: psutil.Process, said: list[str]
) -> None:
    _write_state(tmp_path, left_behind)

    end_leftovers(tmp_path, said.append)

    assert not left_behind.is_running() or left_behind.status() == psutil.STATUS_ZOMBIE
    assert said == ["ending 1 processes that a killed stack left behind"]


def test_where_nothing_was_left_nothing_is_said(tmp_path: Path, said: list[str]) -> None:
    end_leftovers(tmp_path, said.append)
    StackState(pid=1, url="", ready=True).write(tmp_path)
    end_leftovers(tmp_path, said.append)

    assert said == []


def test_a_password_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "flower.password"

    assert kept_password(path) == kept_password(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_addresses_with_passwords_are_for_their_owner_alone(settings: Settings, tmp_path: Path) -> None:
    write_env(tmp_path, settings)

    path = tmp_path / "stack.env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"TORCHQUEUE_DATABASE_URL='{settings.database_url}'" in path.read_text().splitlines()


@pytest.fixture
def left_behind() -> Iterator[psutil.Process]:
    """A process that nobody watches."""
    process = subprocess.Popen(["sleep", "60"])
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def _write_state(var_dir: Path, left_behind: psutil.Process) -> None:
    process = ProcessState(
        name="web", state="ready", pid=left_behind.pid, created_at=left_behind.create_time(), restarts=0, url="", log=""
    )
    StackState(pid=1, url="", ready=True, processes=[process]).write(var_dir)
