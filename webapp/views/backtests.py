"""Backtests: stored requests with feedback, replayed on two versions."""

from dataclasses import asdict
from typing import Any

from flask import Response, make_response, url_for
from flask.views import MethodView
from sqlalchemy.orm import Session

from schemas import backtests as schemas
from schemas.enums import AuditAction, BacktestStatus, Scope
from store import backtests
from store.backtests import Span
from store.database import open_session
from store.models import get_model, resolve
from store.replies import publish
from store.tables.backtest import Backtest, BacktestItem
from webapp.audit import audit
from webapp.auth import caller_session, principal, require, visible_to
from webapp.blueprint import Blueprint
from webapp.openapi import BACKTEST_HEADERS
from webapp.presenters import present_gain
from webapp.problems.backtests import (
    BACKTEST_KIND,
    BACKTEST_STATE,
    INVALID_BACKTEST,
    NO_FEEDBACK,
    SAME_VERSION,
    UNKNOWN_BACKTEST,
)
from webapp.problems.documented import problems
from webapp.problems.models import UNKNOWN_MODEL, UNKNOWN_VERSION
from webapp.problems.requests import INVALID_PAGE, MALFORMED_REQUEST, UNKNOWN_PATH
from webapp.responses import RETRY_AFTER_S
from webapp.services import services

blp = Blueprint(
    "backtests", __name__, url_prefix="/v1", description="Try a version on requests whose right answers are known."
)


@blp.route("/models/<string:model>/backtests")
class BacktestViews(MethodView):
    """All backtests of a model."""

    @problems(UNKNOWN_MODEL, INVALID_PAGE)
    @blp.doc(operationId="list_backtests")
    @require(Scope.READ)
    @blp.arguments(schemas.BacktestPageQueryArgsSchema(), location="query")
    @blp.response(
        200,
        schemas.BacktestPageSchema,
        description="A page.",
        example={"data": [schemas.EXAMPLE], "next_cursor": None},
    )
    def get(self, query: dict[str, Any], model: str) -> dict[str, Any]:
        """List a model's backtests.

        Newest first, those of your key; an admin sees all.
        """
        limit = query["limit"]
        with caller_session() as session:
            found = backtests.list_backtests(
                session,
                model=get_model(session, model),
                api_key_id=visible_to(),
                before=query["cursor"],
                limit=limit,
            )
            data = [_present(session, each) for each in found]
        return {"data": data, "next_cursor": str(found[-1].id) if len(found) == limit else None}

    @problems(
        MALFORMED_REQUEST, UNKNOWN_MODEL, UNKNOWN_VERSION, INVALID_BACKTEST, NO_FEEDBACK, SAME_VERSION, BACKTEST_KIND
    )
    @blp.doc(operationId="create_backtest")
    @require(Scope.TRAIN)
    @blp.arguments(schemas.BacktestRequestSchema, example=schemas.REQUEST_EXAMPLE)
    @blp.response(
        202,
        schemas.BacktestSchema,
        description="It runs.",
        example=schemas.RUNNING_EXAMPLE,
        headers=BACKTEST_HEADERS,
    )
    def post(self, wanted: dict[str, Any], model: str) -> Response:
        """Replay stored requests on a version.

        Takes the newest requests that have feedback, yours or, for an admin, everybody's, but for those that either
        version has learned from, itself or through the versions that it went on from. Asks the version and the
        baseline both again, at bulk priority through the ordinary queue: whatever is urgent goes first.
        """
        span = Span(since=wanted["since"], until=wanted["until"], limit=wanted["limit"])
        with open_session(services().database) as session:
            backtest = backtests.start_backtest(
                session,
                api_key_id=principal().api_key_id,
                sees=visible_to(),
                candidate=resolve(session, model, wanted["version"]),
                baseline=resolve(session, model, wanted["baseline"]),
                span=span,
            )
            session.refresh(backtest)
            body = _present(session, backtest)
            audit(session, AuditAction.CREATE_BACKTEST, f"backtests/{backtest.id}")
        response = make_response(schemas.BacktestSchema().dump(body), 202)
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
        response.headers["Location"] = url_for("backtests.BacktestByIdViews", backtest_id=backtest.id)
        return response


@blp.route("/backtests/<int:backtest_id>")
class BacktestByIdViews(MethodView):
    """One backtest."""

    @problems(UNKNOWN_BACKTEST, UNKNOWN_PATH)
    @blp.doc(operationId="get_backtest")
    @require(Scope.READ)
    @blp.response(200, schemas.BacktestSchema, description="The backtest.", example=schemas.EXAMPLE)
    def get(self, backtest_id: int) -> dict[str, Any]:
        """Read a backtest.

        Tells how far it is and what it says so far: the difference of the metric with its interval, how many requests
        the two versions answered differently, and what a request takes on each, with the interval of the difference.
        """
        with caller_session() as session:
            return _present(session, _find(session, backtest_id))


@blp.route("/backtests/<int:backtest_id>/disagreements")
class BacktestDisagreementViews(MethodView):
    """Where the two versions of a backtest disagree."""

    @problems(UNKNOWN_BACKTEST, UNKNOWN_PATH, INVALID_PAGE)
    @blp.doc(operationId="list_backtest_disagreements")
    @require(Scope.READ)
    @blp.arguments(schemas.BacktestPageQueryArgsSchema(), location="query")
    @blp.response(200, schemas.DisagreementPageSchema, description="A page.", example=schemas.DISAGREEMENTS_EXAMPLE)
    def get(self, query: dict[str, Any], backtest_id: int) -> dict[str, Any]:
        """List what the versions of a backtest answered differently.

        Newest requests first. Numbers count as different where they are more than 5 % apart.
        """
        limit = query["limit"]
        with caller_session() as session:
            rows = backtests.list_disagreements(
                session, _find(session, backtest_id), after=query["cursor"], limit=limit
            )
        return {
            "data": [_disagreement(row) for row in rows],
            "next_cursor": str(rows[-1].position) if len(rows) == limit else None,
        }


@blp.route("/backtests/<int:backtest_id>/cancel")
class BacktestCancelViews(MethodView):
    """Cancelling one backtest."""

    @problems(UNKNOWN_BACKTEST, UNKNOWN_PATH, BACKTEST_STATE)
    @blp.doc(operationId="cancel_backtest")
    @require(Scope.TRAIN)
    @blp.response(200, schemas.BacktestSchema, description="The cancelled backtest.", example=schemas.CANCELED_EXAMPLE)
    def post(self, backtest_id: int) -> dict[str, Any]:
        """Cancel a backtest.

        Nothing more is replayed, and what waits is cancelled. What was compared so far stays. Cancelling twice is fine.
        """
        with open_session(services().database) as session:
            backtest = _find(session, backtest_id)
            ended = backtests.cancel_backtest(session, backtest)
            audit(session, AuditAction.CANCEL_BACKTEST, f"backtests/{backtest_id}")
            body = _present(session, backtest)
        publish(services().redis, ended)
        return body


def _find(session: Session, backtest_id: int) -> Backtest:
    return backtests.get_backtest(session, backtest_id, api_key_id=visible_to())


def _present(session: Session, backtest: Backtest) -> dict[str, Any]:
    model, kind, version, baseline = backtests.version_numbers(session, backtest)
    report = backtests.report(session, backtest, kind)
    skipped = sum(report.skipped.values())
    return {
        "id": backtest.id,
        "model": model,
        "version": version,
        "baseline": baseline,
        "status": BacktestStatus(backtest.status),
        "progress": {
            "requests": backtest.requests,
            "compared": report.compared,
            "skipped": skipped,
            "share": (report.compared + skipped) / backtest.requests,
        },
        "skipped": report.skipped,
        "metric": report.metric,
        "difference": None if report.gain is None else present_gain(report.gain),
        "disagreements": report.disagreements,
        "latency_ms": None if report.latency_ms is None else asdict(report.latency_ms),
        "created_at": backtest.created_at,
        "finished_at": backtest.finished_at,
    }


def _disagreement(row: BacktestItem) -> dict[str, Any]:
    assert row.candidate_score is not None, "only what was compared can disagree"
    assert row.baseline_score is not None, "only what was compared can disagree"
    better = None
    if row.candidate_score != row.baseline_score:
        better = "candidate" if row.candidate_score > row.baseline_score else "baseline"
    return {
        "prediction_id": row.source_id,
        "label": row.label,
        "candidate": row.candidate_answer,
        "baseline": row.baseline_answer,
        "better": better,
    }
