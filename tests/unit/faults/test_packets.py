"""`tests.faults.packets`: real packets that are lost on a real port."""

import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.faults.packets import WHY_NOT, losing

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

#: Of so many answers, hardly ever do all come at the first try.
TURNS = 20


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection over the loopback."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=60) as client,
        server.accept()[0] as accepted,
    ):
        yield client, accepted


def _talk(ends: tuple[socket.socket, socket.socket]) -> float:
    """Say something often, each time after the answer; returns the seconds that it took."""
    client, server = ends
    began = time.monotonic()
    for _ in range(TURNS):
        client.sendall(b"1")
        server.sendall(server.recv(1))
        client.recv(1)
    return time.monotonic() - began


def test_packets_are_lost_while_it_lasts_and_none_afterwards(ends: tuple[socket.socket, socket.socket]) -> None:
    with losing(ends[1].getsockname()[1]):
        lossy_s = _talk(ends)

    # TCP sends anew after 200 ms at the earliest.
    assert lossy_s > 0.2 > _talk(ends)


def test_no_rule_is_left_behind_by_a_failure() -> None:
    with pytest.raises(RuntimeError), losing(9):
        raise RuntimeError

    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    assert "torchqueue_faults_9" not in tables
