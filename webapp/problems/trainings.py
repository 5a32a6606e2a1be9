"""Problems with trainings, and with the data that is posted for one."""

from werkzeug.exceptions import UnprocessableEntity

from store import errors as store
from webapp import errors
from webapp.problems.problem import Problem

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
