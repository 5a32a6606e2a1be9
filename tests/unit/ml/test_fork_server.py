"""`ml.fork_server`: real forks of a real server."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest

from ml.fork_server import ForkServer
from tests.running import wait_until

MODULE = "tests.unit.ml.forking"


@dataclass
class Fork:
    """One fork, and the pipes to it."""

    pid: int
    orders: int
    answers: int

    def tell(self, order: bytes) -> None:
        os.write(self.orders, order)

    def answer(self) -> str:
        return os.read(self.answers, 10_000).decode()


def fork(server: ForkServer) -> Fork:
    asked, orders = os.pipe()
    answers, answering = os.pipe()
    try:
        return Fork(server.fork(asked, answering), orders, answers)
    finally:
        os.close(asked)
        os.close(answering)


@pytest.fixture
def server() -> Iterator[ForkServer]:
    made = ForkServer(MODULE)
    yield made
    made.close()


def test_a_fork_works_with_the_files_that_it_was_handed(server: ForkServer) -> None:
    first, second = fork(server), fork(server)
    parents = [each.answer().split()[0] for each in (first, second)]
    first.tell(b"hello")
    second.tell(b"good day")

    assert parents == [str(server.pid)] * 2
    assert (first.answer(), second.answer()) == ("hello", "good day")
    # Neither the server nor the other fork kept an end open.
    assert first.answer() == ""


def test_a_fork_knows_nothing_of_our_environment(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHQUEUE_DATABASE_URL", "secret")

    assert "TORCHQUEUE" not in fork(server).answer()


@pytest.mark.parametrize(("order", "status"), [(b"end", 0), (b"raise", 1), (b"", -9)])
def test_it_is_told_how_a_fork_ended(server: ForkServer, order: bytes, status: int) -> None:
    forked = fork(server)
    forked.answer()
    if order:
        forked.tell(order)
        wait_until(lambda: psutil.Process(forked.pid).status() == psutil.STATUS_ZOMBIE)

    assert server.end(forked.pid) == status
    assert not psutil.pid_exists(forked.pid)


def test_a_server_that_is_killed_takes_its_forks_along(server: ForkServer) -> None:
    forked = fork(server)
    forked.answer()
    psutil.Process(server.pid).kill()

    # The pipe ends when the last who holds it is gone.
    assert forked.answer() == ""
    assert server.end(forked.pid) is None
    assert not server.is_alive
    with pytest.raises(ChildProcessError, match="ended with -9"):
        fork(server)


def test_a_server_that_cannot_start_is_told_at_the_first_fork() -> None:
    server = ForkServer("no.such.module")

    with pytest.raises(ChildProcessError, match="ended with 1"):
        fork(server)
    assert not server.is_alive
