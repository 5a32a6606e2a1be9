"""`tests.faults.checker`: what it says of a row that was to fail, and of its neighbours."""

from typing import Any

import pytest

from tests.faults.checker import _problem
from tests.faults.history import Request

SUCCEEDED = {"id": "p1", "status": "succeeded", "error_code": None, "label": "1"}


def failed(code: str) -> dict[str, Any]:
    return {**SUCCEEDED, "status": "failed", "error_code": code, "label": None}


def request(declared: str | None = None) -> Request:
    return Request(7, (0, 1), None, declared=declared, ids=["p1"])


@pytest.mark.parametrize(
    ("declared", "row"),
    [(None, SUCCEEDED), (None, failed("worker_crash")), ("non_finite", failed("non_finite"))],
    ids=["good", "given up", "poisoned"],
)
def test_what_ends_as_it_must_is_no_problem(declared: str | None, row: dict[str, Any]) -> None:
    assert _problem(request(declared), row) is None


@pytest.mark.parametrize(
    ("declared", "row", "said"),
    [
        (None, failed("internal"), "p1 is failed: internal"),
        ("internal", SUCCEEDED, "p1 is succeeded: None, not internal"),
        ("internal", failed("non_finite"), "p1 is failed: non_finite, not internal"),
        ("internal", failed("worker_crash"), "p1 is failed: worker_crash, not internal"),
    ],
    ids=["innocent", "unharmed", "another reason", "a crash"],
)
def test_an_end_that_was_not_declared_breaks_a_promise(declared: str | None, row: dict[str, Any], said: str) -> None:
    assert _problem(request(declared), row) == ("I10", [said])
