"""What views raise, and the ONE map from errors to HTTP: RFC 9457 problem documents, never a traceback."""

import math
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from flask import Flask, Response, jsonify
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException

from schemas.problems import CONTENT_TYPE, ProblemAnswer
from store import errors as store
from store.database import is_outage
from webapp.metrics import REFUSED

log = structlog.get_logger()

# Long enough for a restart of Postgres to be noticed, short enough that nobody waits for nothing.
RETRY_AFTER_S = 1


class WebError(Exception):
    """Base of all errors of this package."""


class MissingKeyError(WebError):
    """Raised when a request carries no API key where one is needed."""


class ScopeError(WebError):
    """Raised when the caller's key does not include the needed scope."""


class ForbiddenAddressError(WebError):
    """Raised when a page that is open on loopback only is asked from elsewhere."""


class MalformedBodyError(WebError):
    """Raised when a body is not what its content type says."""


class BadLineError(MalformedBodyError):
    """Raised when a line of a file is not what its format asks; the others are read, and it is told by its number."""


class UnsupportedMediaError(WebError):
    """Raised when a body's content type or picture format is none that we read."""


class InvalidInputError(WebError):
    """Raised when an input cannot be answered; names the field at fault and, where a worker said so, the prediction."""

    def __init__(self, field: str, detail: str, prediction: UUID | None = None) -> None:
        super().__init__(detail)
        self.field = field
        self.prediction = prediction


class NoIndexError(WebError):
    """Raised when items are to be kept by a model that is no similarity of pictures."""


class NoMaskError(WebError):
    """Raised when a prediction of the caller has no mask: it is not finished, failed, or is of another kind."""


class InvalidHeaderError(WebError):
    """Raised when a header cannot be understood; the message names it."""


class DatabaseUnavailableError(WebError):
    """Raised when Postgres did not take a group of predictions: nothing of it was accepted."""


class RefusedError(WebError):
    """Base of what is raised when a request is refused for want of room or time, not for what it says.

    Attributes:
        retry_after_s: When the same request is expected to be accepted, seconds from now.
        limit: The limit of the key that was met; None: none of its own.
    """

    def __init__(self, detail: str, *, retry_after_s: float = 1.0, limit: int | None = None) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s
        self.limit = limit


class RateLimitedError(RefusedError):
    """Raised when a key sent more requests than it may in a minute."""


class TooManyRequestsError(RefusedError):
    """Raised when a key has as many requests answered at once as it may."""


class KeyQueueFullError(RefusedError):
    """Raised when as many predictions of a key wait as may."""


class OverloadedError(RefusedError):
    """Raised when a prediction would wait longer than its model lets one wait."""


class DeadlineUnreachableError(RefusedError):
    """Raised when a prediction could not be finished before its own deadline."""


class QueueFullError(RefusedError):
    """Raised when as many predictions wait as there is room for."""


class DatabaseAwayError(RefusedError):
    """Raised when Postgres is known to be away: nobody asks it to find out."""


class NoWorkerError(RefusedError):
    """Raised when no worker lives that could ever answer."""


class NotReadyError(WebError):
    """Raised when the process cannot accept requests now; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a class of errors looks over HTTP."""

    status: int
    slug: str
    title: str
    detail: str | None = None


UNAVAILABLE = Kind(
    503, "database-unavailable", "Service Unavailable", "the database is away; nothing was accepted, try again"
)

KINDS: dict[type[Exception], Kind] = {
    MissingKeyError: Kind(401, "missing-key", "Unauthorized"),
    store.InvalidKeyError: Kind(401, "invalid-key", "Unauthorized"),
    ScopeError: Kind(403, "scope-too-small", "Forbidden"),
    ForbiddenAddressError: Kind(403, "loopback-only", "Forbidden"),
    store.UnknownModelError: Kind(404, "unknown-model", "Not Found"),
    store.UnknownVersionError: Kind(404, "unknown-version", "Not Found"),
    store.UnknownPredictionError: Kind(404, "unknown-prediction", "Not Found"),
    store.UnknownBacktestError: Kind(404, "unknown-backtest", "Not Found"),
    store.UnknownTrainingError: Kind(404, "unknown-training", "Not Found"),
    store.UnknownItemError: Kind(404, "unknown-item", "Not Found"),
    store.UnknownWebhookError: Kind(404, "unknown-webhook", "Not Found"),
    store.UnknownDeliveryError: Kind(404, "unknown-webhook-delivery", "Not Found"),
    store.WebhookStateError: Kind(409, "webhook-state", "Conflict"),
    store.WebhookLimitError: Kind(409, "webhook-limit", "Conflict"),
    store.WebhookUrlError: Kind(422, "invalid-webhook-url", "Unprocessable Content"),
    store.WebhookKeyError: Kind(
        503,
        "webhooks-not-configured",
        "Service Unavailable",
        "webhooks are not set up here: the operator must set TORCHQUEUE_WEBHOOK_KEY",
    ),
    store.UnknownFeedbackError: Kind(404, "unknown-feedback", "Not Found"),
    store.UnknownKeyError: Kind(404, "unknown-key", "Not Found"),
    NoMaskError: Kind(404, "no-mask", "Not Found"),
    store.KeyStateError: Kind(409, "key-state", "Conflict"),
    store.PredictionStateError: Kind(409, "prediction-state", "Conflict"),
    store.TrainingRunningError: Kind(409, "training-running", "Conflict"),
    store.TrainingStateError: Kind(409, "training-state", "Conflict"),
    store.BacktestStateError: Kind(409, "backtest-state", "Conflict"),
    store.IdempotencyConflictError: Kind(409, "idempotency-key-reused", "Conflict"),
    store.VersionStateError: Kind(409, "version-state", "Conflict"),
    store.NoEarlierChampionError: Kind(409, "no-earlier-champion", "Conflict"),
    store.KindMismatchError: Kind(409, "kind-mismatch", "Conflict"),
    NoIndexError: Kind(409, "no-index", "Conflict"),
    MalformedBodyError: Kind(400, "malformed-body", "Bad Request"),
    InvalidHeaderError: Kind(400, "invalid-header", "Bad Request"),
    UnsupportedMediaError: Kind(415, "unsupported-media-type", "Unsupported Media Type"),
    InvalidInputError: Kind(422, "invalid-input", "Unprocessable Content"),
    store.NoTrainingDataError: Kind(422, "no-training-data", "Unprocessable Content"),
    store.TrainingOptionError: Kind(422, "invalid-training", "Unprocessable Content"),
    store.NoFeedbackError: Kind(422, "no-feedback", "Unprocessable Content"),
    store.BacktestKindError: Kind(422, "no-backtest", "Unprocessable Content"),
    store.SameVersionError: Kind(422, "same-version", "Unprocessable Content"),
    store.InvalidLabelError: Kind(422, "invalid-label", "Unprocessable Content"),
    store.TrafficConflictError: Kind(409, "traffic-conflict", "Conflict"),
    store.TrafficError: Kind(422, "invalid-traffic", "Unprocessable Content"),
    store.ModelSettingsError: Kind(422, "invalid-settings", "Unprocessable Content"),
    store.ObjectsUnavailableError: Kind(
        503, "objects-unavailable", "Service Unavailable", "the object store is away; nothing was accepted, try again"
    ),
    DatabaseUnavailableError: UNAVAILABLE,
    DatabaseAwayError: UNAVAILABLE,
    RateLimitedError: Kind(429, "rate-limited", "Too Many Requests"),
    TooManyRequestsError: Kind(429, "too-many-requests", "Too Many Requests"),
    KeyQueueFullError: Kind(429, "key-queue-full", "Too Many Requests"),
    OverloadedError: Kind(429, "overloaded", "Too Many Requests"),
    DeadlineUnreachableError: Kind(429, "deadline-unreachable", "Too Many Requests"),
    QueueFullError: Kind(503, "queue-full", "Service Unavailable"),
    NoWorkerError: Kind(503, "no-worker", "Service Unavailable"),
    NotReadyError: Kind(503, "not-ready", "Service Unavailable"),
    PoolTimeoutError: Kind(503, "database-busy", "Service Unavailable", "every connection is in use; try again"),
}

HTTP_SLUGS = {
    400: "malformed-request",
    404: "unknown-path",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    422: "invalid-request",
}

HTTP_DETAILS = {
    404: "there is nothing under this path; GET /docs shows what there is",
    405: "this path does not take this method; GET /docs shows which",
}


def describe(error: Exception) -> ProblemAnswer | None:
    """Tell how an error of ours is answered, without Flask; None for one that nobody foresaw."""
    kind = _find_kind(error)
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


def slug_of(error: Exception) -> str:
    """Return the stable slug of an error of ours, for what is reported beside a success."""
    kind = _find_kind(error)
    assert kind is not None, "only errors of ours have a slug"
    return kind.slug


def _find_kind(error: Exception) -> Kind | None:
    # By what happened, not by its class: a server that breaks a connection off is a plain DatabaseError at times.
    if isinstance(error, DBAPIError) and is_outage(error):
        return UNAVAILABLE
    return next((KINDS[cls] for cls in type(error).__mro__ if cls in KINDS), None)


def register_error_handlers(app: Flask) -> None:
    """Answer every error of ours, and any other, with a problem document."""
    app.register_error_handler(Exception, _handle)


def handle_http_exception(error: HTTPException) -> Response:
    """Turn what Flask and flask-smorest abort with into a problem document."""
    status = error.code or 500
    field, detail = _first_message(getattr(error, "data", {}).get("messages", {}))
    detail = detail or HTTP_DETAILS.get(status) or (error.description or error.name)
    return problem(status, HTTP_SLUGS.get(status, "http-error"), error.name, detail, field=field)


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
