"""Problems with feedback, one by one and as a file."""

from werkzeug.exceptions import UnprocessableEntity

from store import errors as store
from webapp import errors
from webapp.problems.problem import Problem

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
