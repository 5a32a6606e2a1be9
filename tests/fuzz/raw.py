"""Requests that no HTTP library would send: broken lines, lying lengths, bytes of noise, straight into the socket.

`python -m tests.fuzz.raw --count 2000`.

Whatever comes, the server answers with a 4xx or closes, soon, and serves the next client as before.
"""

import random
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.table import Table

from stack.embedded import LOOPBACK
from tests.running import RunningStack

PATIENCE_S = 5.0
UNFINISHED_AFTER_S = 2.0

CLIENTS = 32

SUCCESS = 200

#: Nothing between us and the server breaks a connection without its doing.
CLOSED = "closed"
SILENT = "silent"

#: What a server may say of a request line or a transfer coding that it does not know (RFC 9110, 15.6.2 and 15.6.6).
UNKNOWN_PROTOCOL = {"501", "505"}

PATH = b"/v1/models/xor/predictions"

LENGTHS = [b"-1", b"abc", b"+5", b"5,6", b"5, 5", b"0x10", b"18446744073709551616", b"99999999999", b" ", b"1e3"]
CODINGS = [b"xchunked", b"chunked, identity", b"gzip, chunked", b"chunked, chunked", b"\x0bchunked", b"identity"]
CHUNKS = [
    b"zz\r\n",
    b"-5\r\nhello\r\n",
    b"ffffffffffffffff\r\n",
    b"5\r\nhel",
    b"5\nhello\n",
    b"5;" + b"x" * 9000 + b"\r\n",
]
LINES = [
    b"",
    b"\x00\x01\x02",
    b"GET",
    b"GET  /health/live  HTTP/1.1",
    b"GET /health/live",
    b"GET /health/live HTTP/9.9",
    b"GET /health/live HTTP/1.1 more",
    b"get /health/live http/1.1",
    b"CONNECT 127.0.0.1:22 HTTP/1.1",
    b"TRACE /v1/models HTTP/1.1",
    b"PRI * HTTP/2.0",
    b"OPTIONS * HTTP/1.1",
    b"GET http://169.254.169.254/latest HTTP/1.1",
    b"GET /%00%ff%fe HTTP/1.1",
    b"GET /%zz HTTP/1.1",
    b"GET /../../etc/passwd HTTP/1.1",
    b"GET /v1/..%2f..%2fetc/passwd HTTP/1.1",
    b"GET /\xff\xfe HTTP/1.1",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1",
    b"GET /v1/models?" + b"a=b&" * 20_000 + b" HTTP/1.1",
]
HEADERS = [
    b"no colon here",
    b": empty name",
    b"Host: a\r\nHost: b",
    b"X-Folded: one\r\n two",
    b"X-Nul: a\x00b",
    b"X-Bare: a\rb",
    b"X-Long: " + b"a" * 300_000,
    b"\r\n".join(b"X-%d: y" % number for number in range(5_000)),
    b"Authorization: Bearer \xff\xfe",
    b"Authorization: Bearer " + b"a" * 20_000,
    b"Prefer: wait=-1",
    b"Prefer: wait=" + b"9" * 400,
    b"Prefer: ;;;===,,,",
    b"Idempotency-Key: " + b"k" * 9_000,
    b"Idempotency-Key: a\tb",
    b"X-Sticky-Key: \xc3\x28",
    b"Content-Type: \x7f/\x7f; charset=nonsense",
    b"Content-Encoding: gzip, gzip, br",
    b"Expect: 200-maybe",
    b"Connection: close, keep-alive, upgrade\r\nUpgrade: websocket",
]
BODIES = [
    (b"application/json", b"[" * 100_000),
    (b"application/json", b'{"input": ' + b"9" * 100_000 + b"}"),
    (b"application/json", b'{"input": [0, 1], "input": [1, 1]}'),
    (b"application/json", b'{"input": "\xff\xfe"}'),
    (b"application/json", b'{"input": [NaN, Infinity]}'),
    (b"application/json", b'{"input": [0, 1]'),
    (b"application/json", b"\xef\xbb\xbf{}"),
    (b"application/json; charset=utf-16", '{"input": [0, 1]}'.encode("utf-16")),
    (b"multipart/form-data", b"--x\r\n\r\n"),
    (b"multipart/form-data; boundary=" + b"b" * 5_000, b"--" + b"b" * 5_000),
    (b"multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=file; filename=../../a\r\n\r\n"),
    (b"image/png", b"\x89PNG\r\n\x1a\n" + b"\x00" * 64),
    (b"application/x-www-form-urlencoded", b"input=%ff&" * 5_000),
]


@dataclass
class Answers:
    """What came back.

    Attributes:
        counts: By category and status, or how the connection ended.
        bad: Cases that broke the promise, as category, what came and the first bytes that were sent.
        slowest_s: From the last byte sent to the first received, or to the end.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    bad: list[tuple[str, str, bytes]] = field(default_factory=list)
    slowest_s: float = 0.0


def run(host: str, port: int, key: str, count: int, seed: int) -> Answers:
    """Send so many cases, some at a time, and look at each answer."""
    answers = Answers()
    made = list(cases(host, port, key, count, random.Random(seed)))
    with ThreadPoolExecutor(CLIENTS) as clients:
        for (category, payload), (came, took_s) in zip(
            made, clients.map(lambda case: send(host, port, case[1]), made), strict=True
        ):
            answers.slowest_s = max(answers.slowest_s, took_s)
            answers.counts[category, came] += 1
            if came == SILENT or (came.startswith("5") and came not in UNKNOWN_PROTOCOL):
                answers.bad.append((category, came, payload[:200]))
    return answers


def send(host: str, port: int, payload: bytes) -> tuple[str, float]:
    """Send bytes on a connection of their own.

    Returns:
        The status, or how the connection ended, and the seconds until then.
    """
    began = time.monotonic()
    with socket.create_connection((host, port), timeout=PATIENCE_S) as connection:
        try:
            connection.sendall(payload)
            head = _hear(connection)
        except TimeoutError:
            return SILENT, time.monotonic() - began
        except OSError:
            # Refused before all of it was read.
            head = b""
    parts = head.split(b" ", 2)
    is_answer = len(parts) > 1 and parts[0].startswith(b"HTTP/")
    return parts[1].decode("latin1") if is_answer else CLOSED, time.monotonic() - began


def _hear(connection: socket.socket) -> bytes:
    """The beginning of the answer. A server that was promised more rightly waits until it is told that none comes."""
    connection.settimeout(UNFINISHED_AFTER_S)
    try:
        return connection.recv(64)
    except TimeoutError:
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(PATIENCE_S)
        return connection.recv(64)


def cases(host: str, port: int, key: str, count: int, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield so many cases by category: all that are written down above, then mutations of good requests."""
    common = b"Host: %s:%d\r\nAuthorization: Bearer %s\r\n" % (host.encode(), port, key.encode())
    written = list(_written(common))
    yield from written[:count]
    good = [
        _request(common, b"application/json", b'{"input": [0, 1]}'),
        b"GET /v1/models HTTP/1.1\r\n" + common + b"\r\n",
    ]
    for _ in range(count - len(written)):
        name, mutate = rng.choice(MUTATIONS)
        yield name, mutate(rng, rng.choice(good))


def _request(common: bytes, content_type: bytes, body: bytes, framing: bytes | None = None) -> bytes:
    framing = b"Content-Length: %d" % len(body) if framing is None else framing
    return (
        b"POST "
        + PATH
        + b" HTTP/1.1\r\n"
        + common
        + b"Content-Type: "
        + content_type
        + b"\r\n"
        + framing
        + b"\r\n\r\n"
        + body
    )


def _written(common: bytes) -> Iterator[tuple[str, bytes]]:
    for line in LINES:
        yield "request line", line + b"\r\n" + common + b"\r\n"
    for header in HEADERS:
        yield "header", b"GET /v1/models HTTP/1.1\r\n" + common + header + b"\r\n\r\n"
        yield "header", _request(common + header + b"\r\n", b"application/json", b'{"input": [0, 1]}')
    for content_type, body in BODIES:
        yield "body", _request(common, content_type, body)
    json = b'{"input": [0, 1]}'
    for length in LENGTHS:
        yield "length", _request(common, b"application/json", json, b"Content-Length: " + length)
        yield "length", _request(common, b"application/json", json, b"Content-Length: 17\r\nContent-Length: " + length)
    for coding in CODINGS:
        yield (
            "coding",
            _request(common, b"application/json", b"11\r\n" + json + b"\r\n0\r\n\r\n", b"Transfer-Encoding: " + coding),
        )
    for chunk in CHUNKS:
        yield "chunk", _request(common, b"application/json", chunk, b"Transfer-Encoding: chunked")
    both = b"Content-Length: 4\r\nTransfer-Encoding: chunked"
    smuggled = b"0\r\n\r\nGET /v1/keys HTTP/1.1\r\n" + common + b"\r\n"
    yield "smuggled", _request(common, b"application/json", smuggled, both)
    yield "smuggled", _request(common, b"application/json", json, b"Content-Length: 3")


def _cut(rng: random.Random, good: bytes) -> bytes:
    return good[: rng.randrange(1, len(good))]


def _flip(rng: random.Random, good: bytes) -> bytes:
    changed = bytearray(good)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _splice(rng: random.Random, good: bytes) -> bytes:
    at = rng.randrange(len(good))
    return good[:at] + rng.randbytes(rng.randint(1, 64)) + good[at:]


def _repeat(rng: random.Random, good: bytes) -> bytes:
    begin = rng.randrange(len(good))
    end = rng.randrange(begin, len(good))
    return good[:end] + good[begin:end] * rng.randint(1, 50) + good[end:]


def _noise(rng: random.Random, _good: bytes) -> bytes:
    return rng.randbytes(rng.randint(1, 4_000))


MUTATIONS: list[tuple[str, Callable[[random.Random, bytes], bytes]]] = [
    ("cut off", _cut),
    ("bits flipped", _flip),
    ("bytes put in", _splice),
    ("parts repeated", _repeat),
    ("noise", _noise),
]


@click.command()
@click.option("--count", type=int, default=2_000, show_default=True, help="Cases.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another one makes other mutations.")
def main(count: int, seed: int) -> None:
    """Start a stack, send it what no HTTP library would, and see whether it still answers."""
    with tempfile.TemporaryDirectory(prefix="raw-") as folder, RunningStack.start(Path(folder)) as stack:
        port = urlsplit(stack.url).port
        assert port is not None
        answers = run(LOOPBACK, port, stack.admin_key, count, seed)
        answered = stack.predict_xor().status_code
    table = Table("requests", "cases", "answers", box=None, pad_edge=False)
    for category in dict.fromkeys(category for category, _ in answers.counts):
        came = {what: count for (name, what), count in sorted(answers.counts.items()) if name == category}
        told = ", ".join(f"{what}: {count}" for what, count in came.items())
        table.add_row(category, str(sum(came.values())), told)
    Console(width=160).print(table)
    for category, ended, payload in answers.bad:
        click.echo(f"{ended} to {category}: {payload!r}")
    good = not answers.bad and answered == SUCCESS
    click.echo(
        f"{answers.counts.total()} cases, slowest answer {answers.slowest_s:.2f} s, "
        f"a prediction afterwards: {answered}; verdict: {'good' if good else 'BROKEN'}"
    )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
