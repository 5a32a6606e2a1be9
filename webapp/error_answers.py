"""Errors as answers: RFC 9457 problem documents, never a traceback. Which is which is told by `webapp.errors`."""

import math
from typing import Any

import structlog
from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from schemas.problems import CONTENT_TYPE, ProblemAnswer
from webapp.errors import HTTP_DETAILS, HTTP_SLUGS, HTTP_TITLES, RateLimitedError, RefusedError, find_kind
from webapp.metrics import REFUSED

log = structlog.get_logger()

# Long enough for a restart of Postgres to be noticed, short enough that nobody waits for nothing.
RETRY_AFTER_S = 1


def describe(error: Exception) -> ProblemAnswer | None:
    """Tell how an error of ours is answered, without Flask; None for one that nobody foresaw."""
    kind = find_kind(error)
    if kind is None:
        return None
    members = {"field": getattr(error, "field", None), "prediction": getattr(error, "prediction", None)}
    answer = _answer(kind.status, kind.slug, kind.title, kind.detail or str(error), members)
    if isinstance(error, RefusedError):
        answer.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, RateLimitedError):
        # As the draft of the IETF spells them (draft-ietf-httpapi-ratelimit-headers-10).
        answer.headers["RateLimit-Policy"] = f'"key";q={error.limit};w=60'
        answer.headers["RateLimit"] = f'"key";r=0;t={max(1, math.ceil(error.retry_after_s))}'
    return answer


def note(error: Exception, answer: ProblemAnswer) -> None:
    """Count what is refused under load, since a line each would be load of its own; log what else is not served."""
    if isinstance(error, RefusedError):
        REFUSED.labels(answer.document["type"]).inc()
    elif answer.status == 503:
        log.warning("unavailable", error=str(error))


def problem(status: int, slug: str, title: str, detail: str, **extra: Any) -> Response:
    """Make a problem document; `extra` members that are None are left out. Needs a context of Flask."""
    return _respond(_answer(status, slug, title, detail, extra))


def _answer(status: int, slug: str, title: str, detail: str, extra: dict[str, Any]) -> ProblemAnswer:
    body = {"type": slug, "title": title, "status": status, "detail": detail}
    headers = {}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="torchqueue"'
    return ProblemAnswer(status, body | {name: value for name, value in extra.items() if value is not None}, headers)


def _respond(answer: ProblemAnswer) -> Response:
    response = jsonify(answer.document)
    response.status_code = answer.status
    response.content_type = CONTENT_TYPE
    response.headers.update(answer.headers)
    return response


def register_error_handlers(app: Flask) -> None:
    """Answer every error of ours, and any other, with a problem document."""
    app.register_error_handler(Exception, _handle)


def handle_http_exception(error: HTTPException) -> Response:
    """Turn what Flask and flask-smorest abort with into a problem document."""
    status = error.code or 500
    field, detail = _first_message(getattr(error, "data", {}).get("messages", {}))
    detail = detail or HTTP_DETAILS.get(status) or (error.description or error.name)
    title = HTTP_TITLES.get(status, error.name)
    return problem(status, HTTP_SLUGS.get(status, "http-error"), title, detail, field=field)


def _handle(error: Exception) -> Response:
    answer = describe(error)
    if answer is not None:
        note(error, answer)
        return _respond(answer)
    # The last resort of the HTTP map: the log gets the traceback, the client none of it.
    log.error("unexpected_error", exc_info=error)
    return problem(500, "internal", "Internal Server Error", "this is a fault of ours; it was logged")


def _first_message(messages: Any) -> tuple[str | None, str | None]:
    """Find the first field and sentence in webargs' nested messages, `{"query": {"version": ["…"]}}`."""
    path: list[str] = []
    while isinstance(messages, dict) and messages:
        name, messages = next(iter(messages.items()))
        path.append(str(name))
    if not isinstance(messages, list) or not messages:
        return None, None
    field = ".".join(path[1:]) or None
    return field, f"{field}: {messages[0]}" if field else str(messages[0])
