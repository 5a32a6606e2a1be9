"""Faults that last: a database that is away, a device that hangs or fails, and ends that nobody notices."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Row, text

from stack.embedded import free_port
from tests.load import PAUSE_S, crowd
from tests.running import PATIENCE_S, ROOT, RunningStack, wait_until, write_small_models

ASYNC = {"Prefer": "respond-async"}


def row_of(stack: RunningStack, prediction_id: str) -> Row[Any]:
    """Read a prediction from the stack's own database."""
    with stack.open_database().connect() as connection:
        found = text("SELECT status, attempt, crash_count FROM predictions WHERE id = CAST(:id AS uuid)")
        return connection.execute(found, {"id": prediction_id}).one()


def lives_of(stack: RunningStack, device: str = "cpu:0") -> list[str | None]:
    """Return why the lives of a device's inference workers ended, oldest first; None for one that goes on."""
    with stack.open_database().connect() as connection:
        found = text("SELECT stop_reason FROM workers WHERE role = 'inference' AND device = :device ORDER BY id")
        return list(connection.execute(found, {"device": device}).scalars())


def slow_down_commits(stack: RunningStack) -> None:
    """Let every result take four seconds to be stored, for the next ten."""
    with stack.open_database().begin() as connection:
        until = connection.execute(text("SELECT now() + interval '10 s'")).scalar_one()
        connection.execute(
            text("""
                CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_sleep(4); RETURN NEW; END $$
            """)
        )
        connection.execute(
            text(f"""
                CREATE TRIGGER dawdle BEFORE UPDATE ON predictions FOR EACH ROW
                WHEN (NEW.status = 'succeeded' AND now() < '{until}') EXECUTE FUNCTION dawdle()
            """)
        )


def test_a_result_outlives_postgres_and_its_worker(tmp_path: Path) -> None:
    var_dir = tmp_path / "var"
    with RunningStack.start(var_dir, f"--models={write_small_models(tmp_path / 'models')}") as stack:
        slow_down_commits(stack)
        accepted = stack.predict_xor(headers=ASYNC).json()["id"]
        wait_until(lambda: row_of(stack, accepted).status == "processing")
        # Claims are not flushed at once: a crash right after one undoes it, and its row is computed again.
        time.sleep(1.5)
        with stack.without("postgres"):
            wait_until(lambda: any(file.stat().st_size for file in (var_dir / "spool").glob("*.spool")))
            stack.kill("cpu-0")
        wait_until(lambda: row_of(stack, accepted).status != "processing")
        # Not computed again: the first attempt's result was found on disk.
        assert [*row_of(stack, accepted)] == ["succeeded", 1, 0]
        wait_until(lambda: not list((var_dir / "spool").glob("*.spool")))


def test_a_worker_that_was_cut_off_for_long_begins_a_new_life(stack: RunningStack) -> None:
    pid = stack.pid("cpu-0")
    before = len(lives_of(stack))
    with stack.without("postgres"):
        time.sleep(8)
    wait_until(lambda: stack.predict_xor().status_code == 200)
    assert stack.pid("cpu-0") == pid
    # Its rows were given back by itself, or taken from it, but never without a new life.
    assert lives_of(stack)[before - 1 :][0] in ("self_fenced", "lease_expired")
    assert lives_of(stack)[-1] is None


def test_a_device_that_hangs_is_given_up_and_its_rows_are_answered(tmp_path: Path) -> None:
    # Each process hangs in its third batch; the one that takes over has only the row that is taken back.
    failpoint = {"TORCHQUEUE_FAILPOINT": "worker.on_device:sleep:600@3"}
    with RunningStack.start(tmp_path / "var", environment=failpoint) as stack:
        stack.predict_xor()
        pid = stack.pid("cpu-0")
        accepted = stack.predict_xor(headers=ASYNC).json()["id"]
        ended = stack.client.get(f"/v1/predictions/{accepted}", headers={"Prefer": "wait=60"}, timeout=90).json()
        assert (ended["status"], ended["attempt"]) == ("succeeded", 2)
        assert stack.pid("cpu-0") != pid
        assert "hung" in lives_of(stack)


def test_a_device_that_failed_three_times_is_left_alone_until_somebody_looks(stack: RunningStack) -> None:
    wait_until(lambda: lives_of(stack)[-1] is None)
    killed = stack.kill("cpu-0", signal.SIGSTOP)
    with stack.open_database().begin() as connection:
        connection.execute(
            text("""
                INSERT INTO workers (name, role, device, queue, host, pid, lease_expires_at, progress_at, stopped_at,
                    stop_reason)
                SELECT name, role, device, queue, host, 1, now(), now(), now(), 'device_lost'
                FROM workers, generate_series(1, 3) WHERE pid = :pid AND stopped_at IS NULL
            """),
            {"pid": killed},
        )
    os.kill(killed, signal.SIGKILL)
    stack.wait_for("cpu-0", other_than=killed)
    [worker] = [each for each in stack.client.get("/v1/workers").json()["data"] if each["role"] == "inference"]
    assert (worker["state"], worker["models"]) == ("quarantined", [])
    assert 'state="quarantined"} 1.0' in stack.client.get("/metrics").text
    stopped = stack.kill("cpu-0", signal.SIGTERM)
    stack.wait_for("cpu-0", other_than=stopped)
    wait_until(lambda: stack.predict_xor().status_code == 200)


def test_a_worker_that_is_told_to_stop_uses_up_no_attempt(stack: RunningStack) -> None:
    with crowd(stack) as people:
        wait_until(lambda: len(people.accepted) >= 50)
        stopped = stack.kill("cpu-0", signal.SIGTERM)
        stack.wait_for("cpu-0", other_than=stopped)
        so_far = len(people.accepted)
        wait_until(lambda: len(people.accepted) >= so_far + 50)
    people.assert_each_ended_once_and_rightly()
    assert {row_of(stack, each).attempt for each in people.accepted} == {1}
    assert "drained" in lives_of(stack)


@dataclass
class Balanced:
    """Clients behind what a load balancer does: it asks each web process whether it is ready, and sends to those."""

    urls: list[str]
    headers: dict[str, str]
    ready: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        """Ask all who is ready, now and then."""
        with httpx.Client(timeout=5.0) as client:
            while not self.over.is_set():
                self.ready = [url for url in self.urls if _is_ready(client, url)]
                self.over.wait(0.2)

    def ask(self) -> None:
        """Ask one request after the other, each time another process."""
        with httpx.Client(headers=self.headers, timeout=60.0) as client:
            turn = 0
            while not self.over.is_set():
                ready, turn = self.ready, turn + 1
                if ready:
                    self._ask_once(client, ready[turn % len(ready)])
                self.over.wait(PAUSE_S)

    def _ask_once(self, client: httpx.Client, url: str) -> None:
        try:
            response = client.post(f"{url}/v1/models/xor/predictions", json={"input": [0, 1]})
            self.answers.append(response.status_code)
        except httpx.HTTPError as error:
            self.errors.append(f"{url}: {error!r}")


def test_a_web_process_ends_without_any_client_noticing(stack: RunningStack) -> None:
    with _web_process(stack) as (first, first_url), _web_process(stack) as (second, second_url):
        people = Balanced([first_url, second_url], {"Authorization": f"Bearer {stack.admin_key}"})
        threads = [threading.Thread(target=people.look), *(threading.Thread(target=people.ask) for _ in range(8))]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: len(people.ready) == 2 and len(people.answers) > 100)
            first.send_signal(signal.SIGTERM)
            wait_until(lambda: people.ready == [second_url])
            assert first.poll() is None
            assert first.wait(PATIENCE_S) == 0
            so_far = len(people.answers)
            wait_until(lambda: len(people.answers) > so_far + 100)
        finally:
            people.over.set()
            for thread in threads:
                thread.join()
        assert second.poll() is None
    assert people.errors == []
    assert set(people.answers) == {200}


def test_who_waits_for_an_answer_gets_one_from_a_web_process_that_ends(stack: RunningStack) -> None:
    with _web_process(stack, "--grace=0") as (process, url):
        stack.kill("cpu-0", signal.SIGSTOP)
        try:
            answers: list[httpx.Response] = []
            thread = threading.Thread(target=lambda: answers.append(_ask_and_wait(stack, url)))
            thread.start()
            wait_until(lambda: _open_predictions(stack) > 0)
            process.send_signal(signal.SIGTERM)
            thread.join()
        finally:
            stack.kill("cpu-0", signal.SIGCONT)
    assert [answer.status_code for answer in answers] == [202]
    path = answers[0].headers["Location"]
    assert stack.client.get(path, headers={"Prefer": "wait=30"}).json()["status"] == "succeeded"


def _ask_and_wait(stack: RunningStack, url: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {stack.admin_key}", "Prefer": "wait=60"}
    return httpx.post(f"{url}/v1/models/xor/predictions", json={"input": [0, 1]}, headers=headers, timeout=90.0)


def _open_predictions(stack: RunningStack) -> int:
    with stack.open_database().connect() as connection:
        found = text("SELECT count(*) FROM predictions WHERE status IN ('queued', 'processing')")
        return int(connection.execute(found).scalar_one())


def _is_ready(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/health/ready").status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def _web_process(stack: RunningStack, *options: str) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Start a web process of its own, as a container does; yields it when it is ready."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "stack", "web", f"--var={stack.var_dir}", f"--port={port}", "--grace=2", *options]
    with (stack.var_dir / f"web-{port}.log").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **stack.settings}, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            with httpx.Client(timeout=5.0) as client:
                wait_until(lambda: _is_ready(client, url))
            yield process, url
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)


@pytest.fixture(autouse=True)
def _settled(request: pytest.FixtureRequest) -> None:
    """Let what the test before broke be whole again, where a test shares the stack."""
    if "stack" in request.fixturenames:
        shared: RunningStack = request.getfixturevalue("stack")
        wait_until(lambda: shared.predict_xor().status_code == 200)
