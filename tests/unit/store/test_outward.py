"""`store.outward`: a resolver of the test's own, real connections, and a canary that nobody may reach."""

import gzip
import ipaddress
import itertools
import socket
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler

import pytest

from store.addresses import OutwardRules
from store.errors import AnswerRefusedError, HostUnavailableError, UrlRefusedError
from store.outward import OutwardClient, Reply
from tests.outside import LOOPBACK, Outside, drip, reply, running_outside

#: Nobody listens there; it stands for an address of the internet in answers of resolvers.
ELSEWHERE = "192.0.2.1"

METADATA = {
    "AWS, GCP, Azure, DigitalOcean": "169.254.169.254",
    "AWS containers": "169.254.170.2",
    "AWS over IPv6": "fd00:ec2::254",
    "GCP over IPv6": "fd20:ce::254",
    "Azure's platform": "168.63.129.16",
    "Alibaba": "100.100.100.200",
    "Oracle": "192.0.0.192",
}


class Resolver:
    """Answers what a test says, in turns, and counts."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.asked = 0
        self._answers = itertools.cycle(answers)

    def __call__(self, _host: str, _port: int) -> Sequence[str]:
        self.asked += 1
        return next(self._answers)


@pytest.fixture
def outside() -> Iterator[Outside]:
    with running_outside() as outside:
        yield outside


@pytest.fixture
def client(outside: Outside) -> Iterator[OutwardClient]:
    """A client that may go to the stranger's server, and nowhere else on this machine."""
    made = OutwardClient(outside.rules)
    yield made
    made.close()


def canary_client(canary: Outside, resolver: Resolver) -> OutwardClient:
    """A client that may name the canary's port, but no address of this machine."""
    return OutwardClient(OutwardRules(ports=frozenset({canary.port})), resolver=resolver)


def get(client: OutwardClient, url: str, **options: object) -> Reply:
    return client.send("GET", url, **{"max_bytes": 10_000} | options)  # type: ignore[arg-type]


@pytest.mark.parametrize("address", METADATA.values(), ids=METADATA)
def test_a_name_of_a_clouds_metadata_is_refused(address: str) -> None:
    client = OutwardClient(resolver=Resolver([address]))

    with pytest.raises(UrlRefusedError, match="no address of the public internet"):
        get(client, "http://metadata.google.internal/computeMetadata/v1/")
    client.close()


@pytest.mark.parametrize(
    "answer",
    [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["127.0.0.1", "93.184.216.34"], ["::1"], ["::ffff:127.0.0.1"], []],
)
def test_a_name_one_of_whose_addresses_is_private_reaches_nobody(outside: Outside, answer: list[str]) -> None:
    client = canary_client(outside, Resolver(answer))

    with pytest.raises(UrlRefusedError):
        get(client, f"http://shop.example:{outside.port}/")
    client.close()
    assert outside.connections == 0


def test_a_name_that_resolves_to_something_else_each_time_never_reaches_us(outside: Outside) -> None:
    resolver = Resolver([ELSEWHERE], ["127.0.0.1"])
    rules = OutwardRules(networks=(ipaddress.ip_network(f"{ELSEWHERE}/32"),), ports=frozenset({outside.port}))
    client = OutwardClient(rules, resolver=resolver)

    for _ in range(100):
        with pytest.raises((UrlRefusedError, HostUnavailableError)):
            get(client, f"http://rebind.example:{outside.port}/", connect_timeout_s=0.01, timeout_s=0.5)
    client.close()
    assert (resolver.asked, outside.connections) == (100, 0)


def test_a_name_is_resolved_once_for_a_connection(outside: Outside) -> None:
    resolver = Resolver(["127.0.0.1"], ["10.0.0.1"])
    client = OutwardClient(outside.rules, resolver=resolver)
    outside.serve("/", b"hello")

    assert get(client, f"http://shop.example:{outside.port}/").body == b"hello"
    assert resolver.asked == 1
    client.close()


def test_whoever_was_reached_is_checked_again(
    client: OutwardClient, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside.serve("/", b"hello")
    monkeypatch.setattr(socket.socket, "getpeername", lambda _socket: ("10.0.0.1", 80))

    with pytest.raises(UrlRefusedError):
        get(client, outside.url("/"))
    assert outside.seen == []


def test_the_host_is_told_by_its_name(outside: Outside) -> None:
    client = OutwardClient(outside.rules, resolver=Resolver(["127.0.0.1"]))
    heard: list[str | None] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        heard.append(handler.headers["Host"])
        reply(handler, 200)

    outside.answer("/", answer)

    get(client, f"http://Shop.example:{outside.port}/")
    client.close()
    assert heard == [f"shop.example:{outside.port}"]


def test_nothing_of_ours_goes_along(client: OutwardClient, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    def answer(handler: BaseHTTPRequestHandler) -> None:
        heard.extend(handler.headers)
        reply(handler, 200, Set_Cookie="a=b")

    outside.answer("/", answer)

    get(client, outside.url("/"))
    get(client, outside.url("/"))
    assert heard == ["Host", "User-Agent", "Accept-Encoding", "Connection"] * 2


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/",
        "http://[::1]/",
        "//127.0.0.1:6379/",
        "http://127.0.0.1:22/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://user@shop.example/",
        "http://2130706433/",
        "http://[::1",
    ],
)
def test_a_redirect_is_checked_like_the_first_url(client: OutwardClient, outside: Outside, location: str) -> None:
    url = outside.answer("/", lambda handler: reply(handler, 302, Location=location))

    with pytest.raises(UrlRefusedError):
        get(client, url, redirects=3)
    assert outside.connections == 1


def test_a_redirect_to_a_private_name_reaches_nobody(outside: Outside) -> None:
    with running_outside() as canary:
        rules = OutwardRules(
            networks=(ipaddress.ip_network("127.0.0.1/32"),), ports=frozenset({outside.port, canary.port})
        )
        client = OutwardClient(
            rules, resolver=lambda host, _: ["127.0.0.2" if host == "inner.example" else "127.0.0.1"]
        )
        url = outside.answer("/", lambda handler: reply(handler, 302, Location=f"http://inner.example:{canary.port}/"))
        with pytest.raises(UrlRefusedError):
            get(client, url, redirects=3)
        client.close()
        assert canary.connections == 0


def test_redirects_are_followed_and_counted(client: OutwardClient, outside: Outside) -> None:
    for step in range(30):
        outside.answer(f"/{step}", lambda handler, to=step + 1: reply(handler, 302, Location=f"/{to}"))  # type: ignore[misc]
    outside.serve("/30", b"there")

    assert get(client, outside.url("/27"), redirects=3).url == outside.url("/30")
    with pytest.raises(AnswerRefusedError, match="more than 3"):
        get(client, outside.url("/0"), redirects=3)


def test_without_redirects_the_redirect_is_the_reply(client: OutwardClient, outside: Outside) -> None:
    url = outside.answer("/", lambda handler: reply(handler, 302, Location="http://10.0.0.1/"))

    assert get(client, url).status == 302


@pytest.mark.parametrize("stated", [True, False])
def test_a_body_beyond_the_cap_is_refused(client: OutwardClient, outside: Outside, *, stated: bool) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        (reply if stated else _unmeasured)(handler, body=bytes(20_000))

    with pytest.raises(AnswerRefusedError, match="more than 10000 bytes"):
        get(client, outside.answer("/", answer))


def test_a_body_may_be_cut_off_instead(client: OutwardClient, outside: Outside) -> None:
    found = get(client, outside.serve("/", bytes(20_000)), cut=True)

    assert (len(found.body), found.cut, found.status) == (10_000, True, 200)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZIP"])
def test_a_body_that_was_compressed_unasked_is_read(client: OutwardClient, outside: Outside, encoding: str) -> None:
    body = zlib.compress(b"hello" * 100) if encoding == "deflate" else gzip.compress(b"hello" * 100)

    assert get(client, outside.serve("/", body, Content_Encoding=encoding)).body == b"hello" * 100


def test_a_compressed_bomb_is_refused_at_the_cap(client: OutwardClient, outside: Outside) -> None:
    url = outside.serve("/", gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")

    with pytest.raises(AnswerRefusedError):
        get(client, url, max_bytes=100_000)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress", "nonsense"])
def test_other_encodings_are_refused(client: OutwardClient, outside: Outside, encoding: str) -> None:
    with pytest.raises(AnswerRefusedError, match="encoding"):
        get(client, outside.serve("/", b"hello", Content_Encoding=encoding))


def test_damaged_compression_is_refused(client: OutwardClient, outside: Outside) -> None:
    with pytest.raises(AnswerRefusedError, match="damaged"):
        get(client, outside.serve("/", b"hello", Content_Encoding="gzip"))


def test_a_host_that_drips_is_given_up_in_time(client: OutwardClient, outside: Outside) -> None:
    url = outside.answer("/", lambda handler: drip(handler, bytes(1_000), 0.05))
    began = time.monotonic()

    with pytest.raises(HostUnavailableError, match="in time"):
        get(client, url, timeout_s=0.3)
    assert time.monotonic() - began < 30


def test_a_resolver_that_hangs_is_given_up_in_time() -> None:
    released = threading.Event()
    client = OutwardClient(resolver=lambda _host, _port: ["8.8.8.8"] if released.wait(10) else [])

    with pytest.raises(HostUnavailableError, match="name"):
        get(client, "http://shop.example/", timeout_s=0.1)
    released.set()
    client.close()


def test_a_name_that_cannot_be_resolved_now_may_be_later() -> None:
    def fail(_host: str, _port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    client = OutwardClient(resolver=fail)
    with pytest.raises(HostUnavailableError):
        get(client, "http://shop.example/")
    client.close()


def test_the_next_address_is_tried_where_one_refuses(outside: Outside) -> None:
    outside.serve("/", b"hello")
    rules = OutwardRules(networks=(LOOPBACK,), ports=frozenset({outside.port}))
    client = OutwardClient(rules, resolver=Resolver(["127.0.0.9", "127.0.0.1"]))

    assert get(client, f"http://shop.example:{outside.port}/").body == b"hello"
    client.close()


def test_a_host_that_is_not_there_is_unavailable(client: OutwardClient, outside: Outside) -> None:
    outside.close()

    with pytest.raises(HostUnavailableError, match="could not be reached"):
        get(client, outside.url("/"))


def test_a_body_is_sent(client: OutwardClient, outside: Outside) -> None:
    heard: list[bytes] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        heard.append(handler.rfile.read(int(handler.headers["Content-Length"])))
        reply(handler, 204)

    url = outside.answer("/", answer)
    assert (
        client.send("POST", url, body=b"{}", max_bytes=10, headers=[("Content-Type", "application/json")]).status == 204
    )
    assert heard == [b"{}"]


def _unmeasured(handler: BaseHTTPRequestHandler, status: int = 200, body: bytes = b"") -> None:
    """Answer without saying how long the body is."""
    handler.send_response(status)
    handler.end_headers()
    handler.wfile.write(body)
