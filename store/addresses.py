"""Which addresses are strangers' own: where a request that somebody else chose may go, and where never.

Nothing here connects or resolves. `store.outward` asks for every address that it is about to connect to, so what a
name says, or said a moment ago, decides nothing.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import idna

from store.errors import UrlRefusedError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PORTS = {"http": 80, "https": 443}

#: Longest URL that is taken, in characters.
URL_LENGTH = 2048

# Named one by one, because what `ipaddress` calls global depends on the release of Python, and multicast may be.
REFUSED_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # This host.
        "10.0.0.0/8",
        "100.64.0.0/10",  # Carriers' own; the metadata of Alibaba's cloud is in it.
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's platform, which every machine there reaches, under a public address.
        "169.254.0.0/16",  # Link-local; the metadata of most clouds.
        "172.16.0.0/12",
        "192.0.0.0/24",  # Protocol assignments; the metadata of Oracle's cloud was in it.
        "192.0.2.0/24",
        "192.88.99.0/24",  # Relays of 6to4.
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # Multicast.
        "240.0.0.0/4",  # Reserved, and broadcast.
    )
)

#: Only this is given out as unicast addresses of the internet.
GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
REFUSED_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001:2::/48",  # Benchmarks.
        "2001:10::/28",  # ORCHID, first and second.
        "2001:20::/28",
        "2001:db8::/32",  # Documentation.
        "3fff::/20",
    )
)

#: A host in brackets, and nothing beside it but a port.
BRACKETED = re.compile(r"\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\](:[0-9]*)?")

#: A name with underscores: none by the letter, and in use. Punycode is read by the letter alone.
LOOSE_NAME = re.compile(
    r"(?!.*xn--)(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]{1,63}\.?", re.ASCII | re.IGNORECASE
)

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
LOW_32 = 0xFFFF_FFFF

#: What the upper half of an interface identifier says where the lower half is an IPv4 address (ISATAP).
ISATAP = (0x0000_5EFE, 0x0200_5EFE)


@dataclass(frozen=True, kw_only=True, slots=True)
class OutwardRules:
    """What may be reached beside the public internet on ports 80 and 443: nothing, unless the operator says so.

    Attributes:
        networks: Of an internal address that is allowed all the same.
        ports: Beside 80 and 443.
    """

    networks: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset()

    def allows_port(self, port: int) -> bool:
        """Whether a URL may name this port."""
        return port in PORTS.values() or port in self.ports

    def allows(self, address: Address) -> bool:
        """Whether this address may be connected to."""
        return any(address in network for network in self.networks) or is_public(address)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was checked, in the form in which it is asked for.

    Attributes:
        scheme: `http` or `https`.
        host: A name in ASCII, or an address without brackets.
        port: Number.
        path: With the query; begins with a slash.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What the `Host` header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole."""
        return f"{self.scheme}://{self.authority}{self.path}"


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, and so does every address that it carries within itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in REFUSED_V4)
    if address.scope_id is not None:
        return False
    carried = carried_addresses(address)
    if not all(is_public(each) for each in carried):
        return False
    if address.ipv4_mapped is not None or address in NAT64:
        # The address of another within it, and nothing more.
        return True
    return address in GLOBAL_V6 and not any(address in network for network in REFUSED_V6)


def carried_addresses(address: ipaddress.IPv6Address) -> Sequence[ipaddress.IPv4Address]:
    """List the IPv4 addresses that a packet to this address may end up at: mapped, NAT64, 6to4, Teredo, ISATAP."""
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in NAT64:
        return [ipaddress.IPv4Address(int(address) & LOW_32)]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return list(address.teredo)
    if (int(address) >> 32) & LOW_32 in ISATAP:
        return [ipaddress.IPv4Address(int(address) & LOW_32)]
    return []


def read_url(text: str, rules: OutwardRules) -> Target:
    """Take a URL apart and check all that can be checked without asking anybody.

    Raises:
        UrlRefusedError: It is none, or none that is asked for; the message says why.
    """
    if not 0 < len(text) <= URL_LENGTH:
        raise UrlRefusedError(f"must have 1 to {URL_LENGTH} characters")
    if "\\" in text or any(character <= " " or character == "\x7f" for character in text):
        # Readers of URLs disagree about these.
        raise UrlRefusedError("must hold no space, backslash or control character")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UrlRefusedError("is no URL") from error
    if parts.scheme not in PORTS:
        raise UrlRefusedError("must begin with http:// or https://")
    if "@" in parts.netloc:
        raise UrlRefusedError("must hold no user and no password")
    if ("[" in parts.netloc or "]" in parts.netloc) and BRACKETED.fullmatch(parts.netloc) is None:
        raise UrlRefusedError("must write an IPv6 address in brackets")
    port = PORTS[parts.scheme] if port is None else port
    if not rules.allows_port(port):
        raise UrlRefusedError("must use port 80 or 443")
    query = f"?{parts.query}" if parts.query else ""
    path = _quote(f"{parts.path or '/'}{query}")
    return Target(parts.scheme, _read_host(parts.hostname or ""), port, path)


def _read_host(host: str) -> str:
    """The host in the one form in which it is resolved."""
    if "%" in host:
        raise UrlRefusedError("must hold no percent sign in its host")
    if ":" in host:
        return _read_v6(host)
    name = _to_ascii(host).lower()
    last = name.rstrip(".").rpartition(".")[2]
    if last.isdigit() or last.startswith("0x"):
        # `0x7f.1`, `0177.0.0.1` and `2130706433` are addresses to some readers and names to others.
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError as error:
            raise UrlRefusedError("must write an address as four decimal numbers") from error
    return name


def _read_v6(host: str) -> str:
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError as error:
        raise UrlRefusedError("must write an IPv6 address in brackets") from error


def _to_ascii(host: str) -> str:
    if not host:
        raise UrlRefusedError("names no host")
    try:
        # Also maps full-width digits and other dots to plain ones, before anybody looks at what they say.
        return idna.encode(host, uts46=True, transitional=False).decode("ascii")
    except idna.IDNAError as error:
        if LOOSE_NAME.fullmatch(host):
            return host
        raise UrlRefusedError("has a host that is no name") from error


def _quote(path: str) -> str:
    """Percent-encode what is not ASCII; the rest is as the sender wrote it."""
    return "".join(
        character if character.isascii() else "".join(f"%{byte:02X}" for byte in character.encode())
        for character in path
    )
