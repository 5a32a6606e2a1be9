"""The OpenAPI document: valid, complete, what the code does, and what its snapshot says."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from math import inf
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from schemas.integers import MOST_EXACT
from schemas.problems import CONTENT_TYPE
from webapp import spec
from webapp.app import create_app
from webapp.auth import SCOPE_ATTRIBUTE
from webapp.docs import DOCS_PATH
from webapp.errors import KINDS
from webapp.problems.outages import INTERNAL
from webapp.spec import RENEW, SETTINGS, SNAPSHOT, read_document, render_document

ROOT = SNAPSHOT.parent.parent

DOCUMENT = read_document()

#: Probes, and metrics for loopback: the only operations that take no key.
OPEN_PATHS = {"/health/live", "/health/ready", "/metrics"}

#: Routes that are no operations of the API: the document itself, and the page that shows it.
PAGES = ("/openapi.json", DOCS_PATH)

UUID = "0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c"

FILLED = {
    "model": "fashion",
    "version": "1",
    "prediction_id": UUID,
    "training_id": UUID,
    "backtest_id": "1",
    "key_id": "7hQ2mZx0Ta",
    "webhook_id": UUID,
    "delivery_id": UUID,
    "catalog": "shop",
    "external_id": "42",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of the document, with where it stands."""

    path: str
    method: str
    members: dict[str, Any]

    @property
    def is_open(self) -> bool:
        """Whether it takes no key."""
        return self.path in OPEN_PATHS

    @property
    def parameters(self) -> list[dict[str, Any]]:
        """All of its parameters."""
        return [*self.members.get("parameters", ())]

    @property
    def statuses(self) -> set[str]:
        """All that it answers."""
        return {*self.members["responses"]}


OPERATIONS = [
    Operation(path, method, members) for path, item in DOCUMENT["paths"].items() for method, members in item.items()
]

every_operation = pytest.mark.parametrize(
    "operation", OPERATIONS, ids=lambda operation: operation.members["operationId"]
)


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference into the components."""
    while "$ref" in node:
        _, _, group, name = node["$ref"].split("/")
        node = DOCUMENT["components"][group][name]
    return node


def types(schema: dict[str, Any]) -> list[str]:
    """Return the types that a schema takes."""
    named = schema.get("type", [])
    return [named] if isinstance(named, str) else [*named]


def schemas_within(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a schema and all that it consists of; none contains itself."""
    found = resolve(schema)
    yield found
    parts = [*found.get("properties", {}).values(), found.get("items"), found.get("additionalProperties")]
    parts += [each for word in ("anyOf", "oneOf", "allOf") for each in found.get(word, [])]
    for part in parts:
        if isinstance(part, dict):
            yield from schemas_within(part)


def answers(operation: Operation) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield status, content type and media type object of all that an operation answers."""
    for status, response in operation.members["responses"].items():
        for content_type, media_type in resolve(response).get("content", {}).items():
            yield int(status), content_type, media_type


def examples(media_type: dict[str, Any]) -> list[Any]:
    """Return all examples of a media type."""
    named = [example["value"] for example in media_type.get("examples", {}).values()]
    return [*named, media_type["example"]] if "example" in media_type else named


def endpoints(app: Flask) -> Iterator[tuple[str, str, Any]]:
    """Yield path, method and view of all that the application routes, but for its pages."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        if not path.startswith(PAGES):
            routed: Any = app.view_functions[rule.endpoint]
            for method in routed.view_class.methods:
                yield path, method.lower(), getattr(routed.view_class, method.lower())


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(SETTINGS)


@pytest.fixture
def http(app: Flask) -> FlaskClient:
    return app.test_client()


def test_document_equals_its_snapshot() -> None:
    assert SNAPSHOT.read_text(encoding="utf-8") == render_document(), f"renew it with `{RENEW}` and read the diff"


def test_check_tells_a_stale_snapshot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spec, "SNAPSHOT", tmp_path / "openapi.json")
    spec.SNAPSHOT.write_text("{}")
    assert spec.main(["--check"]) == 1
    assert f"renew it with `{RENEW}`" in capsys.readouterr().err


def test_renewed_snapshot_passes_the_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(spec, "SNAPSHOT", tmp_path / "openapi.json")
    assert spec.main([]) == 0
    assert spec.main(["--check"]) == 0


def test_document_is_valid_openapi() -> None:
    validate(DOCUMENT)


def test_document_has_no_lint() -> None:
    npm = shutil.which("npm")
    assert npm is not None, "this test needs npm: install e.g. Debian's npm"
    assert (ROOT / "node_modules").exists(), "`make test` installs the linter, and so does `npm ci`"
    command = [npm, "run", "--silent", "lint-spec"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_route_is_documented(app: Flask) -> None:
    routed = {(path, method) for path, method, _ in endpoints(app)}
    assert {(operation.path, operation.method) for operation in OPERATIONS} == routed


def test_every_route_but_probes_and_metrics_is_guarded(app: Flask) -> None:
    unguarded = {path for path, _, view in endpoints(app) if not hasattr(view, SCOPE_ATTRIBUTE)}
    assert unguarded == OPEN_PATHS


@every_operation
def test_security_says_whether_a_key_is_needed(operation: Operation) -> None:
    assert (operation.members["security"] == []) == operation.is_open
    assert operation.is_open or {"401", "403", "503"} <= operation.statuses


@every_operation
def test_operation_without_a_key_is_refused(http: FlaskClient, operation: Operation) -> None:
    answer = http.open(operation.path.format(**FILLED), method=operation.method.upper())
    assert (answer.status_code == HTTPStatus.UNAUTHORIZED) == (not operation.is_open)


@every_operation
def test_operation_is_described(operation: Operation) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", operation.members["operationId"])
    assert re.fullmatch(r".+\.", operation.members["summary"])
    assert operation.members["description"]
    assert all(parameter["description"] for parameter in operation.parameters)


def test_operation_ids_are_unique() -> None:
    assert len({operation.members["operationId"] for operation in OPERATIONS}) == len(OPERATIONS)


def test_every_tag_in_use_is_described() -> None:
    used = {tag for operation in OPERATIONS for tag in operation.members["tags"]}
    assert used == {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]}


@every_operation
def test_every_answer_has_examples_that_fit_its_schema(operation: Operation) -> None:
    for status, content_type, media_type in answers(operation):
        assert examples(media_type), f"{status} {content_type} has none"
        validator = Draft202012Validator({**media_type["schema"], "components": DOCUMENT["components"]})
        for example in examples(media_type):
            validator.validate(example)


@every_operation
def test_every_error_is_a_problem_document_with_its_status(operation: Operation) -> None:
    errors = [answer for answer in answers(operation) if answer[0] >= HTTPStatus.BAD_REQUEST]
    assert "500" in operation.statuses
    for status, content_type, media_type in errors:
        assert content_type == CONTENT_TYPE
        assert {example["status"] for example in examples(media_type)} == {status}


def test_every_kind_of_error_is_documented_somewhere() -> None:
    documented = {
        example["type"]
        for operation in OPERATIONS
        for _, content_type, media_type in answers(operation)
        for example in examples(media_type)
        if content_type == CONTENT_TYPE
    }
    assert {kind.slug for kind in KINDS.values()} <= documented


@every_operation
def test_parameters_that_can_be_wrong_have_their_error(operation: Operation) -> None:
    places = {parameter["in"] for parameter in operation.parameters}
    assert "404" in operation.statuses or "path" not in places
    assert "422" in operation.statuses or "query" not in places


@every_operation
def test_no_parameter_is_null(operation: Operation) -> None:
    assert not [parameter["name"] for parameter in operation.parameters if "null" in str(parameter["schema"])]


@every_operation
def test_unfinished_predictions_say_where_and_when_to_look(operation: Operation) -> None:
    headers = operation.members["responses"].get("202", {"headers": {"Location", "Retry-After"}})["headers"]
    assert {"Location", "Retry-After"} <= set(headers)


@every_operation
def test_every_integer_of_a_body_can_be_said_back(operation: Operation) -> None:
    bodies = operation.members.get("requestBody", {}).get("content", {}).values()

    taken = [schema for body in bodies for schema in schemas_within(body.get("schema", {}))]

    integers = [schema for schema in taken if "integer" in types(schema)]
    assert [schema for schema in integers if schema.get("maximum", inf) > MOST_EXACT] == []


def test_every_component_is_used() -> None:
    text = str(DOCUMENT)
    references = {
        f"#/components/{group}/{name}" for group in ("schemas", "responses") for name in DOCUMENT["components"][group]
    }
    assert {reference for reference in references if f"'{reference}'" not in text} == set()


def test_unforeseen_error_is_answered_as_documented(http: FlaskClient) -> None:
    # This application has no services, so a view that takes one fails.
    answer = http.get("/health/ready")
    assert answer.content_type == CONTENT_TYPE
    assert answer.get_json() == INTERNAL.example


def test_docs_page_takes_only_files_of_ours_and_no_script_within(http: FlaskClient) -> None:
    page = http.get(f"{DOCS_PATH}/").get_data(as_text=True)
    for link in re.findall(r'(?:href|src)="([^"]+)"', page):
        assert link.startswith(f"{DOCS_PATH}/")
        with http.get(link) as answer:
            assert answer.status_code == HTTPStatus.OK
    assert not re.search(r"<script>|<style|style=", page)


def test_docs_are_found_without_a_slash(http: FlaskClient) -> None:
    assert http.get(DOCS_PATH, follow_redirects=True).status_code == HTTPStatus.OK


def test_docs_forbid_scripts_of_other_hosts_and_within_pages(http: FlaskClient) -> None:
    policy = http.get(f"{DOCS_PATH}/").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert "script-src" not in policy
