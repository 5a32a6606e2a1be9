"""`webapp.error_answers`: every error is a problem document, and no fault shows its insides."""

from pathlib import Path

import psycopg2
import pytest
from flask import Flask
from sqlalchemy.exc import DatabaseError, IntegrityError

from schemas.problems import CONTENT_TYPE
from store import errors as store
from store.settings import Settings
from webapp.app import create_app
from webapp.error_answers import describe, problem, register_error_handlers


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    """An application without collaborators: every view that needs one fails in a way that nobody foresaw."""
    url = f"file://{tmp_path}"
    return create_app(Settings(database_url="", redis_url="", object_url=url, var_dir=tmp_path))


def test_a_fault_of_ours_is_a_problem_without_traceback(app: Flask) -> None:
    response = app.test_client().get("/v1/models", headers={"Authorization": "Bearer x"})

    assert (response.status_code, response.content_type) == (500, CONTENT_TYPE)
    assert response.get_json() == {
        "type": "internal",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "this is a fault of ours; it was logged",
    }


def test_a_kind_of_error_covers_those_derived_from_it() -> None:
    class StillUnknownModelError(store.UnknownModelError):
        """Raised by nobody else."""

    app = Flask("tests")
    register_error_handlers(app)

    @app.get("/")
    def fail() -> str:
        raise StillUnknownModelError("there is none")

    assert app.test_client().get("/").get_json()["type"] == "unknown-model"


def test_what_is_busy_or_away_says_when_to_come_back(app: Flask) -> None:
    with app.test_request_context():
        response = problem(503, "not-ready", "Service Unavailable", "wait")

    assert response.headers["Retry-After"] == "1"


def test_members_without_value_are_left_out(app: Flask) -> None:
    with app.test_request_context():
        body = problem(404, "unknown-path", "Not Found", "nothing", field=None).get_json()

    assert "field" not in body


def test_a_server_that_breaks_off_is_away_whatever_class_tells_it() -> None:
    broken_off = DatabaseError("SELECT 1", {}, psycopg2.DatabaseError("server closed the connection unexpectedly"))
    broken_off.connection_invalidated = True
    refused = IntegrityError("INSERT", {}, psycopg2.IntegrityError("duplicate key"))

    answer = describe(broken_off)

    assert answer is not None
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert describe(refused) is None
