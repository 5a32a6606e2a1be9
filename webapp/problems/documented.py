"""Which errors an operation may answer with, as the OpenAPI document tells it.

How an error looks over HTTP is said once, in `webapp.errors`. The modules beside this one give each the sentence that
serves as its example, one module a subject.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from schemas.problems import CONTENT_TYPE
from webapp.auth import SCOPE_ATTRIBUTE
from webapp.error_answers import RETRY_AFTER_S
from webapp.problems.keys import INVALID_KEY, MISSING_KEY, RATE_LIMITED, SCOPE_TOO_SMALL, TOO_MANY_REQUESTS
from webapp.problems.outages import DATABASE_BUSY, DATABASE_UNAVAILABLE, INTERNAL
from webapp.problems.problem import Problem

#: Carries what `problems` was given, for the document.
PROBLEMS_ATTRIBUTE = "documented_problems"

PROBLEM_REFERENCE = {"$ref": "#/components/schemas/Problem"}

DESCRIPTIONS = {
    400: "The request is malformed; `detail` says where.",
    401: "The API key is missing or not valid.",
    403: "This caller may not do this.",
    404: "There is no such thing, or it is another key's.",
    409: "The state of the resource forbids it.",
    413: "The body is too large.",
    415: "The body's content type is none that is read, or none that this model takes.",
    422: "The request is well formed, but cannot be answered; `field` names the part at fault.",
    429: "More than there is room or time for now, or than this key may ask for: nothing was accepted; try again after "
    "`Retry-After` seconds.",
    500: "A fault of ours. It was logged.",
    503: "Not now: nothing was accepted; try again after `Retry-After` seconds.",
}

RETRY_AFTER: dict[str, Any] = {
    "description": "Seconds to wait.",
    "schema": {"type": "integer", "minimum": 0, "examples": [RETRY_AFTER_S]},
}

HEADERS: dict[int, dict[str, Any]] = {
    401: {
        "WWW-Authenticate": {
            "description": "The scheme of the key.",
            "schema": {"type": "string", "examples": ['Bearer realm="torchqueue"']},
        }
    },
    429: {
        "Retry-After": RETRY_AFTER,
        "RateLimit-Policy": {
            "description": "The rate that this key may send at, where that was exceeded: so many requests in a window "
            "of so many seconds.",
            "schema": {"type": "string", "examples": ['"key";q=600;w=60']},
        },
        "RateLimit": {
            "description": "What is left of it, and in how many seconds there is more.",
            "schema": {"type": "string", "examples": ['"key";r=0;t=1']},
        },
    },
    503: {"Retry-After": RETRY_AFTER},
}

# Checking a key takes the database where the key is not remembered.
OF_GUARDED = (
    MISSING_KEY,
    INVALID_KEY,
    SCOPE_TOO_SMALL,
    RATE_LIMITED,
    TOO_MANY_REQUESTS,
    DATABASE_UNAVAILABLE,
    DATABASE_BUSY,
)

View = TypeVar("View", bound=Callable[..., Any])


def problems(*documented: Problem) -> Callable[[View], View]:
    """Document the errors of an operation, beside those that any has and those of any that needs a key.

    Sets a mark for the document and does not wrap the view, so that it costs a request nothing.
    """

    def decorate(view: View) -> View:
        setattr(view, PROBLEMS_ATTRIBUTE, documented)
        return view

    return decorate


def problem_responses(view: Callable[..., Any]) -> dict[int, tuple[str, dict[str, Any]]]:
    """Tell the error responses of a view, by status, each with the name under which operations share it."""
    guarded = OF_GUARDED if hasattr(view, SCOPE_ATTRIBUTE) else ()
    by_status: dict[int, list[Problem]] = {}
    for problem in (*guarded, *getattr(view, PROBLEMS_ATTRIBUTE, ()), INTERNAL):
        by_status.setdefault(problem.kind.status, []).append(problem)
    return {status: (_name(group), _response(status, group)) for status, group in by_status.items()}


def _name(group: list[Problem]) -> str:
    return "Or".join(problem.name for problem in group)


def _response(status: int, group: list[Problem]) -> dict[str, Any]:
    examples = {problem.name: {"value": problem.example} for problem in group}
    response: dict[str, Any] = {"description": DESCRIPTIONS[status]}
    if status in HEADERS:
        response["headers"] = HEADERS[status]
    return response | {"content": {CONTENT_TYPE: {"schema": PROBLEM_REFERENCE, "examples": examples}}}
