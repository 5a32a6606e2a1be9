"""Every operation of the document with every kind of key: what it declares, and not a byte of another tenant."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine as Database
from sqlalchemy import text
from uuid_utils.compat import uuid7
from werkzeug.test import TestResponse

from schemas.enums import Scope
from schemas.model_settings import ModelSettings
from store.database import open_session
from store.keys import create_key, get_key, public_id_of, revoke_key
from store.models import configure, get_version, register_version
from store.promotion import promote
from store.traffic import clear_traffic
from tests.factories import autocommit, clean
from tests.integration.serving import Api, BackgroundWorker, make_key
from tests.integration.webapp.conftest import LONG
from tests.integration.webapp.problems import assert_problem
from tests.running import SAMPLES
from webapp.spec import read_document

DOCUMENT = read_document()

#: Of every tenant's own, in a path. A tenant that names another's reads what it would of one that nobody has.
OWNED = {"prediction_id", "backtest_id", "external_id", "webhook_id", "delivery_id"}

SIMILARITY = "fashion-similar"

CATALOG = "catalog-of-the-owner"
ITEM = "item-of-the-owner"
SOURCE = "source-of-the-owner"

#: Keys that are none, by what is wrong with them, and how each is refused.
REFUSALS = {
    "no key": (401, "missing-key"),
    "malformed": (401, "invalid-key"),
    "unknown": (401, "invalid-key"),
    "expired": (401, "invalid-key"),
    "revoked": (401, "invalid-key"),
    "wrong scope": (403, "scope-too-small"),
}


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as the document declares it."""

    path: str
    method: str
    members: dict[str, Any]

    @property
    def scope(self) -> Scope | None:
        """What it takes; None: no key."""
        security = self.members["security"]
        return Scope(next(iter(security[0].values()))[0]) if security else None

    @property
    def parameters(self) -> set[str]:
        """The names within its path."""
        return {each["name"] for each in self.members.get("parameters", ()) if each["in"] == "path"}

    def fill(self, values: dict[str, str]) -> str:
        """Return its path with these values, and the document's examples for the others."""
        examples = {
            each["name"]: each.get("example", "1")
            for each in self.members.get("parameters", ())
            if each["in"] == "path"
        }
        model = SIMILARITY if "/models/{model}/items" in self.path else "xor"
        return self.path.format(**{**examples, "model": model, **values})

    @property
    def body(self) -> dict[str, Any]:
        """What the document gives as an example to send, where that is JSON."""
        found: dict[str, Any] = self.members.get("requestBody", {}).get("content", {}).get("application/json", {})
        examples: list[dict[str, Any]] = list(found.get("examples", {}).values())
        example = found.get("example") or (examples[0]["value"] if examples else None)
        return {} if example is None else {"json": example}


OPERATIONS = [
    Operation(path, method, members) for path, item in DOCUMENT["paths"].items() for method, members in item.items()
]
GUARDED = [operation for operation in OPERATIONS if operation.scope is not None]

#: An admin is above tenants.
TENANTS = [operation for operation in GUARDED if operation.scope is not Scope.ADMIN]

every_guarded = pytest.mark.parametrize("operation", GUARDED, ids=lambda each: each.members["operationId"])
every_tenants = pytest.mark.parametrize("operation", TENANTS, ids=lambda each: each.members["operationId"])


@dataclass(frozen=True, slots=True)
class Owner:
    """A tenant with one of everything."""

    api: Api
    key: str
    things: dict[str, str]

    @property
    def marks(self) -> list[str]:
        """What nobody else may ever read."""
        return [CATALOG, ITEM, SOURCE, *(self.things[name] for name in ("prediction_id", "webhook_id", "delivery_id"))]


@pytest.fixture(scope="module")
def owner(app: Flask, worker: BackgroundWorker, database: Database) -> Iterator[Owner]:  # noqa: ARG001 - answers
    """A tenant with a prediction about an item, feedback on it, an indexed item, a backtest and a training."""
    key = make_key(database, *[scope for scope in Scope if scope is not Scope.ADMIN])
    api = Api(app, key)
    item = f"catalog={CATALOG}&external_id={ITEM}"
    prediction = api.post(f"/v1/models/xor/predictions?{item}", json={"input": [0, 1]}, headers=LONG).get_json()["id"]
    told = api.call("PUT", f"/v1/predictions/{prediction}/feedback", json={"label": "1", "source": SOURCE})
    assert told.status_code == 200, told.text
    photo = (SAMPLES / "sandal-01.png").read_bytes()
    place = f"/v1/models/{SIMILARITY}/items/{CATALOG}/{ITEM}"
    put = api.call("PUT", place, data=photo, content_type="application/octet-stream", headers=LONG)
    assert put.status_code == 200, put.text
    backtest = api.post("/v1/models/xor/backtests", json={"version": _second_version(database)})
    assert backtest.status_code == 202, backtest.text
    training = api.post("/v1/models/xor/trainings").get_json()["id"]
    assert api.post(f"/v1/trainings/{training}/cancel").status_code == 200
    url = {"url": f"https://shop.example.com/{ITEM}", "description": SOURCE, "events": ["prediction.failed"]}
    webhook = api.post("/v1/webhooks", json=url).get_json()["id"]
    delivery = api.post(f"/v1/webhooks/{webhook}/test").get_json()["id"]
    things = {
        "prediction_id": prediction,
        "webhook_id": webhook,
        "delivery_id": delivery,
        "backtest_id": str(backtest.get_json()["id"]),
        "training_id": training,
        "catalog": CATALOG,
        "external_id": ITEM,
    }
    yield Owner(api, key, things)
    with autocommit(database) as connection:
        connection.execute(text("DELETE FROM trainings"))
    with open_session(database) as session:
        configure(session, name="xor", settings=ModelSettings())
        clear_traffic(session, name="xor", actor="tests")
        promote(session, name="xor", number=1, actor="tests", reason="as before")
    clean(database)


@pytest.fixture(scope="module")
def victim(database: Database) -> str:
    """Id of a key that operations on keys may do anything to."""
    return public_id_of(make_key(database, Scope.READ))


@pytest.mark.parametrize("kind", REFUSALS)
@every_guarded
def test_an_operation_refuses(app: Flask, database: Database, owner: Owner, operation: Operation, kind: str) -> None:
    assert operation.scope is not None
    api = Api(app, _bad_key(database, kind, operation.scope))

    response = _send(api, operation, operation.fill(owner.things))

    assert_problem(response, *REFUSALS[kind])
    assert not _marks_in(response, owner)


@every_tenants
def test_another_tenant_reads_what_it_would_if_there_were_nothing(
    app: Flask, database: Database, owner: Owner, operation: Operation
) -> None:
    assert operation.scope is not None
    stranger = Api(app, make_key(database, operation.scope))
    nobodys = {
        "prediction_id": str(uuid7()),
        "backtest_id": str(2**62),
        "webhook_id": str(uuid7()),
        "delivery_id": str(uuid7()),
        "catalog": "catalog-of-nobody",
        "external_id": "item-of-nobody",
    }

    foreign = _send(stranger, operation, operation.fill(owner.things))

    if not operation.parameters & OWNED:
        assert not _marks_in(foreign, owner)
    # Which makes an item of the stranger's own.
    elif operation.members["operationId"] != "put_indexed_item":
        unknown = _send(stranger, operation, operation.fill(owner.things | nobodys))
        assert (foreign.status_code, unknown.status_code) == (404, 404), foreign.text
        named = {name: owner.things[name] for name in operation.parameters & nobodys.keys()}
        assert _without(foreign.text, named) == _without(unknown.text, {name: nobodys[name] for name in named})


@every_guarded
def test_the_right_key_is_let_in(app: Flask, owner: Owner, admin_key: str, victim: str, operation: Operation) -> None:
    api = Api(app, admin_key) if operation.scope is Scope.ADMIN else owner.api

    response = _send(api, operation, operation.fill({**owner.things, "key_id": victim}))

    assert response.status_code not in {401, 403}, response.text
    assert str(response.status_code) in operation.members["responses"]
    assert response.status_code < 500


@pytest.mark.parametrize("kind", [kind for kind in REFUSALS if kind != "wrong scope"])
@pytest.mark.parametrize("path", [operation.path for operation in OPERATIONS if operation.scope is None])
def test_an_open_operation_takes_any_key_and_none(app: Flask, database: Database, path: str, kind: str) -> None:
    assert Api(app, _bad_key(database, kind, Scope.READ)).get(path).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_metrics_that_a_proxy_asks_for_take_a_key(app: Flask, database: Database, header: str) -> None:
    headers = {header: "192.0.2.1"}

    assert_problem(Api(app, None).get("/metrics", headers=headers), 403, "loopback-only")
    assert_problem(Api(app, make_key(database, Scope.READ)).get("/metrics", headers=headers), 403, "scope-too-small")
    assert Api(app, make_key(database, Scope.METRICS)).get("/metrics", headers=headers).status_code == 200


def test_the_matrix_knows_what_every_parameter_of_a_path_stands_for() -> None:
    known = OWNED | {"model", "version", "training_id", "catalog", "key_id"}

    assert {name for operation in OPERATIONS for name in operation.parameters} <= known


def _send(api: Api, operation: Operation, path: str) -> TestResponse:
    return api.call(operation.method.upper(), path, **operation.body)


def _bad_key(database: Database, kind: str, scope: Scope) -> str | None:
    if kind in {"no key", "malformed"}:
        return None if kind == "no key" else "tq_a_b_c"
    with open_session(database) as session:
        scopes = [scope] if kind != "wrong scope" else [each for each in Scope if each not in {scope, Scope.ADMIN}]
        expires_in = timedelta(0) if kind == "expired" else None
        row, key = create_key(session, name="tests", scopes=scopes, expires_in=expires_in)
        if kind == "revoked":
            revoke_key(session, row.public_id)
        if kind == "unknown":
            session.delete(get_key(session, row.public_id))
    return key


def _second_version(database: Database) -> int:
    with open_session(database) as session:
        first = get_version(session, "xor", 1)
        return register_version(
            session,
            name="xor",
            kind="classification",
            config=first.config,
            weights_sha256=first.weights_sha256,
            weights_bytes=first.weights_bytes,
            metrics={},
            source="trained",
        ).number


def _marks_in(response: TestResponse, owner: Owner) -> list[str]:
    said = response.text if _is_text(response) else ""
    return [mark for mark in owner.marks if mark in said]


def _is_text(response: TestResponse) -> bool:
    with suppress(UnicodeDecodeError):
        return bool(response.get_data(as_text=True)) or True
    return False


def _without(said: str, values: dict[str, str]) -> str:
    """Take out what the request itself named."""
    for value in sorted(values.values(), key=len, reverse=True):
        said = said.replace(value, "*")
    return said
