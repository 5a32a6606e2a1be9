"""ASGI's messages, as the fast lane reads and sends them."""

import io
from collections.abc import Iterable
from typing import Any, cast

from a2wsgi.asgi_typing import HTTPScope, Receive, Send
from a2wsgi.wsgi import Body
from a2wsgi.wsgi import build_environ as build_wsgi_environ


def build_environ(scope: HTTPScope) -> dict[str, Any]:
    """Return the environment of a request whose body is yet to be read."""
    return dict(build_wsgi_environ(scope, cast("Body", io.BytesIO())))


async def read_body(receive: Receive) -> bytes:
    """Read all that the client sends."""
    parts: list[bytes] = []
    while True:
        message: dict[str, Any] = dict(await receive())
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def as_coroutine(receive: Receive) -> Receive:
    """Give what granian hands over, which is awaitable but no coroutine, the form that `a2wsgi` calls from a thread."""

    async def call() -> Any:
        return await receive()

    return call


async def send_response(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Send a whole response."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def encode_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Write headers as ASGI takes them, but for the length, which `send_response` adds."""
    return [
        (name.lower().encode("latin1"), value.encode("latin1"))
        for name, value in headers
        if name.lower() != "content-length"
    ]
