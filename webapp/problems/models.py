"""Problems with models, their versions and their settings."""

from werkzeug.exceptions import UnprocessableEntity

from store import errors as store
from webapp import errors
from webapp.problems.problem import Problem

UNKNOWN_MODEL = Problem(
    name="UnknownModel", error=store.UnknownModelError, detail="there is no model 'fashon'; GET /v1/models lists them"
)
UNKNOWN_VERSION = Problem(
    name="UnknownVersion",
    error=store.UnknownVersionError,
    detail="model 'fashion' has no version 9; GET /v1/models/fashion/versions lists them",
)
INVALID_SETTING = Problem(
    name="InvalidSetting",
    error=UnprocessableEntity,
    detail="placement: Must be one of: queue, inline.",
    field="placement",
)
INVALID_MODEL_SETTINGS = Problem(
    name="InvalidModelSettings",
    error=store.ModelSettingsError,
    detail="answers of a similarity model change with its index and cannot be remembered; leave `cache` out",
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
