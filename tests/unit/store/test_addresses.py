"""`store.addresses`: hundreds of ways to write an address that is not the public internet's, and the few that are."""

import ipaddress
from collections.abc import Iterator

import pytest

from store.addresses import OutwardRules, Target, carried_addresses, is_public, read_url
from store.errors import UrlRefusedError

PUBLIC = OutwardRules()

#: First, last and some address between of every range that is nobody's on the internet.
PRIVATE_V4 = [
    *("0.0.0.0", "0.0.0.1", "0.1.2.3", "0.255.255.255"),  # noqa: S104 - an address to refuse
    *("10.0.0.0", "10.0.0.1", "10.1.2.3", "10.96.0.1", "10.255.255.255"),
    *("100.64.0.0", "100.64.0.1", "100.100.100.200", "100.127.255.255"),
    *("127.0.0.0", "127.0.0.1", "127.0.0.2", "127.0.0.53", "127.1.2.3", "127.255.255.255"),
    "168.63.129.16",
    *("169.254.0.0", "169.254.0.1", "169.254.169.123", "169.254.169.253", "169.254.169.254", "169.254.170.2"),
    *("169.254.170.23", "169.254.255.255"),
    *("172.16.0.0", "172.16.0.1", "172.17.0.1", "172.20.10.1", "172.31.255.255"),
    *("192.0.0.0", "192.0.0.8", "192.0.0.170", "192.0.0.192", "192.0.0.255"),
    *("192.0.2.1", "192.0.2.255", "192.88.99.1", "192.88.99.255"),
    *("192.168.0.0", "192.168.0.1", "192.168.1.1", "192.168.255.255"),
    *("198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "203.0.113.255"),
    *("224.0.0.1", "224.0.1.1", "232.1.1.1", "239.255.255.250", "239.255.255.255"),
    *("240.0.0.1", "250.1.2.3", "255.255.255.254", "255.255.255.255"),
]

#: What carries an IPv4 address within.
CARRIERS = {
    "mapped": "::ffff:{hex}",
    "NAT64": "64:ff9b::{hex}",
    "6to4": "2002:{hex}::1",
    "ISATAP": "2a00:1450:4001:81b:0:5efe:{hex}",
    "ISATAP of a global address": "2a00:1450:4001:81b:200:5efe:{hex}",
}

PRIVATE_V6 = [
    *("::", "::1", "::2", "::7f00:1", "::127.0.0.1", "::ffff:0:127.0.0.1"),
    *("fe80::1", "fe80::a9fe:a9fe", "febf::1", "fec0::1", "feff::1"),
    *("fc00::1", "fd00::1", "fd00:ec2::254", "fd20:ce::254", "fdff:ffff::1"),
    *("ff01::1", "ff02::1", "ff05::2", "ff0e::1"),
    *("64:ff9b:1::1", "64:ff9b:1::7f00:1", "100::1", "100:0:0:1::1"),
    *("2001:db8::1", "2001:db8:ffff::1", "2001:2::1", "2001:10::1", "2001:1f::1", "2001:20::1", "2001:2f::1"),
    *("3fff::1", "3fff:fff::1", "4000::1", "5f00::1", "8000::1", "e000::1", "200::1"),
    *("2001:0:7f00:1::", "2001:0:a9fe:a9fe:0:0:f7f7:f7f7", "2001:0:808:808:0:0:80ff:fffe"),
    *("fe80::1%eth0", "fe80::1%1", "2a00:1450:4001:81b::200e%eth0"),
]

PUBLIC_ADDRESSES = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "93.184.216.34", "100.63.255.255", "100.128.0.0"),
    *("126.255.255.255", "128.0.0.1", "168.63.129.15", "169.253.255.255", "169.255.0.0", "172.15.255.255"),
    *("172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255"),
    *("2606:4700:4700::1111", "2001:4860:4860::8888", "2a00:1450:4001:81b::200e"),
    *("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
]


def _carried() -> Iterator[tuple[str, str]]:
    for name, form in CARRIERS.items():
        for address in PRIVATE_V4:
            number = int(ipaddress.IPv4Address(address))
            yield f"{name} of {address}", form.format(hex=f"{number >> 16:x}:{number & 0xFFFF:x}")


CARRIED = dict(_carried())


@pytest.mark.parametrize("address", [*PRIVATE_V4, *PRIVATE_V6])
def test_an_address_that_is_not_the_internets_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", CARRIED.values(), ids=CARRIED)
def test_an_address_that_carries_such_a_one_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_both_addresses_of_a_tunnel_are_found() -> None:
    found = carried_addresses(ipaddress.IPv6Address("2001:0:4136:e378:8000:63bf:3fff:fdd2"))

    assert [str(each) for each in found] == ["65.54.227.120", "192.0.2.45"]


#: None of these gets as far as a resolver.
REFUSED = [
    *("", "x", "//shop.example/a", "shop.example/a.jpg", "http:", "http://", "http:///a", "https:///etc/passwd"),
    *("data:image/png;base64,iVBORw0KGgo=", "file:///etc/passwd", "file://localhost/etc/passwd"),
    *("gopher://127.0.0.1:6379/_FLUSHALL", "ftp://shop.example/a", "dict://127.0.0.1:11211/stats"),
    *("ldap://127.0.0.1/", "ws://shop.example/", "javascript:alert(1)", "jar:http://shop.example/a!/", "s3://bucket/a"),
    *("unix:///run/postgresql/.s", "http+unix://%2Frun%2Fa.sock/", "netdoc:///etc/passwd", "blob:http://a/b"),
    *("http://user@shop.example/", "http://user:word@shop.example/", "http://@shop.example/", "http://:@shop.example/"),
    *("http://shop.example@127.0.0.1/", "http://127.0.0.1@shop.example/", "http://a%40b@shop.example/"),
    *("http://shop.example\\@127.0.0.1/", "http:\\\\127.0.0.1\\", "http://127.0.0.1\\.shop.example/"),
    *("http://shop.example\t/", "http://shop.example\n/", "http://shop.example/\r\nHost: a", "http://shop exa/a"),
    *(" http://shop.example/", "http://shop.example/\x00", "http://shop.example/\x7f", "http://\x00shop.example/"),
    *(
        "http://shop.example:22/",
        "http://shop.example:6379/",
        "http://shop.example:5432/",
        "https://shop.example:8443/",
    ),
    *("http://shop.example:0/", "http://shop.example:65536/", "http://shop.example:-1/", "http://shop.example:80a/"),
    *("http://shop.example:9200/", "http://127.0.0.1:2375/", "http://[::1]:22/", "http://shop.example:25/"),
    *("http://2130706433/", "http://017700000001/", "http://0x7f000001/", "http://0x7F.1/", "http://0x7f.0x0.0x0.0x1/"),
    *("http://127.1/", "http://127.0.1/", "http://0177.0.0.1/", "http://0177.0.0.01/", "http://127.0.0.01/"),
    *("http://00127.0.0.1/", "http://127.000.000.001/", "http://0/", "http://0.0/", "http://1/", "http://127.0.0.256/"),
    *("http://2852039166/", "http://0xa9fea9fe/", "http://0251.0376.0251.0376/", "http://169.254.43518/"),
    *("http://3232235777/", "http://0xc0a80101/", "http://10.1/", "http://4294967296/", "http://127.0.0.1.1/"),
    *("http://0x/", "http://127.0.0.0x1/", "http://1.2.3.4.5/", "http://256.256.256.256/", "http://8.8.8.08/"),
    *("http://[::1%25lo]/", "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[::1%lo]:80/"),
    *("http://[::1/", "http://::1/", "http://[]/", "http://[127.0.0.1]/", "http://[v1.fe80]/", "http://[::1]a/"),
    *("http://%31%32%37.0.0.1/", "http://127%2e0%2e0%2e1/", "http://local%68ost/", "http://%6c/"),
    *("http://..../", "http://-/", "http://a..b/", f"http://{'a' * 64}.example/", "http://xn--a/", "http://\u2028/"),
    *("http://\uff10x7f.1/", "http://\uff12130706433/", "http://\u24ea/", "http://a\u200d.example/"),
    f"http://shop.example/{'a' * 2048}",
]

#: These do, written in another way: what is resolved is what was checked.
SPELLINGS = {
    "http://127.0.0.1/": "127.0.0.1",
    "http://\uff11\uff12\uff17.0.0.1/": "127.0.0.1",
    "http://\u2460\u2461\u2466.0.0.1/": "127.0.0.1",
    "http://127\u30020\uff0e0\uff611/": "127.0.0.1",
    "http://\U0001d7cf\U0001d7d0\U0001d7d5.0.0.1/": "127.0.0.1",
    "http://169.254.169.254/latest/meta-data/": "169.254.169.254",
    "http://169\uff0e254\uff0e169\uff0e254/": "169.254.169.254",
    "http://LOCALHOST/": "localhost",
    "http://\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54/": "localhost",
    "http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/": "localhost",
    "http://localhost./": "localhost.",
    "http://[::1]/": "::1",
    "http://[0:0:0:0:0:0:0:1]/": "::1",
    "http://[0000::0001]:80/": "::1",
    "http://[::ffff:127.0.0.1]/": "::ffff:7f00:1",
    "http://[::FFFF:7F00:1]/": "::ffff:7f00:1",
    "http://shop.example#@127.0.0.1/@": "shop.example",
    "http://shop.example:80#@127.0.0.1:80/@": "shop.example",
    "http://m\u00fcnchen.example/": "xn--mnchen-3ya.example",
    "http://Stra\u00dfe.example/": "xn--strae-oqa.example",
    "http://shop_1.example/": "shop_1.example",
}


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_readers_disagree_about_is_refused_before_anybody_is_asked(url: str) -> None:
    with pytest.raises(UrlRefusedError):
        read_url(url, PUBLIC)


@pytest.mark.parametrize(("url", "host"), SPELLINGS.items(), ids=SPELLINGS)
def test_every_spelling_of_a_host_is_read_as_one(url: str, host: str) -> None:
    assert read_url(url, PUBLIC).host == host


def test_a_url_is_taken_apart() -> None:
    assert read_url("https://Shop.example/a b".replace(" ", "%20") + "?c=\u00e4#d", PUBLIC) == Target(
        "https", "shop.example", 443, "/a%20b?c=%C3%A4"
    )


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("HTTP://shop.example", "http://shop.example/"),
        ("https://shop.example:443/a", "https://shop.example/a"),
        ("https://shop.example:80/a", "https://shop.example:80/a"),
        ("http://[2606:4700::1111]/a", "http://[2606:4700::1111]/a"),
    ],
)
def test_a_url_is_written_in_one_form(url: str, written: str) -> None:
    assert read_url(url, PUBLIC).url == written


def test_an_operator_may_open_networks_and_ports() -> None:
    rules = OutwardRules(networks=(ipaddress.ip_network("10.1.0.0/16"),), ports=frozenset({8080}))

    assert rules.allows(ipaddress.ip_address("10.1.2.3"))
    assert not rules.allows(ipaddress.ip_address("10.2.0.1"))
    assert read_url("http://sink.internal:8080/", rules).port == 8080


def test_there_are_as_many_cases_as_were_asked_for() -> None:
    assert len(PRIVATE_V4) + len(PRIVATE_V6) + len(CARRIED) + len(REFUSED) + len(SPELLINGS) >= 250
