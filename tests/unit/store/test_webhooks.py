"""`store.webhooks`: which URLs may be told."""

from ipaddress import ip_network

import pytest

from store.addresses import OutwardRules
from store.errors import WebhookUrlError
from store.webhooks import check_webhook_url

RULES = OutwardRules()
INTERNAL = OutwardRules(networks=(ip_network("10.0.0.0/8"),), ports=frozenset({8443}))


@pytest.mark.parametrize("url", ["https://shop.example.com/hooks?a=1", "http://shop.example.com/"])
def test_a_public_url_is_kept_as_it_is(url: str) -> None:
    assert check_webhook_url(url, RULES) == url


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://shop.example.com/", "http:// or https://"),
        ("https://user:pass@shop.example.com/", "no user"),
        ("https://shop.example.com:8443/", "port 80 or 443"),
        ("http://127.0.0.1/", "no address of the public internet"),
        ("http://169.254.169.254/latest", "no address of the public internet"),
        ("http://[::1]/", "no address of the public internet"),
        ("http://[::ffff:10.0.0.1]/", "no address of the public internet"),
        ("", "1 to 2048"),
    ],
)
def test_a_url_that_nobody_outside_has_is_refused(url: str, problem: str) -> None:
    with pytest.raises(WebhookUrlError, match=problem):
        check_webhook_url(url, RULES)


def test_the_operator_may_allow_a_network_and_a_port() -> None:
    assert check_webhook_url("https://10.1.2.3:8443/x", INTERNAL) == "https://10.1.2.3:8443/x"
