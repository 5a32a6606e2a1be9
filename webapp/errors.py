"""What views raise, and the ONE map from errors to HTTP. How an answer is made of it is in `webapp.error_answers`."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from store import errors as store
from store.database import is_outage


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

# As RFC 9110 calls them, which Werkzeug does not yet.
HTTP_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}

HTTP_DETAILS = {
    404: "there is nothing under this path; GET /docs shows what there is",
    405: "this path does not take this method; GET /docs shows which",
}


def find_kind(error: Exception) -> Kind | None:
    """Return how an error is answered; None for one that nobody foresaw."""
    # By what happened, not by its class: a server that breaks a connection off is a plain DatabaseError at times.
    if isinstance(error, DBAPIError) and is_outage(error):
        return UNAVAILABLE
    return next((KINDS[cls] for cls in type(error).__mro__ if cls in KINDS), None)


def slug_of(error: Exception) -> str:
    """Return the stable slug of an error of ours, for what is reported beside a success."""
    kind = find_kind(error)
    assert kind is not None, "only errors of ours have a slug"
    return kind.slug
