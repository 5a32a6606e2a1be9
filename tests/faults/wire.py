"""A wire between a process and a server that can be cut in the ways in which networks fail.

It sits between the two as a proxy, for TCP and for Unix sockets, so it needs no rights over the machine's network.
"""

import socket
import threading
import time
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path

POSTGRES_SOCKET = ".s.PGSQL.5432"
CHUNK = 65_536
DELAY_S = 0.5


class Cut(StrEnum):
    """What the wire does."""

    WHOLE = "whole"
    DROP = "drop"
    """Nothing passes either way, and nobody is told."""
    REJECT = "reject"
    """Connections are reset, and new ones are refused."""
    ONE_WAY = "one-way"
    """Questions pass, answers do not."""
    DELAY = "delay"
    """Every piece takes half a second longer."""
    HALF_OPEN = "half-open"
    """The server's end is closed; the process is not told."""


class Wire:
    """Passes bytes on until it is cut.

    Args:
        upstream: Where the server is: a host and port, or the path of its socket.
        listen: Path to listen on; None for a port of the loopback.
    """

    def __init__(self, upstream: tuple[str, int] | str, listen: Path | None = None) -> None:
        self._upstream = upstream
        self._cut = Cut.WHOLE
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._server = socket.socket(socket.AF_INET if listen is None else socket.AF_UNIX)
        self._server.bind(("127.0.0.1", 0) if listen is None else str(listen))
        if listen is not None:
            listen.chmod(0o777)
        self._server.listen(64)
        threading.Thread(target=self._accept, name="wire", daemon=True).start()

    @property
    def port(self) -> int:
        """The port of the loopback that it listens on."""
        port: int = self._server.getsockname()[1]
        return port

    def cut(self, how: Cut) -> None:
        """Fail from now on in a way, or be whole again: connections that were cut are closed then."""
        before, self._cut = self._cut, how
        if how is Cut.REJECT or (how is Cut.WHOLE and before in {Cut.DROP, Cut.ONE_WAY, Cut.HALF_OPEN}):
            self._close_all()
        elif how is Cut.HALF_OPEN:
            for _, server in self._pairs:
                _shut(server)

    def close(self) -> None:
        """Listen no more."""
        _shut(self._server)
        self._close_all()

    def _close_all(self) -> None:
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _shut(end)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self._cut is Cut.REJECT:
                client.close()
                continue
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX if isinstance(self._upstream, str) else socket.AF_INET)
        try:
            server.connect(self._upstream)
        except OSError:
            client.close()
            return
        self._pairs.append((client, server))
        answers = partial(self._pass_on, server, client, is_question=False)
        threading.Thread(target=answers, daemon=True).start()
        self._pass_on(client, server, is_question=True)

    def _pass_on(self, source: socket.socket, target: socket.socket, *, is_question: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                while self._holds(is_question=is_question):
                    time.sleep(0.02)
                if self._cut is Cut.DELAY:
                    time.sleep(DELAY_S)
                target.sendall(data)
        if self._cut is not Cut.HALF_OPEN:
            _shut(source)
            _shut(target)

    def _holds(self, *, is_question: bool) -> bool:
        """Whether nothing may pass now."""
        return self._cut in {Cut.DROP, Cut.HALF_OPEN} or (self._cut is Cut.ONE_WAY and not is_question)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
