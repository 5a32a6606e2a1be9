"""Everything that `store` raises on purpose."""


class StoreError(Exception):
    """Base of all errors of this package."""


class SettingsError(StoreError):
    """Raised when an environment variable is missing or malformed; the message names it."""


class UnknownModelError(StoreError):
    """Raised when no model has the given name, or it has no version that could answer."""


class ModelSettingsError(StoreError):
    """Raised when a model of its kind cannot be served as its settings ask."""


class UnknownVersionError(StoreError):
    """Raised when a model exists but not the asked version of it."""


class VersionStateError(StoreError):
    """Raised when a version that failed or was archived is to answer; the message says why it may not."""


class NoEarlierChampionError(StoreError):
    """Raised when a model is to go back to the champion before this one, and there was none."""


class TrafficError(StoreError):
    """Raised when traffic is to be split in a way that makes no sense; names the part of the plan at fault."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


class TrafficConflictError(StoreError):
    """Raised when a model, or a version of it, cannot take part in a split as it stands."""


class KindMismatchError(StoreError):
    """Raised when a version of one kind is to be registered under the name of a model of another."""


class UnknownPredictionError(StoreError):
    """Raised when no prediction of the caller has the given id."""


class UnknownFeedbackError(StoreError):
    """Raised when nobody has sent feedback on a prediction of the caller."""


class InvalidLabelError(StoreError):
    """Raised when a label is none that the prediction's version could have answered with."""

    field = "label"


class UnknownItemError(StoreError):
    """Raised when nothing was ever stored for a catalog and external id."""


class UnknownKeyError(StoreError):
    """Raised when no API key has the given id."""


class KeyStateError(StoreError):
    """Raised when a revoked API key is to be given another secret."""


class InvalidKeyError(StoreError):
    """Raised when an API key is malformed, unknown, revoked or expired."""


class IdempotencyConflictError(StoreError):
    """Raised when an idempotency key comes back with another request body."""


class PredictionStateError(StoreError):
    """Raised when a prediction is already in a terminal state that forbids the change."""


class ObjectMissingError(StoreError):
    """Raised when the object store has nothing under a SHA-256, or something that does not match it."""


class ObjectsUnavailableError(StoreError):
    """Raised when the object store does not answer; the same request may succeed later."""


class SchemaVersionError(StoreError):
    """Raised when the database was migrated by newer code than this."""


class UnknownTrainingError(StoreError):
    """Raised when no training has the given id."""


class TrainingRunningError(StoreError):
    """Raised when a model is to be trained while a training of it is queued or running."""


class TrainingStateError(StoreError):
    """Raised when a training is already in a terminal state that forbids the change."""


class NoTrainingDataError(StoreError):
    """Raised when there is nothing to train on, or nothing to tell apart."""


class TrainingOptionError(StoreError):
    """Raised when a model cannot be trained as the options ask; names the option."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


class StaleClaimError(StoreError):
    """Raised when work is to be stored under a claim that moved on: cancelled, or another worker's by now."""


class UnknownBacktestError(StoreError):
    """Raised when no backtest of the caller has the given id."""


class NoFeedbackError(StoreError):
    """Raised when there is no feedback to replay requests by."""


class BacktestKindError(StoreError):
    """Raised when the answers of a kind of model are not right or wrong by a label alone."""


class SameVersionError(StoreError):
    """Raised when a version is to be compared with itself."""


class BacktestStateError(StoreError):
    """Raised when a backtest is over and can no longer be cancelled."""


class UnknownWebhookError(StoreError):
    """Raised when no webhook endpoint of the caller has the given id."""


class UnknownDeliveryError(StoreError):
    """Raised when no webhook delivery of the caller has the given id."""


class WebhookStateError(StoreError):
    """Raised when a webhook endpoint or delivery is in a state that forbids what is asked."""


class WebhookLimitError(StoreError):
    """Raised when a key would have more webhook endpoints than one may."""


class WebhookUrlError(StoreError):
    """Raised when a URL is none that webhooks may be sent to."""

    field = "url"


class WebhookKeyError(StoreError):
    """Raised when the key that encrypts webhook secrets is missing, malformed, or another than they were made with."""


class OutwardError(StoreError):
    """Raised when a request to where somebody else pointed got no usable answer. The message may be shown to them."""


class UrlRefusedError(OutwardError):
    """Raised when a URL is none, or leads where nobody outside may send us; asking again changes nothing."""


class HostUnavailableError(OutwardError):
    """Raised when a host does not answer, or not in time; it may do so later."""


class AnswerRefusedError(OutwardError):
    """Raised when a host answers with too much, with too many redirects, or in an encoding that is not read."""
