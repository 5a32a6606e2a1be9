"""Probes for load balancers, and metrics for Prometheus."""

from typing import Any

import redis
from flask import Response, make_response, request
from flask.views import MethodView
from sqlalchemy.exc import SQLAlchemyError

from schemas import status as schemas
from schemas.enums import Scope, WorkerRole
from store.database import open_session
from store.workers import serving_workers
from webapp.auth import authenticate, read_key
from webapp.blueprint import Blueprint
from webapp.errors import ForbiddenAddressError, NotReadyError
from webapp.metrics import METRICS_CONTENT_TYPE, render_metrics
from webapp.problems.documented import problems
from webapp.problems.keys import INVALID_KEY, LOOPBACK_ONLY, MISSING_KEY, SCOPE_TOO_SMALL
from webapp.problems.outages import DATABASE_BUSY, DATABASE_UNAVAILABLE, NOT_READY
from webapp.services import services

blp = Blueprint("health", __name__, description="Probes and metrics; these need no key.")

LOOPBACK = ("127.0.0.1", "::1")

#: What proxies add.
FORWARDED_HEADERS = ("X-Forwarded-For", "Forwarded", "X-Real-Ip")

METRICS_EXAMPLE = """\
# HELP torchqueue_predictions_open Predictions that wait or run.
# TYPE torchqueue_predictions_open gauge
torchqueue_predictions_open{model="fashion",version="1",priority="normal",state="queued"} 3.0
"""


@blp.route("/health/live")
class LiveViews(MethodView):
    """Whether the process answers."""

    @problems()
    @blp.doc(operationId="get_live")
    @blp.response(200, schemas.LiveSchema, description="It answers.", example=schemas.LIVE_EXAMPLE)
    def get(self) -> dict[str, Any]:
        """Tell that this process answers.

        Looks at nothing else: a process that answers need not be restarted.
        """
        return {"status": "live"}


@blp.route("/health/ready")
class ReadyViews(MethodView):
    """Whether requests would be accepted."""

    @problems(NOT_READY)
    @blp.doc(operationId="get_ready")
    @blp.response(200, schemas.ReadySchema, description="They would.", example=schemas.READY_EXAMPLE)
    def get(self) -> dict[str, Any]:
        """Tell whether requests would be accepted.

        Needs Postgres. Without Valkey requests are answered slower; without a worker they wait. A process that was told
        to stop says so here first, and goes on answering for a while.
        """
        if services().draining.is_on():
            raise NotReadyError("this process is about to end; it answers until then, but send new requests elsewhere")
        return {"status": "ready", "checks": {"postgres": "ok", "valkey": _valkey(), "workers": _workers()}}


@blp.route("/metrics")
class MetricsViews(MethodView):
    """Metrics."""

    @problems(MISSING_KEY, INVALID_KEY, SCOPE_TOO_SMALL, LOOPBACK_ONLY, DATABASE_UNAVAILABLE, DATABASE_BUSY)
    @blp.doc(operationId="get_metrics")
    # The version of the format, which stands in the answer's content type, is the library's own.
    @blp.response(
        200, {"type": "string"}, content_type="text/plain", description="All metrics.", example=METRICS_EXAMPLE
    )
    def get(self) -> Response:
        """Read metrics in Prometheus' text format.

        Answers on loopback without a key, unless `TORCHQUEUE_METRICS_PUBLIC` opens it to all. From elsewhere, and
        through a proxy, it takes a key with the scope `metrics`.
        """
        _check_metrics_caller()
        response = make_response(render_metrics(services().database))
        response.content_type = METRICS_CONTENT_TYPE
        return response


def _check_metrics_caller() -> None:
    """Let in whoever is on this machine, or holds a key for it.

    What a proxy on this machine hands on comes from loopback too; it tells by a header that it is not from here.
    """
    is_local = request.remote_addr in LOOPBACK and not any(name in request.headers for name in FORWARDED_HEADERS)
    if services().settings.metrics_public or is_local:
        return
    header = request.headers.get("Authorization", "")
    if not header:
        raise ForbiddenAddressError(
            "metrics answer on loopback only; send a key with the scope 'metrics', or TORCHQUEUE_METRICS_PUBLIC=1 "
            "opens them"
        )
    authenticate(services().keys, read_key(header), Scope.METRICS)


def _workers() -> int:
    if services().watch.is_open():
        raise NotReadyError("the database does not answer")
    try:
        with open_session(services().database) as session:
            return len(serving_workers(session, WorkerRole.INFERENCE))
    except SQLAlchemyError as error:
        raise NotReadyError("the database does not answer") from error


def _valkey() -> str:
    try:
        services().redis.ping()
    except redis.RedisError:
        return "away"
    return "ok"
