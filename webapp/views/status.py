"""Live figures: what finished, what waits, who works."""

from typing import Any

from flask.views import MethodView

from schemas import status as schemas
from schemas.enums import Scope, WorkerState
from store.database import open_session
from store.stats import WINDOW_S, model_stats, queue_depths
from store.tables.worker import Worker
from store.workers import live_workers
from webapp.auth import require
from webapp.blueprint import Blueprint
from webapp.problems.documented import problems
from webapp.services import services

blp = Blueprint("status", __name__, url_prefix="/v1", description="Live figures, from Postgres and the workers.")


@blp.route("/stats")
class StatsViews(MethodView):
    """Statistics."""

    @problems()
    @blp.doc(operationId="get_stats")
    @require(Scope.READ)
    @blp.response(200, schemas.StatsSchema, description="The last minute.", example=schemas.STATS_EXAMPLE)
    def get(self) -> dict[str, Any]:
        """Count what finished lately.

        By version: the predictions that ended in the last minute, and how long they took from acceptance on, right
        to 2 %.
        """
        with services().database.connect() as connection:
            return {"window_s": WINDOW_S, "models": model_stats(connection)}


@blp.route("/queues")
class QueueViews(MethodView):
    """Queues."""

    @problems()
    @blp.doc(operationId="list_queues")
    @require(Scope.READ)
    @blp.response(
        200, schemas.QueueListSchema, description="All open predictions, counted.", example=schemas.QUEUES_EXAMPLE
    )
    def get(self) -> dict[str, Any]:
        """List what waits and what runs.

        By version and priority, of all keys.
        """
        with services().database.connect() as connection:
            return {"data": queue_depths(connection)}


@blp.route("/workers")
class WorkerViews(MethodView):
    """Workers."""

    @problems()
    @blp.doc(operationId="list_workers")
    @require(Scope.READ)
    @blp.response(200, schemas.WorkerListSchema, description="All live workers.", example=schemas.WORKERS_EXAMPLE)
    def get(self) -> dict[str, Any]:
        """List the workers.

        Those that are alive, each with its device and what it has loaded.
        """
        with open_session(services().database) as session:
            return {"data": [_present(worker) for worker in live_workers(session)]}


def _present(worker: Worker) -> dict[str, Any]:
    columns = {column.key: getattr(worker, column.key) for column in Worker.__table__.columns}
    return columns | {"state": WorkerState(worker.state)}
