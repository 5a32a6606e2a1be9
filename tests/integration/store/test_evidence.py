"""`store.evidence`: feedback that two versions can be compared on."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from schemas.gate_settings import GateSettings
from store import ledger
from store.evidence import recent_unseen, split_unseen
from store.holdout import is_held_out
from store.models import ServedVersion
from tests.factories import Rows, give_feedback, success

SETTINGS = GateSettings()


@pytest.fixture
def labelled(rows: Rows) -> list[UUID]:
    """Six answered predictions with feedback, the newest last."""
    rows.add_many(6)
    claims = [claim for _ in range(2) for claim in rows.claim(limit=3)]
    ledger.complete(rows.connection, [success(claim) for claim in claims])
    ids = sorted(claim.id for claim in claims)
    give_feedback(rows.connection, dict.fromkeys(ids, "1"))
    return ids


def test_feedback_that_nobody_saw_is_evidence(session: Session, labelled: list[UUID], xor: ServedVersion) -> None:
    found = recent(session, xor)

    assert sorted(found) == labelled


def test_what_a_version_was_trained_on_is_none(session: Session, labelled: list[UUID], xor: ServedVersion) -> None:
    train(session, xor, labelled[:2])

    assert sorted(recent(session, xor)) == labelled[2:]


def test_what_weighs_nothing_is_none(session: Session, labelled: list[UUID], xor: ServedVersion) -> None:
    session.execute(text("UPDATE feedback SET weight = 0 WHERE prediction_id = :id"), {"id": labelled[0]})

    assert sorted(recent(session, xor)) == labelled[1:]


def test_a_request_without_input_is_none(session: Session, labelled: list[UUID], xor: ServedVersion) -> None:
    session.execute(text("UPDATE predictions SET input = NULL WHERE id = :id"), {"id": labelled[0]})

    assert sorted(recent(session, xor)) == labelled[1:]


def test_only_the_newest_feedback_is_recent(session: Session, labelled: list[UUID], xor: ServedVersion) -> None:
    session.execute(
        text("UPDATE feedback SET updated_at = now() - interval '1 day' WHERE prediction_id <> :id"),
        {"id": labelled[3]},
    )

    assert recent(session, xor, max_items=1) == [labelled[3]]


def test_what_versions_have_learned_from_takes_no_place(
    session: Session, labelled: list[UUID], xor: ServedVersion
) -> None:
    newest = recent(session, xor)[:2]
    train(session, xor, newest)

    assert set(recent(session, xor, max_items=4)) == {*labelled} - {*newest}


def test_the_share_that_trainings_leave_is_a_set_of_its_own(
    session: Session, labelled: list[UUID], xor: ServedVersion
) -> None:
    settings = replace(SETTINGS, held_out_share=0.5)

    kept, rest = split_unseen(session, model_id=xor.model_id, version_ids=(xor.model_version_id,), settings=settings)

    assert sorted(row.prediction_id for row in kept) == [each for each in labelled if is_held_out(each, 0.5)]
    assert sorted(row.prediction_id for row in rest) == [each for each in labelled if not is_held_out(each, 0.5)]


def recent(session: Session, version: ServedVersion, max_items: int = 100) -> list[UUID]:
    found = recent_unseen(
        session,
        model_id=version.model_id,
        version_ids=(version.model_version_id,),
        settings=replace(SETTINGS, max_items=max_items),
    )
    return [row.prediction_id for row in found]


def train(session: Session, version: ServedVersion, seen: Sequence[UUID]) -> None:
    """Pretend that a training on these predictions made the version."""
    training = uuid7()
    session.execute(
        text(
            "INSERT INTO trainings (id, model_id, status, trigger, actor, options, seed, time_limit_s,"
            " model_version_id) VALUES (:id, :model, 'succeeded', 'api', 'tests', '{}', 0, 60, :version)"
        ),
        {"id": training, "model": version.model_id, "version": version.model_version_id},
    )
    session.execute(
        text("INSERT INTO training_examples (training_id, prediction_id, revision) VALUES (:training, :seen, 1)"),
        [{"training": training, "seen": each} for each in seen],
    )
