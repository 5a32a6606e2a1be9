"""Problems with how a model's traffic is split, and with what is read of it."""

from werkzeug.exceptions import UnprocessableEntity

from store import errors as store
from webapp.problems.problem import Problem

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
