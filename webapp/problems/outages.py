"""What is not the caller's fault: something that we need is away, or we made a mistake."""

from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from store import errors as store
from webapp import errors
from webapp.problems.problem import Problem

INTERNAL = Problem(name="Internal", error=Exception, detail="this is a fault of ours; it was logged")
DATABASE_UNAVAILABLE = Problem(name="DatabaseUnavailable", error=errors.DatabaseUnavailableError, detail="")
DATABASE_BUSY = Problem(name="DatabaseBusy", error=PoolTimeoutError, detail="")
OBJECTS_UNAVAILABLE = Problem(name="ObjectsUnavailable", error=store.ObjectsUnavailableError, detail="")
NOT_READY = Problem(name="NotReady", error=errors.NotReadyError, detail="the database does not answer")
