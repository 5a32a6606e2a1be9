"""Fetchers as processes, killed while they fetch: nothing is lost, and nothing is answered twice."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest
from sqlalchemy import Engine as Database

from store import ledger
from store.models import ServedVersion
from store.settings import Settings
from tests.factories import Rows, autocommit
from tests.outside import Outside, reply, running_outside
from tests.running import PATIENCE_S, ROOT, SAMPLES, wait_until

PHOTO = (SAMPLES / "sandal-01.png").read_bytes()


@contextmanager
def running_fetcher(settings: Settings, outside: Outside) -> Iterator["subprocess.Popen[bytes]"]:
    """A fetcher of its own, which may go to the stranger's server."""
    environment = {
        **os.environ,
        "TORCHQUEUE_DATABASE_URL": settings.database_url,
        "TORCHQUEUE_REDIS_URL": settings.redis_url,
        "TORCHQUEUE_OBJECT_URL": settings.object_url,
        "TORCHQUEUE_VAR": str(settings.var_dir),
        "TORCHQUEUE_OUTWARD_NETWORKS": "127.0.0.0/8",
        "TORCHQUEUE_OUTWARD_PORTS": str(outside.port),
    }
    command = [sys.executable, "-m", "tasks.worker", "fetch"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        yield process
        process.kill()


@pytest.fixture
def rows(committed: Rows, fashion: ServedVersion) -> Rows:
    return Rows(committed.connection, fashion)


def test_a_fetcher_that_is_killed_while_it_fetches_loses_nothing(
    settings: Settings, rows: Rows, database: Database
) -> None:
    held, released = threading.Event(), threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        held.set()
        released.wait(30)
        reply(handler, 200, PHOTO)

    with running_outside() as outside:
        ids = [rows.add(input=None, image_url=outside.answer(f"/{number}.png", answer)) for number in range(3)]
        with running_fetcher(settings, outside) as first:
            assert held.wait(PATIENCE_S)
            first.send_signal(signal.SIGKILL)
            first.wait()
            released.set()
            # As the supervisor does when it sees a process die.
            with autocommit(database) as connection:
                ledger.release_dead_worker(connection, host=socket.gethostname(), pid=first.pid)
        with running_fetcher(settings, outside):
            wait_until(lambda: all(rows.get(each).input_sha256 for each in ids))

        claims = rows.claim()
    assert sorted(claim.id for claim in claims) == sorted(ids)
