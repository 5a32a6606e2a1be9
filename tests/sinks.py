"""Receivers of webhooks: real HTTP servers on loopback that behave as they are told, and remember what they got."""

import base64
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

from standardwebhooks import Webhook

from store.addresses import OutwardRules

#: Stands for what `torchqueue up` makes.
WEBHOOK_KEY = base64.b64encode(bytes(range(32))).decode()

LOOPBACK = ip_network("127.0.0.0/8")

CHUNK = b"x" * 65_536


@dataclass(frozen=True)
class Received:
    """One request that a sink got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """Its `webhook-id`."""
        return self.headers["webhook-id"]

    def verify(self, secret: str) -> Any:
        """Verify it as a receiver does, with the reference library; returns the event."""
        return Webhook(secret).verify(self.body, self.headers)


Handler = BaseHTTPRequestHandler
Behave = Callable[[Handler], None]


def answer(status: int, **headers: str) -> Behave:
    """Make a sink answer with a status and headers, whose underscores are hyphens."""

    def behave(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return behave


def say(status: int, body: bytes) -> Behave:
    """Make a sink answer with a body."""

    def behave(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def flood(handler: Handler) -> None:
    """Answer 200 with a gigabyte, as long as anybody reads."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(1 << 30))
    handler.end_headers()
    with suppress(OSError):
        for _ in range((1 << 30) // len(CHUNK)):
            handler.wfile.write(CHUNK)
    handler.close_connection = True


def drip(handler: Handler) -> None:
    """Answer with a header a byte at a time, for ever."""
    with suppress(OSError):
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(0.05)
    handler.close_connection = True


def reset(handler: Handler) -> None:
    """Reset the connection."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def hang(released: threading.Event) -> Behave:
    """Make a sink say nothing until it is released."""

    def behave(handler: Handler) -> None:
        released.wait(60)
        handler.close_connection = True

    return behave


@dataclass
class Sink:
    """A receiver: answers by path with what it was given for it, the last one for ever; 204 where it has none."""

    url: str
    port: int
    received: list[Received] = field(default_factory=list)
    behaviours: dict[str, list[Behave]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def when(self, path: str, *behaviours: Behave) -> str:
        """Say how a path behaves, request by request. Returns its URL."""
        self.behaviours[path] = list(behaviours)
        return self.url + path

    def at(self, path: str) -> list[Received]:
        """List what came to a path, in order."""
        with self._lock:
            return [each for each in self.received if each.path == path]

    def take_all(self) -> list[Received]:
        """Return all that came, in order, and forget it."""
        with self._lock:
            taken, self.received = self.received, []
        return taken

    @property
    def rules(self) -> OutwardRules:
        """What must be allowed so that it can be reached."""
        return OutwardRules(networks=(LOOPBACK,), ports=frozenset({self.port}))

    def take(self, received: Received) -> Behave:
        """Remember a request and tell how to answer it."""
        with self._lock:
            self.received.append(received)
            left = self.behaviours.get(received.path, [answer(204)])
            return left.pop(0) if len(left) > 1 else left[0]


@contextmanager
def running_sink() -> Iterator[Sink]:
    """Run a sink while the block runs."""

    class SinkHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:
                # Whoever sent it died over it: nobody was told.
                self.close_connection = True
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            sink.take(Received(self.path, headers, body))(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), SinkHandler) as server:
        server.daemon_threads = True
        # A handler that hangs must not keep the server from closing.
        server.block_on_close = False
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        port = server.server_address[1]
        sink = Sink(f"http://127.0.0.1:{port}", port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield sink
        server.shutdown()
        thread.join()
