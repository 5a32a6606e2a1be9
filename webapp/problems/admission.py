"""What keeps a prediction from being accepted although there is nothing wrong with it."""

from webapp import errors
from webapp.problems.problem import Problem

KEY_QUEUE_FULL = Problem(
    name="KeyQueueFull",
    error=errors.KeyQueueFullError,
    detail="1000 predictions of this key wait, which is as many as may; come back when some are finished",
)
OVERLOADED = Problem(
    name="Overloaded",
    error=errors.OverloadedError,
    detail="a prediction of 'fashion' would wait 41 s for its turn, and its model lets one wait 30 s; come back later, "
    "or send it with priority=bulk",
)
DEADLINE_UNREACHABLE = Problem(
    name="DeadlineUnreachable",
    error=errors.DeadlineUnreachableError,
    detail="a prediction of 'fashion' would be finished in 4.2 s, after its deadline_ms of 1500; come back later, or "
    "give it more time",
)
QUEUE_FULL = Problem(
    name="QueueFull",
    error=errors.QueueFullError,
    detail="200000 predictions of this priority wait, which is as many as there is room for; come back later",
)
NO_WORKER = Problem(
    name="NoWorker",
    error=errors.NoWorkerError,
    detail="no worker lives that could answer with version 1 of 'fashion'; start one, GET /v1/workers lists them",
)

#: All of them.
OF_ADMISSION = (KEY_QUEUE_FULL, OVERLOADED, DEADLINE_UNREACHABLE, QUEUE_FULL, NO_WORKER)
