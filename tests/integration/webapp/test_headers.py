"""Headers of every answer: walls for browsers, and the id that the logs know a request by."""

import pytest
from flask import Flask

from tests.integration.serving import Api
from webapp.headers import REQUEST_ID_HEADER, SECURITY_HEADERS, TRANSPORT_HEADER

ANSWERS = {
    "an answer of the fast lane": ("POST", "/v1/models/xor/predictions", {"json": {"input": [0, 1]}}),
    "a refusal of the fast lane": ("POST", "/v1/models/xor/predictions", {"json": {"input": []}}),
    "an answer of a view": ("GET", "/v1/models", {}),
    "a refusal of a view": ("GET", "/v1/models/nope", {}),
    "an unknown path": ("GET", "/nothing", {}),
    "another method": ("DELETE", "/v1/models", {}),
    "the document": ("GET", "/openapi.json", {}),
    "the docs": ("GET", "/docs/", {}),
    "a script of the docs": ("GET", "/docs/start.js", {}),
    "metrics": ("GET", "/metrics", {}),
    "a probe": ("GET", "/health/live", {}),
}

every_answer = pytest.mark.parametrize(("method", "path", "options"), ANSWERS.values(), ids=ANSWERS.keys())


@every_answer
def test_every_answer_carries_the_walls(api: Api, method: str, path: str, options: dict[str, object]) -> None:
    headers = api.call(method, path, **options).headers

    assert {name: headers[name] for name in SECURITY_HEADERS if name != "Cache-Control"} == {
        name: value for name, value in SECURITY_HEADERS.items() if name != "Cache-Control"
    }
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/predictions", "/v1/keys", "/v1/audit", "/metrics"])
def test_what_holds_data_is_kept_nowhere(api: Api, path: str) -> None:
    assert api.get(path).headers["Cache-Control"] == "no-store"


@every_answer
def test_every_answer_is_named(api: Api, method: str, path: str, options: dict[str, object]) -> None:
    first, second = (api.call(method, path, **options).headers[REQUEST_ID_HEADER] for _ in range(2))

    assert len(first) >= 32
    assert first != second


def test_a_client_cannot_choose_the_name(api: Api) -> None:
    assert api.get("/v1/models", headers={REQUEST_ID_HEADER: "mine"}).headers[REQUEST_ID_HEADER] != "mine"


@every_answer
def test_no_answer_tells_the_server_or_lets_other_sites_in(
    api: Api, method: str, path: str, options: dict[str, object]
) -> None:
    headers = api.call(method, path, headers={"Origin": "https://elsewhere.example"}, **options).headers

    assert headers["Server"] == "torchqueue"
    assert not {name.lower() for name, _ in headers} & {"x-powered-by", "access-control-allow-origin"}


def test_a_browser_that_came_by_tls_is_told_to_stay_with_it(api: Api, app: Flask) -> None:
    name, value = TRANSPORT_HEADER

    assert api.get("/docs/", headers={"X-Forwarded-Proto": "https"}).headers[name] == value
    assert name not in Api(app, None).get("/docs/").headers
