"""A rolling deploy: old and new code side by side on one database while it is migrated, and no client notices."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from stack.embedded import LOOPBACK, free_port
from stack.plan import web_command
from store.migrate import MIGRATIONS
from tests.load import Crowd, asking
from tests.running import PATIENCE_S, ROOT, RunningStack, code_of, extract_revision, wait_until

NEW_DEVICE = "cpu:1"

#: Of each client, between two requests: it takes as long as three processes need to start.
PAUSE_S = 0.05


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree as it was before the newest migration."""
    head = ScriptDirectory(str(MIGRATIONS)).get_revision("head")
    assert head is not None
    newest = Path(head.path).relative_to(ROOT)
    added = _git("log", "--first-parent", "-m", "--diff-filter=A", "--format=%H", "-1", "--", str(newest))
    # A migration that is not committed yet is newer than all that is.
    revision = f"{added.decode().strip()}^1" if added.strip() else "HEAD"
    folder = extract_revision(revision, tmp_path_factory.mktemp("old-code"))
    assert not (folder / newest).exists()
    return folder


def test_old_and_new_code_side_by_side_refuse_nobody_while_the_database_is_migrated(
    old_code: Path, tmp_path: Path
) -> None:
    with RunningStack.start(tmp_path / "var", root=old_code) as stack:
        before = _revision(stack)
        with asking(Crowd(stack), clients=4, pause_s=PAUSE_S) as of_old:
            _wait_for(of_old, 50)
            _migrate(stack)
            _wait_for(of_old, 50)
            with (
                _new_web(stack) as url,
                _new_worker(stack),
                asking(Crowd(stack, url=url), clients=4, pause_s=PAUSE_S) as of_new,
            ):
                wait_until(lambda: {"cpu:0", NEW_DEVICE} <= _devices(of_new))
                _wait_for(of_new, 100)
                _wait_for(of_old, 100)
        of_old.assert_each_ended_once_and_rightly()
        of_new.assert_each_ended_once_and_rightly()
        assert _revision(stack) != before

    assert (of_old.refused, of_new.refused) == ([], [])


def _migrate(stack: RunningStack) -> None:
    """Run the new code's migration, as the deployment does."""
    done = subprocess.run(
        [sys.executable, "-m", "stack", "migrate", f"--var={stack.var_dir}"],
        cwd=ROOT,
        env=_environment(stack),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def _new_web(stack: RunningStack) -> Iterator[str]:
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    with _running(stack, web_command(host=LOOPBACK, port=port, processes=1), "web-new"):
        wait_until(lambda: _is_ready(url))
        yield url


@contextmanager
def _new_worker(stack: RunningStack) -> Iterator[None]:
    command = [sys.executable, "-m", "tasks.worker", "inference", f"--device={NEW_DEVICE}"]
    live = text("SELECT count(*) FROM workers WHERE device = :device AND stopped_at IS NULL")
    with _running(stack, command, "worker-new"):

        def is_there() -> bool:
            with stack.open_database().connect() as connection:
                return bool(connection.execute(live, {"device": NEW_DEVICE}).scalar_one())

        wait_until(is_there)
        yield


@contextmanager
def _running(stack: RunningStack, command: list[str], name: str) -> Iterator[None]:
    with (stack.var_dir / "log" / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=_environment(stack), stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _environment(stack: RunningStack) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TORCHQUEUE_")}
    return {**inherited, **code_of(ROOT), **stack.settings, "TORCHQUEUE_VAR": str(stack.var_dir)}


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=2.0).is_success
    except httpx.TransportError:
        return False


def _devices(people: Crowd) -> set[str]:
    """Which devices answered what the clients sent."""
    used = text("SELECT DISTINCT device FROM predictions WHERE id = ANY(CAST(:ids AS uuid[])) AND device IS NOT NULL")
    with people.stack.open_database().connect() as connection:
        return set(connection.execute(used, {"ids": list(people.accepted)}).scalars())


def _revision(stack: RunningStack) -> str:
    with stack.open_database().connect() as connection:
        return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())


def _wait_for(people: Crowd, more: int) -> None:
    """Wait until the clients were answered so many times more, or one was refused."""
    until = len(people.accepted) + more
    wait_until(lambda: len(people.accepted) >= until or bool(people.refused))


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"the old code is in the history, which is not here: {done.stderr.decode().strip()}")
    return done.stdout
