"""The one way out: HTTP to where somebody else pointed, such as `image_url` or a webhook's address.

Whoever may name a URL may try to have us ask our own network. So a name is resolved once, every address that it
resolves to must be public, the connection is made to one of these very addresses, and whom it reached is checked
again; a name that resolves to something else a moment later changes nothing. The `Host` header and the certificate
are still those of the name. Each redirect is checked in the same way. Nothing of the environment is read (no proxy),
nothing is remembered (no cookies, no connections), and no credentials go out.

HTTP itself, TLS and its limits are httpcore's; this module replaces how it connects.
"""

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ssl import SSLContext
from urllib.parse import urljoin

import httpcore

from store.addresses import OutwardRules, Target, read_url
from store.errors import AnswerRefusedError, HostUnavailableError, UrlRefusedError
from store.outward_network import Names, PinnedBackend, Resolve, resolve

CONNECT_TIMEOUT_S = 2.0
TOTAL_TIMEOUT_S = 10.0

USER_AGENT = "torchqueue"

REDIRECTS = frozenset({301, 302, 303, 307, 308})

#: Bits of zlib's window that make it take gzip and zlib's own format alike.
GZIP_OR_ZLIB = zlib.MAX_WBITS | 32

Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a host answered.

    Attributes:
        status: Of HTTP, never one that redirects where redirects are followed.
        headers: Names in lower case; of a repeated one the last.
        body: Decompressed; cut off after the cap where that was asked for.
        cut: Whether it was.
        url: That answered, after redirects.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool
    url: str


class OutwardClient:
    """Sends requests to URLs of strangers. Thread safe.

    Args:
        rules: What may be reached beside the public internet.
        resolver: Tells the addresses of a name.
        ssl_context: Who is believed; by default whom browsers believe.
    """

    def __init__(
        self,
        rules: OutwardRules | None = None,
        *,
        resolver: Resolve = resolve,
        ssl_context: SSLContext | None = None,
    ) -> None:
        self.rules = rules or OutwardRules()
        self.names = Names(self.rules, resolver)
        self._ssl_context = ssl_context or httpcore.default_ssl_context()

    def close(self) -> None:
        """End the threads, without waiting for a resolver that hangs."""
        self.names.close()

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Sequence[Header] = (),
        body: bytes = b"",
        max_bytes: int,
        cut: bool = False,
        redirects: int = 0,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        timeout_s: float = TOTAL_TIMEOUT_S,
    ) -> Reply:
        """Send one request.

        Args:
            method: Of HTTP.
            url: `http` or `https`.
            headers: Beside `Host`, `User-Agent`, `Accept-Encoding` and `Connection`, which are ours.
            body: Sent as it is; to the first URL only.
            max_bytes: Of the answer's body, decompressed.
            cut: Read no more than that and be content, instead of refusing the answer.
            redirects: How many are followed, by GET; with 0 the redirect itself is the reply.
            connect_timeout_s: For one connection, TLS included.
            timeout_s: For all of it: resolving, redirects and the whole body.

        Raises:
            UrlRefusedError: The URL, or one that it redirects to, may not be asked.
            HostUnavailableError: There was no whole answer in time.
            AnswerRefusedError: The answer is too large, encoded in an unknown way, or one redirect too many.
        """
        until = time.monotonic() + timeout_s
        target = read_url(url, self.rules)
        exchange = _Exchange(self, until, connect_timeout_s, max_bytes, cut=cut)
        for _ in range(redirects + 1):
            reply = exchange.run(method, target, headers, body)
            if not redirects or reply.status not in REDIRECTS or "location" not in reply.headers:
                return reply
            target = read_url(_join(target, reply.headers["location"]), self.rules)
            method, body = "GET", b""
        raise AnswerRefusedError(f"redirects more than {redirects} times")

    def pool(self, backend: httpcore.NetworkBackend) -> httpcore.ConnectionPool:
        """Make what speaks HTTP over connections of that backend, one at a time and none kept."""
        return httpcore.ConnectionPool(
            ssl_context=self._ssl_context,
            max_connections=1,
            max_keepalive_connections=0,
            network_backend=backend,
        )


class _Exchange:
    """The limits of one `send`, over all of its redirects."""

    def __init__(
        self, client: OutwardClient, until: float, connect_timeout_s: float, max_bytes: int, *, cut: bool
    ) -> None:
        self._client = client
        self._until = until
        self._connect_timeout_s = connect_timeout_s
        self._max_bytes = max_bytes
        self._cut = cut

    def run(self, method: str, target: Target, headers: Sequence[Header], body: bytes) -> Reply:
        backend = PinnedBackend(self._client.names, target, self._until)
        timeout = {
            "connect": self._connect_timeout_s,
            "read": self._client_time(),
            "write": self._client_time(),
            "pool": self._client_time(),
        }
        ours = [
            ("Host", target.authority),
            ("User-Agent", USER_AGENT),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ]
        url = httpcore.URL(
            scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
        )
        # Without a body nothing says how long it is.
        content = body if body or method != "GET" else None
        try:
            with (
                self._client.pool(backend) as pool,
                pool.stream(
                    method, url, headers=[*ours, *headers], content=content, extensions={"timeout": timeout}
                ) as response,
            ):
                return self._read(response, target)
        except httpcore.TimeoutException as error:
            raise HostUnavailableError("did not answer in time") from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise HostUnavailableError("could not be reached, or broke off") from error

    def _client_time(self) -> float:
        return max(0.001, self._until - time.monotonic())

    def _read(self, response: httpcore.Response, target: Target) -> Reply:
        headers = {name.decode("latin1").lower(): value.decode("latin1") for name, value in response.headers}
        parts: list[bytes] = []
        left = self._max_bytes
        too_large = not self._cut and _stated_length(headers) > self._max_bytes
        # A status that has no use for its body, such as a redirect, is read as far as it goes all the same.
        for part in _decompressed(response.iter_stream(), headers, self._max_bytes + 1):
            too_large = too_large or len(part) > left
            if too_large:
                parts.append(part[:left])
                break
            parts.append(part)
            left -= len(part)
        if too_large and not self._cut:
            raise AnswerRefusedError(f"answers with more than {self._max_bytes} bytes")
        return Reply(response.status, headers, b"".join(parts), too_large, target.url)


def _join(target: Target, location: str) -> str:
    try:
        return urljoin(target.url, location)
    except ValueError as error:
        raise UrlRefusedError("redirects to what is no URL") from error


def _stated_length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _decompressed(stream: Iterator[bytes], headers: Mapping[str, str], max_bytes: int) -> Iterator[bytes]:
    """Undo the one layer of compression that a server may apply unasked, never more than `max_bytes` at a time."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        yield from stream
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise AnswerRefusedError("answers in an encoding that was not asked for")
    inflate = zlib.decompressobj(GZIP_OR_ZLIB)
    try:
        for part in stream:
            # What is left over after so many bytes is beyond the cap, and whoever reads this stops there.
            yield inflate.decompress(part, max_bytes)
    except zlib.error as error:
        raise AnswerRefusedError("answers with damaged compression") from error
