"""Which errors an operation may answer with, as the OpenAPI document tells it.

How an error looks over HTTP is said once, in `webapp.errors`. Here each gets the sentence that serves as its example.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import BadRequest, HTTPException, NotFound, RequestEntityTooLarge, UnprocessableEntity

from schemas.problems import CONTENT_TYPE
from store import errors as store
from webapp import errors
from webapp.auth import SCOPE_ATTRIBUTE
from webapp.errors import HTTP_SLUGS, KINDS, RETRY_AFTER_S, Kind

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

# What `webapp.errors` answers to an exception that nobody foresaw.
UNEXPECTED = Kind(500, "internal", "Internal Server Error")


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """An error as an operation documents it.

    Attributes:
        name: Of the example, and within the name of the shared response.
        error: What is raised; `webapp.errors` maps it to HTTP.
        detail: The sentence of the example.
        field: The part of the request at fault, where the error names one.
    """

    name: str
    error: type[Exception]
    detail: str
    field: str | None = None

    @property
    def kind(self) -> Kind:
        """How `webapp.errors` answers it."""
        if issubclass(self.error, HTTPException):
            error = self.error()
            assert error.code is not None, "only errors with a status are documented"
            return Kind(error.code, HTTP_SLUGS[error.code], error.name)
        return KINDS.get(self.error, UNEXPECTED)

    @property
    def example(self) -> dict[str, Any]:
        """The whole document."""
        kind = self.kind
        detail = kind.detail or self.detail
        found: dict[str, Any] = {"type": kind.slug, "title": kind.title, "status": kind.status, "detail": detail}
        return found if self.field is None else found | {"field": self.field}


MALFORMED_BODY = Problem(
    name="MalformedBody", error=errors.MalformedBodyError, detail="the form has no file part named `file`"
)
INVALID_HEADER = Problem(
    name="InvalidHeader",
    error=errors.InvalidHeaderError,
    detail="cannot read 'wait=soon' in Prefer; it reads `wait=10`, in seconds",
)
MISSING_KEY = Problem(
    name="MissingKey",
    error=errors.MissingKeyError,
    detail="send your API key as `Authorization: Bearer <key>`; `torchqueue keys create` makes one",
)
INVALID_KEY = Problem(
    name="InvalidKey", error=store.InvalidKeyError, detail="this API key is unknown, revoked or expired"
)
SCOPE_TOO_SMALL = Problem(
    name="ScopeTooSmall",
    error=errors.ScopeError,
    detail="this key may not do this; it takes one with the scope 'admin'",
)
LOOPBACK_ONLY = Problem(
    name="LoopbackOnly",
    error=errors.ForbiddenAddressError,
    detail="metrics answer on loopback only; send a key with the scope 'metrics', or TORCHQUEUE_METRICS_PUBLIC=1 opens "
    "them",
)
UNKNOWN_PATH = Problem(name="UnknownPath", error=NotFound, detail=errors.HTTP_DETAILS[404])
UNKNOWN_MODEL = Problem(
    name="UnknownModel", error=store.UnknownModelError, detail="there is no model 'fashon'; GET /v1/models lists them"
)
UNKNOWN_VERSION = Problem(
    name="UnknownVersion",
    error=store.UnknownVersionError,
    detail="model 'fashion' has no version 9; GET /v1/models/fashion/versions lists them",
)
UNKNOWN_PREDICTION = Problem(
    name="UnknownPrediction",
    error=store.UnknownPredictionError,
    detail="there is no prediction 0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c",
)
UNKNOWN_FEEDBACK = Problem(
    name="UnknownFeedback",
    error=store.UnknownFeedbackError,
    detail="there is no feedback on prediction 0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c",
)
UNANSWERED_PREDICTION = Problem(
    name="UnansweredPrediction",
    error=store.PredictionStateError,
    detail="prediction 0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c is queued: only an answer can be corrected",
)
INVALID_LABEL = Problem(
    name="InvalidLabel",
    error=store.InvalidLabelError,
    detail="must be one of the version's labels, not 'Sock': T-shirt/top, Trouser, Pullover",
    field="label",
)
INVALID_FEEDBACK = Problem(
    name="InvalidFeedback",
    error=UnprocessableEntity,
    detail="weight: Must be greater than 0 and less than or equal to 1000.0.",
    field="weight",
)
INVALID_WINDOW = Problem(
    name="InvalidWindow",
    error=UnprocessableEntity,
    detail="window_s: Must be greater than or equal to 1 and less than or equal to 31622400.",
    field="window_s",
)
FEEDBACK_FILE = Problem(
    name="FeedbackFile",
    error=errors.MalformedBodyError,
    detail="the first line lacks the column 'label'; it names prediction, or catalog and external_id, and label",
)
FEEDBACK_MEDIA_TYPE = Problem(
    name="FeedbackMediaType",
    error=errors.UnsupportedMediaError,
    detail="send feedback as application/x-ndjson or text/csv",
)
UNKNOWN_TRAINING = Problem(
    name="UnknownTraining",
    error=store.UnknownTrainingError,
    detail="there is no training 0199b1d0-4c2e-7a51-9a6e-3d2f8f0c7b11; GET /v1/trainings lists them",
)
TRAINING_RUNNING = Problem(
    name="TrainingRunning",
    error=store.TrainingRunningError,
    detail="a training of 'fashion' is under way; wait for it or cancel it: GET /v1/trainings?model=fashion",
)
TRAINING_STATE = Problem(
    name="TrainingState",
    error=store.TrainingStateError,
    detail="training 0199b1d0-4c2e-7a51-9a6e-3d2f8f0c7b11 is succeeded already",
)
TRAINING_OPTION = Problem(
    name="TrainingOption",
    error=store.TrainingOptionError,
    detail="a segmentation model does not learn from feedback; use `none`",
    field="feedback",
)
INVALID_TRAINING_OPTION = Problem(
    name="InvalidTrainingOption",
    error=UnprocessableEntity,
    detail="epochs: Must be greater than or equal to 1 and less than or equal to 10000.",
    field="epochs",
)
NO_TRAINING_DATA = Problem(
    name="NoTrainingData",
    error=store.NoTrainingDataError,
    detail="model 'shop' has 0 row(s) of feedback that match, and no base data is used; send feedback first, or post "
    "data",
)
INVALID_POSTED_DATA = Problem(
    name="InvalidPostedData",
    error=errors.InvalidInputError,
    detail="must be a list of 2 numbers",
    field="inputs.3",
)
TRAINING_MEDIA_TYPE = Problem(
    name="TrainingMediaType",
    error=errors.UnsupportedMediaError,
    detail="send application/json, or application/x-safetensors with the tensors inputs and targets",
)
NO_MASK = Problem(
    name="NoMask",
    error=errors.NoMaskError,
    detail="prediction 0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c is queued; it has no mask yet",
)
UNKNOWN_ITEM = Problem(
    name="UnknownItem", error=store.UnknownItemError, detail="nothing is known of item '43' in catalog 'shop'"
)
UNKNOWN_INDEXED_ITEM = Problem(
    name="UnknownIndexedItem",
    error=store.UnknownItemError,
    detail="there is no item '43' of catalog 'shop' in this index",
)
NO_INDEX = Problem(
    name="NoIndex",
    error=errors.NoIndexError,
    detail="model 'fashion' keeps no items: its kind is classification; those of kind similarity do",
)
INVALID_ITEM_NAME = Problem(
    name="InvalidItemName",
    error=errors.InvalidInputError,
    detail="is longer than 255 characters",
    field="catalog",
)
PREDICTION_STATE = Problem(
    name="PredictionState",
    error=store.PredictionStateError,
    detail="prediction 0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c is succeeded already",
)
NOT_DEAD = Problem(
    name="NotDead",
    error=store.PredictionStateError,
    detail="prediction 0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c is succeeded: it is no dead letter",
)
IDEMPOTENCY_KEY_REUSED = Problem(
    name="IdempotencyKeyReused",
    error=store.IdempotencyConflictError,
    detail="the idempotency key 'order-7' was used for another request; use a new key for a new request",
)
TOO_LARGE = Problem(
    name="TooLarge",
    error=RequestEntityTooLarge,
    detail=RequestEntityTooLarge.description or "",
)
UNSUPPORTED_MEDIA_TYPE = Problem(
    name="UnsupportedMediaType",
    error=errors.UnsupportedMediaError,
    detail="model 'xor' takes application/json: {\"input\": [numbers]}",
)
INVALID_OPTION = Problem(
    name="InvalidOption",
    error=UnprocessableEntity,
    detail="priority: Must be one of: interactive, normal, bulk.",
    field="priority",
)
INVALID_SETTING = Problem(
    name="InvalidSetting",
    error=UnprocessableEntity,
    detail="placement: Must be one of: queue, inline.",
    field="placement",
)
MALFORMED_REQUEST = Problem(name="MalformedRequest", error=BadRequest, detail="the body is not JSON")
INVALID_PAGE = Problem(
    name="InvalidPage",
    error=UnprocessableEntity,
    detail="limit: Must be greater than or equal to 1 and less than or equal to 500.",
    field="limit",
)
INVALID_REDRIVE = Problem(
    name="InvalidRedrive",
    error=UnprocessableEntity,
    detail="limit: Must be greater than or equal to 1 and less than or equal to 1000.",
    field="limit",
)
INVALID_INPUT = Problem(
    name="InvalidInput", error=errors.InvalidInputError, detail="is no JPEG, PNG or WebP picture", field="input"
)
INVALID_MODEL_SETTINGS = Problem(
    name="InvalidModelSettings",
    error=store.ModelSettingsError,
    detail="answers of a similarity model change with its index and cannot be remembered; leave `cache` out",
)
UNKNOWN_BACKTEST = Problem(name="UnknownBacktest", error=store.UnknownBacktestError, detail="there is no backtest 7")
BACKTEST_STATE = Problem(name="BacktestState", error=store.BacktestStateError, detail="backtest 7 is succeeded already")
INVALID_BACKTEST = Problem(
    name="InvalidBacktest", error=UnprocessableEntity, detail="until: Must be later than `since`.", field="until"
)
NO_FEEDBACK = Problem(
    name="NoFeedback",
    error=store.NoFeedbackError,
    detail="model 'fashion' has no feedback in this span of time; send some with PUT /v1/predictions/{id}/feedback, "
    "or leave `since` and `until` out",
)
BACKTEST_KIND = Problem(
    name="BacktestKind",
    error=store.BacktestKindError,
    detail="answers of a similarity model are not right or wrong by a label alone; backtests are for classification "
    "and regression",
)
SAME_VERSION = Problem(
    name="SameVersion",
    error=store.SameVersionError,
    detail="version 3 of 'fashion' is the baseline itself; name another `baseline`",
)
INVALID_REASON = Problem(
    name="InvalidReason",
    error=UnprocessableEntity,
    detail="reason: Must be 1 to 1000 characters that say why.",
    field="reason",
)
VERSION_STATE = Problem(
    name="VersionState",
    error=store.VersionStateError,
    detail="version 3 of 'fashion' is archived and does not answer any more: worse than version 2",
)
NO_EARLIER_CHAMPION = Problem(
    name="NoEarlierChampion",
    error=store.NoEarlierChampionError,
    detail="model 'fashion' had no champion before this one that may answer; promote a version by its number",
)
KIND_MISMATCH = Problem(
    name="KindMismatch",
    error=store.KindMismatchError,
    detail="model 'fashion' is of kind classification, not regression; give this one another name",
)
INVALID_WEIGHTS = Problem(
    name="InvalidWeights",
    error=errors.InvalidInputError,
    detail="The weights are of another architecture: missing head.weight, unknown fc.weight. Check the model's arch.",
    field="weights",
)
INVALID_TRAFFIC = Problem(
    name="InvalidTraffic",
    error=store.TrafficError,
    detail="the shares of 'fashion' sum up to nothing; give its champion and another version more than 0",
    field="weights",
)
TRAFFIC_CONFLICT = Problem(
    name="TrafficConflict",
    error=store.TrafficConflictError,
    detail="version 4 of 'fashion' is archived; take one that may answer",
)
INVALID_SPLIT = Problem(
    name="InvalidSplit",
    error=UnprocessableEntity,
    detail="policy: Must be one of: none, fixed, learned.",
    field="policy",
)
INVALID_SINCE = Problem(
    name="InvalidSince", error=UnprocessableEntity, detail="since: Not a valid aware datetime.", field="since"
)
UNKNOWN_KEY = Problem(
    name="UnknownKey",
    error=store.UnknownKeyError,
    detail="there is no API key with the id '7hQ2mZx0Tb'; `torchqueue keys list` shows them",
)
KEY_STATE = Problem(
    name="KeyState",
    error=store.KeyStateError,
    detail="the API key '7hQ2mZx0Ta' is revoked; make another one",
)
INVALID_KEY_FIELDS = Problem(
    name="InvalidKeyFields",
    error=UnprocessableEntity,
    detail="max_queued: Must be greater than or equal to 1 and less than or equal to 2147483647.",
    field="max_queued",
)
UNKNOWN_WEBHOOK = Problem(
    name="UnknownWebhook",
    error=store.UnknownWebhookError,
    detail="there is no webhook endpoint 0199b1d0-9a31-7c44-8d0e-52b1f6a7c3d9; GET /v1/webhooks lists them",
)
UNKNOWN_DELIVERY = Problem(
    name="UnknownDelivery",
    error=store.UnknownDeliveryError,
    detail="there is no webhook delivery 0199b1d1-03be-7d12-b7a4-6f0c2f9e8a55; GET /v1/webhooks/{id}/deliveries lists "
    "them",
)
WEBHOOK_STATE = Problem(
    name="WebhookState",
    error=store.WebhookStateError,
    detail="webhook endpoint 0199b1d0-9a31-7c44-8d0e-52b1f6a7c3d9 is paused: the shop moves; resume it first",
)
WEBHOOK_LIMIT = Problem(
    name="WebhookLimit",
    error=store.WebhookLimitError,
    detail="a key may have 20 webhook endpoints; delete one that nobody needs",
)
INVALID_WEBHOOK = Problem(
    name="InvalidWebhook",
    error=UnprocessableEntity,
    detail="events.0: Must be one of: prediction.succeeded, prediction.failed, prediction.canceled, "
    "prediction.expired, training.succeeded, training.failed, training.canceled, version.promoted.",
    field="events.0",
)
INVALID_WEBHOOK_URL = Problem(
    name="InvalidWebhookUrl",
    error=store.WebhookUrlError,
    detail="must begin with http:// or https://",
    field="url",
)
WEBHOOKS_NOT_CONFIGURED = Problem(name="WebhooksNotConfigured", error=store.WebhookKeyError, detail="")
UNKNOWN_NAMED_WEBHOOK = Problem(
    name="UnknownNamedWebhook",
    error=errors.InvalidInputError,
    detail="your key has no webhook endpoint 0199b1d0-9a31-7c44-8d0e-52b1f6a7c3d9; POST /v1/webhooks makes one",
    field="webhook",
)
INTERNAL = Problem(name="Internal", error=Exception, detail="this is a fault of ours; it was logged")
DATABASE_UNAVAILABLE = Problem(name="DatabaseUnavailable", error=errors.DatabaseUnavailableError, detail="")
DATABASE_BUSY = Problem(name="DatabaseBusy", error=PoolTimeoutError, detail="")
OBJECTS_UNAVAILABLE = Problem(name="ObjectsUnavailable", error=store.ObjectsUnavailableError, detail="")
RATE_LIMITED = Problem(
    name="RateLimited",
    error=errors.RateLimitedError,
    detail="this key may send 600 requests a minute; wait until one more is allowed",
)
TOO_MANY_REQUESTS = Problem(
    name="TooManyRequests",
    error=errors.TooManyRequestsError,
    detail="this key may have 8 requests answered at once; wait for one to end",
)
KEY_QUEUE_FULL = Problem(
    name="KeyQueueFull",
    error=errors.KeyQueueFullError,
    detail="1000 predictions of this key wait, which is as many as may; come back when some are finished",
)
OVERLOADED = Problem(
    name="Overloaded",
    error=errors.OverloadedError,
    detail="a prediction of 'fashion' would wait 41 s for its turn, and its model lets one wait 30 s; come back later, "
    "or send it with priority=bulk",
)
DEADLINE_UNREACHABLE = Problem(
    name="DeadlineUnreachable",
    error=errors.DeadlineUnreachableError,
    detail="a prediction of 'fashion' would be finished in 4.2 s, after its deadline_ms of 1500; come back later, or "
    "give it more time",
)
QUEUE_FULL = Problem(
    name="QueueFull",
    error=errors.QueueFullError,
    detail="200000 predictions of this priority wait, which is as many as there is room for; come back later",
)
NO_WORKER = Problem(
    name="NoWorker",
    error=errors.NoWorkerError,
    detail="no worker lives that could answer with version 1 of 'fashion'; start one, GET /v1/workers lists them",
)
NOT_READY = Problem(name="NotReady", error=errors.NotReadyError, detail="the database does not answer")

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

#: What keeps a prediction from being accepted although there is nothing wrong with it.
OF_ADMISSION = (KEY_QUEUE_FULL, OVERLOADED, DEADLINE_UNREACHABLE, QUEUE_FULL, NO_WORKER)

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
