"""`tests.faults.packets`: real packets that are lost on a real port."""

import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.faults.packets import WHY_NOT, losing

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

#: Of so many answers, hardly ever do all come at the first try.
TURNS = 8


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection over the loopback."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=60) as client,
        server.accept()[0] as accepted,
    ):
        yield client, accepted


def _talk(ends: tuple[socket.socket, socket.socket]) -> None:
    """Say something often, each time after the answer."""
    client, server = ends
    for _ in range(TURNS):
        client.sendall(b"1")
        server.sendall(server.recv(1))
        client.recv(1)


def test_packets_are_lost_and_all_arrives_since_tcp_sends_anew(ends: tuple[socket.socket, socket.socket]) -> None:
    # It fails by itself where none was lost.
    with losing(ends[1].getsockname()[1]):
        _talk(ends)


def test_who_loses_nothing_says_so(ends: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(AssertionError, match="no packet was lost"), losing(ends[1].getsockname()[1]):
        pass


def test_no_rule_is_left_behind_by_a_failure() -> None:
    with pytest.raises(RuntimeError), losing(9):
        raise RuntimeError

    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    assert "torchqueue_faults_9" not in tables
