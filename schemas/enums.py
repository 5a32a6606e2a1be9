"""Closed sets of words that the API, the queue and the database share."""

from enum import StrEnum


class PredictionStatus(StrEnum):
    """Where a prediction is on its way; see `docs/architecture.md` for the edges."""

    QUEUED = "queued"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """Whether the status never changes again."""
        return self not in {PredictionStatus.QUEUED, PredictionStatus.PROCESSING}


class Priority(StrEnum):
    """How urgent a prediction is. A lower one still runs: waiting raises its rank."""

    INTERACTIVE = "interactive"
    NORMAL = "normal"
    BULK = "bulk"


class Placement(StrEnum):
    """Where a model computes."""

    QUEUE = "queue"
    INLINE = "inline"


class Durability(StrEnum):
    """When an inline answer goes out: after its row is committed, or before."""

    COMMITTED = "committed"
    RELAXED = "relaxed"


class TrafficPolicy(StrEnum):
    """How the version is chosen that answers a request which names none."""

    NONE = "none"
    """The champion answers."""

    FIXED = "fixed"
    """By given shares."""

    LEARNED = "learned"
    """By the probability that a version is the best one, as far as feedback tells."""


class StickyKey(StrEnum):
    """What makes two requests go to the same version of a split."""

    NONE = "none"
    ITEM = "item"
    API_KEY = "api_key"
    HEADER = "header"


class Verdict(StrEnum):
    """What real traffic says of a version, compared with the champion."""

    UNDECIDED = "undecided"
    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"


class IndexAction(StrEnum):
    """What becomes of an embedding that was computed for an index rather than for an answer."""

    PUT = "put"
    """The item is added, or takes this photo in place of its own."""

    REFRESH = "refresh"
    """The item is there already, and this version has no embedding of its photo yet."""


class Alias(StrEnum):
    """A name that a model gives to one of its versions."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"


class DecisionAction(StrEnum):
    """What was decided about a model, as `decisions` keeps it."""

    UPLOAD = "upload"
    PROMOTE = "promote"
    ROLLBACK = "rollback"

    CALL_OFF = "call_off"
    """A promotion was taken back, or overtaken by another, before its version answered."""

    LOAD_FAILED = "load_failed"
    """The workers could not load a version: its alias stayed or went back where it was."""

    CHALLENGE = "challenge"
    ARCHIVE = "archive"
    CONFIGURE = "configure"
    TRAFFIC = "traffic"

    STOP = "stop"
    """A split was ended by itself, since a version was clearly worse than the champion."""

    GATE = "gate"
    """The gate could not compare a trained version with the champion: nothing was changed."""

    DRIFT = "drift"
    """An alarm was raised: the answers are not what they were."""

    DRIFT_OVER = "drift_over"
    FORGET = "forget"


class DriftMeasure(StrEnum):
    """In what way answers are compared with those that are usual."""

    LABELS = "labels"
    SCORES = "scores"
    ACCURACY = "accuracy"
    ERROR = "error"


class Scope(StrEnum):
    """What an API key may do. `admin` includes all others."""

    PREDICT = "predict"
    FEEDBACK = "feedback"
    READ = "read"
    TRAIN = "train"

    METRICS = "metrics"
    """Metrics, from elsewhere than this machine."""

    ADMIN = "admin"


class AuditAction(StrEnum):
    """What was done, as `audit_log` keeps it."""

    CREATE_KEY = "create_key"
    UPDATE_KEY = "update_key"
    ROTATE_KEY = "rotate_key"
    REVOKE_KEY = "revoke_key"
    CONFIGURE_MODEL = "configure_model"
    UPLOAD_VERSION = "upload_version"
    PROMOTE_VERSION = "promote_version"
    ROLL_BACK_MODEL = "roll_back_model"
    SET_TRAFFIC = "set_traffic"
    DELETE_TRAFFIC = "delete_traffic"
    CREATE_TRAINING = "create_training"
    CANCEL_TRAINING = "cancel_training"
    CREATE_BACKTEST = "create_backtest"
    CANCEL_BACKTEST = "cancel_backtest"
    CANCEL_PREDICTION = "cancel_prediction"
    FORGET_ITEM = "forget_item"
    REMOVE_INDEXED_ITEM = "remove_indexed_item"
    REDRIVE = "redrive"
    CREATE_WEBHOOK = "create_webhook"
    UPDATE_WEBHOOK = "update_webhook"
    DELETE_WEBHOOK = "delete_webhook"
    ROTATE_WEBHOOK_SECRET = "rotate_webhook_secret"  # noqa: S105 - no secret
    PAUSE_WEBHOOK = "pause_webhook"
    RESUME_WEBHOOK = "resume_webhook"
    TEST_WEBHOOK = "test_webhook"
    REDELIVER_WEBHOOK = "redeliver_webhook"


class WorkerRole(StrEnum):
    """What a worker process consumes."""

    INFERENCE = "inference"
    TRAINING = "training"
    MAINTENANCE = "maintenance"
    DELIVERY = "delivery"
    """Sends webhooks to where strangers ask, and does nothing else."""

    FETCH = "fetch"
    """Asks strangers' servers for the pictures that requests name, and does nothing else."""


class WorkerState(StrEnum):
    """What a live worker is willing to do."""

    SERVING = "serving"
    DRAINING = "draining"
    """It was told to stop, finishes what it holds and takes no more."""

    QUARANTINED = "quarantined"
    """Its device failed again and again: it holds its place, so that somebody sees it, and takes nothing."""


class StopReason(StrEnum):
    """Why a worker's life ended, as `workers.stop_reason` keeps it."""

    DRAINED = "drained"
    DIED = "died"
    """The supervisor saw the process end."""

    LEASE_EXPIRED = "lease_expired"
    SELF_FENCED = "self_fenced"
    """It could not renew in time and began a new life; what it held was given back first."""

    DEVICE_LOST = "device_lost"
    """The device cannot be used from the process any more."""

    OUT_OF_MEMORY = "out_of_memory"
    """The process had no memory left for its own work."""

    HUNG = "hung"
    """The device did not come back from a batch."""

    STUCK = "stuck"
    """Rows waited beside an idle loop."""


class ErrorCode(StrEnum):
    """Why a prediction failed, as its `error.code` says."""

    INVALID_INPUT = "invalid_input"
    NON_FINITE = "non_finite"
    OUT_OF_MEMORY = "out_of_memory"
    INTERNAL = "internal"
    MODEL_UNAVAILABLE = "model_unavailable"
    INPUT_MISSING = "input_missing"
    FETCH_FAILED = "fetch_failed"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    WORKER_CRASH = "worker_crash"


class TrainingStatus(StrEnum):
    """Where a training is on its way; `processing` goes back to `queued` when its worker dies."""

    QUEUED = "queued"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_terminal(self) -> bool:
        """Whether the status never changes again."""
        return self not in {TrainingStatus.QUEUED, TrainingStatus.PROCESSING}


class TrainingTrigger(StrEnum):
    """What asked for a training."""

    API = "api"
    COMMAND = "command"
    SCHEDULE = "schedule"
    FEEDBACK = "feedback"
    DRIFT = "drift"


class TrainingStart(StrEnum):
    """What a training begins with."""

    SCRATCH = "scratch"
    """Fresh weights."""

    CHAMPION = "champion"
    """The weights of the version that answers."""


class FeedbackChoice(StrEnum):
    """Which feedback a training learns from."""

    ALL = "all"
    NEW = "new"
    """What came or was corrected since the last training of this model that succeeded."""

    NONE = "none"


class TrainingErrorCode(StrEnum):
    """Why a training failed, as its `error.code` says."""

    NO_DATA = "no_data"
    INVALID_DATA = "invalid_data"
    DIVERGED = "diverged"
    TIME_LIMIT = "time_limit"
    OUT_OF_MEMORY = "out_of_memory"
    WORKER_CRASH = "worker_crash"
    INTERNAL = "internal"


class DecodePlace(StrEnum):
    """Where the pictures that strangers send are decoded; the values of `TORCHQUEUE_DECODE`."""

    SANDBOX = "sandbox"
    """In processes of their own, which may die of a file."""

    THREADS = "threads"
    """In the process that computes."""


class BalancerPolicy(StrEnum):
    """How the worker is chosen that is rung; the values of `TORCHQUEUE_BALANCER`."""

    LEARNED = "learned"
    ROUND_ROBIN = "round-robin"
    RANDOM = "random"


class GatePolicy(StrEnum):
    """What becomes of a candidate that proved better than the champion."""

    MANUAL = "manual"
    """It becomes the challenger; a person, or a comparison under traffic, promotes it."""

    AUTO = "auto"
    """It becomes the champion at once."""


class GateOutcome(StrEnum):
    """What the gate did with a candidate."""

    PROMOTED = "promoted"
    CHALLENGER = "challenger"
    ARCHIVED = "archived"
    UNDECIDED = "undecided"
    """Nothing could be compared, so nothing was changed; the reason says what was missing."""


class BacktestStatus(StrEnum):
    """Where a backtest is on its way."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"

    @property
    def is_terminal(self) -> bool:
        """Whether the status never changes again."""
        return self is not BacktestStatus.RUNNING


class WebhookEvent(StrEnum):
    """What a webhook endpoint may subscribe to."""

    PREDICTION_SUCCEEDED = "prediction.succeeded"
    PREDICTION_FAILED = "prediction.failed"
    PREDICTION_CANCELED = "prediction.canceled"
    PREDICTION_EXPIRED = "prediction.expired"
    TRAINING_SUCCEEDED = "training.succeeded"
    TRAINING_FAILED = "training.failed"
    TRAINING_CANCELED = "training.canceled"
    VERSION_PROMOTED = "version.promoted"

    @property
    def is_own(self) -> bool:
        """Whether it tells of what one key asked for; the others tell of models, which all keys share."""
        return self.startswith("prediction.")


#: The event of a delivery that was asked for to try an endpoint; nobody subscribes to it.
TEST_EVENT = "webhook.test"


class WebhookState(StrEnum):
    """Whether a webhook endpoint is sent to."""

    ENABLED = "enabled"

    PAUSED = "paused"
    """What happens is still written down, and sent once it is resumed."""


class DeliveryState(StrEnum):
    """Where a webhook delivery is on its way."""

    PENDING = "pending"
    """It waits for its next attempt."""

    SENDING = "sending"

    DELIVERED = "delivered"
    """The endpoint answered with a status of 200 to 299."""

    DEAD = "dead"
    """Every attempt failed; it is sent again only when somebody asks."""

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more is sent unless somebody asks."""
        return self in {DeliveryState.DELIVERED, DeliveryState.DEAD}
