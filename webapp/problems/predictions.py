"""Problems with predictions: what is sent, and the state that one is in."""

from werkzeug.exceptions import UnprocessableEntity

from store import errors as store
from webapp import errors
from webapp.problems.problem import Problem

UNKNOWN_PREDICTION = Problem(
    name="UnknownPrediction",
    error=store.UnknownPredictionError,
    detail="there is no prediction 0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c",
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
INVALID_OPTION = Problem(
    name="InvalidOption",
    error=UnprocessableEntity,
    detail="priority: Must be one of: interactive, normal, bulk.",
    field="priority",
)
INVALID_INPUT = Problem(
    name="InvalidInput", error=errors.InvalidInputError, detail="is no JPEG, PNG or WebP picture", field="input"
)
INVALID_REDRIVE = Problem(
    name="InvalidRedrive",
    error=UnprocessableEntity,
    detail="limit: Must be greater than or equal to 1 and less than or equal to 1000.",
    field="limit",
)
NO_MASK = Problem(
    name="NoMask",
    error=errors.NoMaskError,
    detail="prediction 0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c is queued; it has no mask yet",
)
