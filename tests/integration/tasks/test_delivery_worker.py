"""The delivery worker as a process: it sends, it leaves in order, and what it was killed over is sent again."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, text

from store import delivery_ledger, ledger
from store.settings import Settings
from tests.factories import Rows
from tests.running import PATIENCE_S, wait_until
from tests.sinks import WEBHOOK_KEY, Sink, answer, running_sink
from tests.webhooks import Hooks

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def sink() -> Iterator[Sink]:
    with running_sink() as running:
        yield running


@pytest.fixture
def hooks(committed: Rows) -> Hooks:
    return Hooks(committed.connection)


@pytest.fixture
def start(settings: Settings, sink: Sink) -> Iterator[Start]:
    """Start a delivery worker."""
    started: list[subprocess.Popen[bytes]] = []

    def run(**variables: str) -> "subprocess.Popen[bytes]":
        environment = {
            **os.environ,
            "TORCHQUEUE_DATABASE_URL": settings.database_url,
            "TORCHQUEUE_REDIS_URL": settings.redis_url,
            "TORCHQUEUE_VAR": str(settings.var_dir),
            "TORCHQUEUE_WEBHOOK_KEY": WEBHOOK_KEY,
            "TORCHQUEUE_OUTWARD_NETWORKS": "127.0.0.0/8",
            "TORCHQUEUE_OUTWARD_PORTS": str(sink.port),
            **variables,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.worker", "delivery"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def live(hooks: Hooks) -> int:
    statement = "SELECT count(*) FROM workers WHERE role = 'delivery' AND stopped_at IS NULL"
    return int(hooks.connection.execute(text(statement)).scalar_one())


def test_it_sends_registers_and_leaves_in_order(hooks: Hooks, sink: Sink, start: Start) -> None:
    endpoint = hooks.add(url=sink.when("/hook", answer(204)))
    process = start()

    hooks.write(endpoint, "a")
    wait_until(lambda: bool(sink.at("/hook")))
    wait_until(lambda: hooks.written()[0].state == "delivered")
    assert live(hooks) == 1
    process.send_signal(signal.SIGTERM)

    assert process.wait(10) == 0
    assert live(hooks) == 0


@pytest.mark.parametrize(("place", "sent_before"), [("pump.sending", 0), ("pump.sent", 1)])
def test_what_it_was_killed_over_is_sent_again_under_the_same_id(
    hooks: Hooks, sink: Sink, start: Start, place: str, sent_before: int
) -> None:
    endpoint = hooks.add(url=sink.when("/hook", answer(204)))
    [delivery] = hooks.write(endpoint, "a")

    killed = start(TORCHQUEUE_FAILPOINT=f"{place}:kill")
    assert killed.wait(PATIENCE_S) == -signal.SIGKILL
    assert (hooks.get(delivery).state, len(sink.at("/hook"))) == ("sending", sent_before)
    # As the supervisor does that sees it die.
    ledger.release_dead_worker(hooks.connection, host=socket.gethostname(), pid=killed.pid)
    start()
    wait_until(lambda: hooks.get(delivery).state == "delivered")

    received = sink.at("/hook")
    assert len(received) == sent_before + 1
    assert {each.id for each in received} == {str(delivery)}
    assert all(each.verify(hooks.secrets[endpoint]) for each in received)
    assert [attempt.status_code for attempt in hooks.attempts(delivery)] == [None, 204]


def test_two_of_them_send_everything_once(hooks: Hooks, sink: Sink, start: Start) -> None:
    endpoints = [hooks.add(url=sink.when(f"/hook-{index}", answer(204))) for index in range(5)]
    start()
    start()
    wait_until(lambda: live(hooks) == 2)

    written = [hooks.write(endpoint, *map(str, range(20))) for endpoint in endpoints]
    wait_until(lambda: {row.state for row in hooks.written()} == {"delivered"})

    ids = [received.id for received in sink.received]
    assert sorted(ids) == sorted(str(each) for group in written for each in group)


def test_without_the_key_of_the_secrets_it_waits_and_leaves_in_order(
    hooks: Hooks, start: Start, database: Engine
) -> None:
    process = start(TORCHQUEUE_WEBHOOK_KEY="", TORCHQUEUE_WEBHOOK_KEY_FILE="/nonexistent/key")
    wait_until(lambda: live(hooks) == 1)

    process.send_signal(signal.SIGTERM)

    assert process.wait(10) == 0
    with database.connect() as connection:
        assert delivery_ledger.take_back(connection) == 0
