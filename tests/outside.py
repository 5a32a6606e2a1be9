"""A stranger's server, as tests need one: it answers what a test tells it to, and counts who came."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network

from store.addresses import OutwardRules

LOOPBACK = ip_network("127.0.0.0/8")

Answer = Callable[[BaseHTTPRequestHandler], None]


class Outside:
    """A server on loopback.

    Attributes:
        seen: Paths that were asked for.
        port: Where it listens.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.connections = 0
        self._answers: dict[str, Answer] = {}
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self) -> None:
                outside.connections += 1
                super().setup()

            def do_GET(self) -> None:
                outside.seen.append(self.path)
                answer = outside._answers.get(self.path.partition("?")[0])
                if answer is None:
                    self.send_error(404)
                else:
                    answer(self)

            do_POST = do_GET  # noqa: N815 - the parent's form

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, name="outside", daemon=True)
        self._thread.start()

    @property
    def rules(self) -> OutwardRules:
        """Rules that let a client come here, and to the public internet."""
        return OutwardRules(networks=(LOOPBACK,), ports=frozenset({self.port}))

    def url(self, path: str) -> str:
        """Where a path of it is."""
        return f"http://127.0.0.1:{self.port}{path}"

    def answer(self, path: str, answer: Answer) -> str:
        """Answer a path in this way from now on; returns its URL."""
        self._answers[path] = answer
        return self.url(path)

    def serve(self, path: str, body: bytes, **headers: str) -> str:
        """Answer a path with these bytes; returns its URL."""
        return self.answer(path, lambda handler: reply(handler, 200, body, **headers))

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def reply(handler: BaseHTTPRequestHandler, status: int = 200, body: bytes = b"", **headers: str) -> None:
    """Answer a request."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if not any(name.lower() == "content_length" for name in headers):
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def drip(handler: BaseHTTPRequestHandler, body: bytes, pause_s: float) -> None:
    """Answer a byte at a time."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    for byte in body:
        handler.wfile.write(bytes([byte]))
        time.sleep(pause_s)


@contextmanager
def running_outside() -> Iterator[Outside]:
    """Yield a stranger's server."""
    outside = Outside()
    try:
        yield outside
    finally:
        outside.close()
