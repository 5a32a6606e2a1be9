"""Problems with backtests."""

from werkzeug.exceptions import UnprocessableEntity

from store import errors as store
from webapp.problems.problem import Problem

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
