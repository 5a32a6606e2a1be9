"""What a refusal must look like."""

from werkzeug.test import TestResponse

from schemas.problems import CONTENT_TYPE, ProblemSchema


def assert_problem(response: TestResponse, status: int, slug: str, field: str | None = None) -> None:
    """Check that a response is the stated problem document, whole, and nothing of our insides."""
    assert response.content_type == CONTENT_TYPE, response.text
    body = response.get_json()
    assert (body["status"], body["type"], body.get("field")) == (status, slug, field), body
    assert response.status_code == status
    assert ProblemSchema().validate(body) == {}
    assert body["detail"]
    assert "Traceback" not in response.text
    assert "psycopg2" not in response.text
