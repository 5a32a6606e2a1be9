"""`tests.faults.wire`: what passes a wire that is cut in some way."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.wire import Cut, Wire


def _echo(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    """A wire to a server that says what it hears."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "echo"))
        server.listen()
        thread = threading.Thread(target=_echo, args=(server,))
        thread.start()
        laid = Wire(str(tmp_path / "echo"))
        yield laid
        laid.close()
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def client(wire: Wire) -> Iterator[socket.socket]:
    """A connection over the wire."""
    with socket.create_connection(("127.0.0.1", wire.port), timeout=5) as opened:
        yield opened


def say(client: socket.socket) -> bytes:
    client.sendall(b"hello")
    return client.recv(100)


def test_a_whole_wire_passes_both_ways(client: socket.socket) -> None:
    assert say(client) == b"hello"


@pytest.mark.parametrize("how", [Cut.DROP, Cut.ONE_WAY])
def test_a_wire_that_drops_answers_nothing(wire: Wire, client: socket.socket, how: Cut) -> None:
    wire.cut(how)
    client.settimeout(0.2)

    with pytest.raises(TimeoutError):
        say(client)


def test_a_wire_that_rejects_resets_what_was_open(wire: Wire, client: socket.socket) -> None:
    assert say(client) == b"hello"
    wire.cut(Cut.REJECT)

    assert client.recv(100) == b""


def test_a_wire_that_is_whole_again_passes_new_connections(wire: Wire) -> None:
    wire.cut(Cut.REJECT)
    wire.cut(Cut.WHOLE)

    with socket.create_connection(("127.0.0.1", wire.port), timeout=5) as client:
        assert say(client) == b"hello"
