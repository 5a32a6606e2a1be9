"""Probes for load balancers, and metrics for Prometheus."""

from typing import Any

import redis
from flask import Response, make_response, request
from flask.views import MethodView
from flask_smorest import Blueprint
from sqlalchemy.exc import SQLAlchemyError

from schemas import status as schemas
from schemas.enums import WorkerRole
from store.database import open_session
from store.workers import live_workers
from webapp.errors import ForbiddenAddressError, NotReadyError
from webapp.metrics import METRICS_CONTENT_TYPE, render_metrics
from webapp.openapi import problems
from webapp.services import services

blp = Blueprint("health", __name__, description="Probes and metrics; these need no key.")

LOOPBACK = ("127.0.0.1", "::1")

NO_KEY: dict[str, Any] = {"security": []}


@blp.route("/health/live")
class LiveViews(MethodView):
    """Whether the process answers."""

    @blp.doc(operationId="get_live", **NO_KEY)
    @blp.response(200, schemas.LiveSchema, example={"status": "live"})
    def get(self) -> dict[str, Any]:
        """Tell that this process answers."""
        return {"status": "live"}


@blp.route("/health/ready")
class ReadyViews(MethodView):
    """Whether requests would be accepted."""

    @problems(blp, 503)
    @blp.doc(operationId="get_ready", **NO_KEY)
    @blp.response(200, schemas.ReadySchema, example=schemas.READY_EXAMPLE)
    def get(self) -> dict[str, Any]:
        """Tell whether requests would be accepted.

        Needs Postgres. Without Valkey requests are answered slower; without a worker they wait.
        """
        return {"status": "ready", "checks": {"postgres": "ok", "valkey": _valkey(), "workers": _workers()}}


@blp.route("/metrics")
class MetricsViews(MethodView):
    """Metrics."""

    @problems(blp, 403, 503)
    @blp.doc(operationId="get_metrics", **NO_KEY)
    @blp.response(200, {"type": "string"}, content_type=METRICS_CONTENT_TYPE, description="Prometheus text format.")
    def get(self) -> Response:
        """Read metrics in Prometheus' text format; only from loopback unless configured otherwise."""
        if not services().settings.metrics_public and request.remote_addr not in LOOPBACK:
            raise ForbiddenAddressError("metrics answer on loopback only; TORCHQUEUE_METRICS_PUBLIC=1 opens them")
        response = make_response(render_metrics(services().database))
        response.content_type = METRICS_CONTENT_TYPE
        return response


def _workers() -> int:
    try:
        with open_session(services().database) as session:
            return sum(worker.role == WorkerRole.INFERENCE for worker in live_workers(session))
    except SQLAlchemyError as error:
        raise NotReadyError("the database does not answer") from error


def _valkey() -> str:
    try:
        services().redis.ping()
    except redis.RedisError:
        return "away"
    return "ok"
