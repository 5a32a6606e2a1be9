"""`tasks.backtesting`: stored requests are replayed, settled and added up."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine as Database
from sqlalchemy import select, text
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from schemas.enums import BacktestStatus, ErrorCode
from store import ledger
from store.backtests import Report, Span, cancel_backtest, get_backtest, list_disagreements, report, start_backtest
from store.database import open_session
from store.errors import BacktestStateError, NoFeedbackError
from store.ledger_rows import Claim
from store.models import ServedVersion, resolve
from store.tables.backtest import BacktestItem
from store.tables.prediction import Prediction
from tasks import backtesting
from tasks.backtesting import advance_backtests
from tests.factories import TENANT, VECTOR_CONFIG, Rows, add_model, failure, give_feedback, success


@pytest.fixture
def candidate(database: Database, committed: Rows) -> ServedVersion:  # noqa: ARG001 - removes it
    """A second version of `xor`, which the champion is compared with."""
    with open_session(database) as session:
        add_model(session, "xor", number=2)
        return resolve(session, "xor", 2)


@pytest.fixture
def labelled(committed: Rows) -> list[UUID]:
    """Four answered requests whose right answer is 1."""
    return answer_and_label(committed, 4)


def test_both_versions_are_asked_again_at_bulk_priority(
    database: Database, committed: Rows, candidate: ServedVersion, labelled: list[UUID]
) -> None:
    backtest_id = start(database, candidate, committed.version)

    assert advance_backtests(database)

    replayed = replays(database, backtest_id)
    assert sorted(each.model_version_id for each in replayed) == sorted(
        [candidate.model_version_id, committed.version.model_version_id] * 4
    )
    assert {(each.priority, str(each.input)) for each in replayed} == {("bulk", "[0.0, 1.0]")}
    assert len(labelled) == 4


def test_what_was_answered_is_compared(
    database: Database, committed: Rows, candidate: ServedVersion, labelled: list[UUID]
) -> None:
    backtest_id = start(database, candidate, committed.version)

    finish(database, committed, {candidate.model_version_id: "1", committed.version.model_version_id: "0"})

    with open_session(database) as session:
        found = summary(session, backtest_id)
        assert found.gain is not None
        assert (found.compared, found.gain.candidate, found.gain.baseline) == (4, 1.0, 0.0)
        assert found.gain.low > 0
        assert (found.disagreements, found.skipped) == (4, {})
        assert found.latency_ms is not None
        assert (found.latency_ms.candidate, found.latency_ms.baseline) == (3.0, 3.0)
        assert (found.latency_ms.low, found.latency_ms.high) == (None, None)
        assert get_backtest(session, backtest_id, api_key_id=None).status == BacktestStatus.SUCCEEDED
    assert len(labelled) == 4


def test_the_difference_in_latency_has_an_interval(
    database: Database, committed: Rows, candidate: ServedVersion
) -> None:
    with open_session(database) as session:
        # Batches as short as the candidate's, for which few requests are enough.
        add_model(session, "xor", number=3)
        baseline = resolve(session, "xor", 3)
    answer_and_label(committed, 4 * VECTOR_CONFIG["max_batch"])
    backtest_id = start(database, candidate, baseline)
    finish(database, committed, {}, slower_ms={candidate.model_version_id: 2.0})

    with open_session(database) as session:
        found = summary(session, backtest_id).latency_ms

    assert found is not None
    assert (found.difference, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))


@pytest.mark.parametrize("learner", ["candidate", "baseline"])
def test_what_a_version_has_learned_from_is_not_replayed(
    database: Database, committed: Rows, candidate: ServedVersion, labelled: list[UUID], learner: str
) -> None:
    version = candidate if learner == "candidate" else committed.version
    learn(committed, version, labelled[:3])

    backtest_id = start(database, candidate, committed.version, limit=2)

    advance_backtests(database)
    with open_session(database) as session:
        chosen = session.scalars(select(BacktestItem.source_id).where(BacktestItem.backtest_id == backtest_id)).all()
    assert chosen == labelled[3:]


def test_where_all_was_learned_from_nothing_is_replayed(
    database: Database, committed: Rows, candidate: ServedVersion, labelled: list[UUID]
) -> None:
    learn(committed, candidate, labelled)

    with pytest.raises(NoFeedbackError, match="neither version has learned from"):
        start(database, candidate, committed.version)


def test_disagreements_are_paged(
    database: Database, committed: Rows, candidate: ServedVersion, labelled: list[UUID]
) -> None:
    backtest_id = start(database, candidate, committed.version)
    finish(database, committed, {candidate.model_version_id: "1", committed.version.model_version_id: "0"})

    with open_session(database) as session:
        backtest = get_backtest(session, backtest_id, api_key_id=None)
        first = list_disagreements(session, backtest, after=None, limit=3)
        rest = list_disagreements(session, backtest, after=first[-1].position, limit=3)

    assert sorted(each.source_id for each in [*first, *rest]) == sorted(labelled)


def test_a_request_that_was_forgotten_is_counted_and_skipped(
    database: Database, committed: Rows, candidate: ServedVersion, labelled: list[UUID]
) -> None:
    committed.connection.execute(text("UPDATE predictions SET input = NULL WHERE id = :id"), {"id": labelled[0]})
    backtest_id = start(database, candidate, committed.version)

    finish(database, committed, {})

    with open_session(database) as session:
        found = summary(session, backtest_id)
        assert (found.compared, found.skipped) == (3, {"request_gone": 1})


def test_a_replay_that_failed_is_counted_by_why(
    database: Database, committed: Rows, candidate: ServedVersion, labelled: list[UUID]
) -> None:
    backtest_id = start(database, candidate, committed.version)
    advance_backtests(database)
    for claim in claim_all(committed):
        ledger.complete(committed.connection, [failure(claim, ErrorCode.INPUT_MISSING)])

    finish(database, committed, {})

    with open_session(database) as session:
        found = summary(session, backtest_id)
        assert (found.compared, found.gain, found.skipped) == (0, None, {"input_missing": 4})
    assert len(labelled) == 4


def test_only_a_window_is_replayed_at_once(
    database: Database,
    committed: Rows,
    candidate: ServedVersion,
    labelled: list[UUID],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backtesting, "WINDOW", 1)
    backtest_id = start(database, candidate, committed.version)

    advance_backtests(database)
    advance_backtests(database)

    assert len(replays(database, backtest_id)) == 2
    assert len(labelled) == 4


def test_cancelling_ends_what_waits(
    database: Database, committed: Rows, candidate: ServedVersion, labelled: list[UUID]
) -> None:
    backtest_id = start(database, candidate, committed.version)
    advance_backtests(database)

    with open_session(database) as session:
        ended = cancel_backtest(session, get_backtest(session, backtest_id, api_key_id=None))

    assert len(ended) == 8
    assert not advance_backtests(database)
    assert {each.status for each in replays(database, backtest_id)} == {"canceled"}
    assert len(labelled) == 4


def test_cancelling_twice_is_fine_and_what_is_finished_cannot_be(
    database: Database, committed: Rows, candidate: ServedVersion, labelled: list[UUID]
) -> None:
    first = start(database, candidate, committed.version)
    with open_session(database) as session:
        backtest = get_backtest(session, first, api_key_id=None)
        cancel_backtest(session, backtest)
        assert cancel_backtest(session, backtest) == []

    second = start(database, candidate, committed.version)
    finish(database, committed, {})
    with open_session(database) as session, pytest.raises(BacktestStateError, match="succeeded already"):
        cancel_backtest(session, get_backtest(session, second, api_key_id=None))
    assert len(labelled) == 4


def start(database: Database, candidate: ServedVersion, baseline: ServedVersion, **span: Any) -> int:
    with open_session(database) as session:
        backtest = start_backtest(
            session, api_key_id=TENANT, sees=None, candidate=candidate, baseline=baseline, span=Span(**span)
        )
        return backtest.id


def finish(
    database: Database, rows: Rows, says: dict[int, str], slower_ms: Mapping[int, float] = MappingProxyType({})
) -> None:
    """Advance until all is done; a version that `says` does not name is right."""
    for _ in range(5):
        advance_backtests(database)
        for claim in claim_all(rows):
            outcome = success(claim, label=says.get(claim.model_version_id, "1"), score=1.0)
            assert outcome.compute_ms is not None
            compute_ms = outcome.compute_ms + slower_ms.get(claim.model_version_id, 0.0)
            ledger.complete(rows.connection, [replace(outcome, compute_ms=compute_ms)])


def learn(rows: Rows, version: ServedVersion, seen: Sequence[UUID]) -> None:
    """Pretend that a training on these predictions made the version."""
    training = uuid7()
    rows.connection.execute(
        text(
            "INSERT INTO trainings (id, model_id, status, trigger, actor, options, seed, time_limit_s,"
            " model_version_id) VALUES (:id, :model, 'succeeded', 'api', 'tests', '{}', 0, 60, :version)"
        ),
        {"id": training, "model": version.model_id, "version": version.model_version_id},
    )
    rows.connection.execute(
        text("INSERT INTO training_examples (training_id, prediction_id, revision) VALUES (:training, :seen, 1)"),
        [{"training": training, "seen": each} for each in seen],
    )


def claim_all(rows: Rows) -> list[Claim]:
    claims: list[Claim] = []
    while claimed := rows.claim():
        claims += claimed
    return claims


def replays(database: Database, backtest_id: int) -> list[Prediction]:
    with open_session(database) as session:
        return list(session.scalars(select(Prediction).where(Prediction.backtest_id == backtest_id)))


def summary(session: Session, backtest_id: int) -> Report:
    return report(session, get_backtest(session, backtest_id, api_key_id=None), "classification")


def answer_and_label(rows: Rows, count: int) -> list[UUID]:
    rows.add_many(count)
    claims = claim_all(rows)
    ledger.complete(rows.connection, [success(claim) for claim in claims])
    give_feedback(rows.connection, {claim.id: "1" for claim in claims})
    return [claim.id for claim in claims]
