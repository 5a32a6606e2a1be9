"""Who may ask, how often, and what is wrong with a request about keys."""

from werkzeug.exceptions import UnprocessableEntity

from store import errors as store
from webapp import errors
from webapp.problems.problem import Problem

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
