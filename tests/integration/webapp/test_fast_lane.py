"""The fast lane answers as Flask's own view does, in every way that a client can see."""

from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from store.settings import Settings
from tests.integration.serving import Api
from webapp.app import create_app
from webapp.services import EXTENSION

# What differs between any two predictions.
OWN = {"id", "created_at", "started_at", "finished_at", "timings_ms", "prediction"}

ASKS: dict[str, dict[str, Any]] = {
    "numbers": {"json": {"input": [0, 1]}},
    "an item": {"json": {"input": [0, 1]}, "query_string": {"catalog": "shop", "external_id": "7"}},
    "half an item": {"json": {"input": [0, 1]}, "query_string": {"catalog": "shop"}},
    "an unknown option": {"json": {"input": [0, 1]}, "query_string": {"colour": "red"}},
    "a bad option": {"json": {"input": [0, 1]}, "query_string": {"version": "0"}},
    "an option twice": {"json": {"input": [0, 1]}, "query_string": "priority=bulk&priority=normal"},
    "an unknown version": {"json": {"input": [0, 1]}, "query_string": {"version": "99"}},
    "a bad header": {"json": {"input": [0, 1]}, "headers": {"Prefer": "wait=soon"}},
    "a bad idempotency key": {"json": {"input": [0, 1]}, "headers": {"Idempotency-Key": ""}},
    "too few numbers": {"json": {"input": [0]}},
    "no JSON": {"data": b"{", "content_type": "application/json"},
    "another type": {"data": b"0,1", "content_type": "text/csv"},
    "too much": {"data": b"0" * (13 * 1024 * 1024), "content_type": "application/json"},
    "no key": {"json": {"input": [0, 1]}, "headers": {"Authorization": ""}},
    "another's key": {"json": {"input": [0, 1]}, "headers": {"Authorization": "Bearer tq_nobody"}},
}


@pytest.fixture(scope="module")
def plain_app(settings: Settings, app: Flask) -> Flask:
    """Flask's own views in the same web process."""
    return create_app(settings, app.extensions[EXTENSION])


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_both_ways_answer_alike(api: Api, plain_app: Flask, admin_key: str, ask: dict[str, Any]) -> None:
    fast, plain = api.predict("xor", **ask), Api(plain_app, admin_key).predict("xor", **ask)

    assert _seen(fast) == _seen(plain)


@pytest.mark.usefixtures("no_worker")
def test_both_ways_accept_alike(api: Api, plain_app: Flask, admin_key: str) -> None:
    ask = {"json": {"input": [0, 1]}, "headers": {"Prefer": "respond-async"}}

    assert _seen(api.predict("xor", **ask)) == _seen(Api(plain_app, admin_key).predict("xor", **ask))


def test_an_unknown_model_is_refused_alike(api: Api, plain_app: Flask, admin_key: str) -> None:
    ask = ASKS["numbers"]

    assert _seen(api.predict("nobody", **ask)) == _seen(Api(plain_app, admin_key).predict("nobody", **ask))


def _seen(response: TestResponse) -> tuple[int, dict[str, str], dict[str, Any]]:
    """All that two answers should share. Lengths and places follow from the rest."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    headers.pop("content-length"), headers.pop("location", None), headers.pop("x-request-id")
    body = {name: value for name, value in response.get_json().items() if name not in OWN}
    body.pop("eta_ms", None), body.pop("queue_position", None)
    return response.status_code, headers, body
