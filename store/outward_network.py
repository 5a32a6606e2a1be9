"""How `store.outward` connects: to the addresses that it checked, and for no longer than the request may take."""

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from ssl import SSLContext
from typing import Any

import httpcore

from store.addresses import Address, OutwardRules, Target
from store.errors import HostUnavailableError, UrlRefusedError

#: Of the addresses of a name, so many are tried.
ADDRESSES_TRIED = 3

#: Names resolved at the same time; the system's resolver knows no timeout, so a slow one keeps its thread.
RESOLVERS = 32

#: One sentence for a name that does not resolve and for one that resolves to us: nobody can feel out our network.
NOT_PUBLIC = "leads to no address of the public internet"

Resolve = Callable[[str, int], Sequence[str]]
"""From host and port to addresses. Raises `OSError` when there are none."""


def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Names:
    """Tells the addresses of names, checked.

    Args:
        rules: Which may be reached.
        resolver: Asked once for each connection.
    """

    def __init__(self, rules: OutwardRules, resolver: Resolve) -> None:
        self._rules = rules
        self._resolver = resolver
        self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolve")

    def close(self) -> None:
        """End the threads, without waiting for a resolver that hangs."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def addresses(self, host: str, port: int, until: float) -> list[str]:
        """Resolve a name once. All of its addresses may be reached, or none is.

        Args:
            host: Name or address.
            port: Handed on to the resolver.
            until: Of `time.monotonic`.

        Raises:
            UrlRefusedError: One may not be, or there is none.
            HostUnavailableError: The resolver does not answer in time.
        """
        future = self._threads.submit(self._resolver, host, port)
        try:
            found = future.result(max(0.0, until - time.monotonic()))
        except FutureTimeoutError as error:
            raise HostUnavailableError("its name could not be resolved in time") from error
        except (OSError, UnicodeError) as error:
            if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
                raise HostUnavailableError("its name could not be resolved now") from error
            raise UrlRefusedError(NOT_PUBLIC) from error
        if not found or not all(self.allows(text) for text in found):
            raise UrlRefusedError(NOT_PUBLIC)
        return list(found)

    def allows(self, address: str) -> bool:
        """Whether this address may be connected to."""
        return self._rules.allows(_address(address))


class PinnedBackend(httpcore.NetworkBackend):
    """Connects to addresses that were checked, whatever a name says by then."""

    def __init__(self, names: Names, target: Target, until: float) -> None:
        self._names = names
        self._target = target
        self._until = until
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Resolve, check, connect, and check whom it reached."""
        assert (host, port) == (self._target.host, self._target.port), "only what was checked is asked for"
        failure: Exception = httpcore.ConnectError("no address")
        for address in self._names.addresses(host, port, self._until)[:ADDRESSES_TRIED]:
            try:
                stream = self._plain.connect_tcp(
                    address,
                    port,
                    timeout=self._time(timeout),
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            return self._check_peer(stream, address)
        raise failure

    def _check_peer(self, stream: httpcore.NetworkStream, address: str) -> httpcore.NetworkStream:
        peer = str(stream.get_extra_info("server_addr")[0])
        if _address(peer) != _address(address) or not self._names.allows(peer):
            stream.close()
            raise UrlRefusedError(NOT_PUBLIC)
        return _BoundedStream(stream, self._until)

    def _time(self, timeout: float | None) -> float:
        left = max(0.001, self._until - time.monotonic())
        return left if timeout is None else min(timeout, left)


class _BoundedStream(httpcore.NetworkStream):
    """A connection with an end: a host that sends a byte a second keeps us no longer than one that is silent."""

    def __init__(self, stream: httpcore.NetworkStream, until: float) -> None:
        self._stream = stream
        self._until = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there."""
        return self._stream.read(max_bytes, self._time(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of it."""
        self._stream.write(buffer, self._time(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        """Hang up."""
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Begin TLS; the certificate must be the name's."""
        limit = self._time(timeout, httpcore.ConnectTimeout)
        return _BoundedStream(self._stream.start_tls(ssl_context, server_hostname, limit), self._until)

    def get_extra_info(self, info: str) -> Any:
        """Tell of the socket."""
        return self._stream.get_extra_info(info)

    def _time(self, timeout: float | None, over: type[httpcore.TimeoutException]) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise over("the time for the whole request is up")
        return left if timeout is None else min(timeout, left)


def _address(text: str) -> Address:
    return ipaddress.ip_address(text)
