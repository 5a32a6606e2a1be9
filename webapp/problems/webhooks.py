"""Problems with webhook endpoints and their deliveries."""

from werkzeug.exceptions import UnprocessableEntity

from store import errors as store
from webapp import errors
from webapp.problems.problem import Problem

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
