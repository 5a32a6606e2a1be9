"""`store.forgetting`: what goes with an item, what stays, and what is told of it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from store import ledger
from store.decisions import list_decisions
from store.errors import ObjectMissingError, UnknownItemError
from store.feedback import Correction, record_feedback
from store.forgetting import REASON, Forgotten, drop_expired_feedback, forget_item, remove_objects
from store.models import resolve
from store.objects import ObjectStore
from store.partitions import first_kept_id
from tests.factories import OTHER_TENANT, TENANT, Rows, success

ITEM = {"catalog": "shop", "external_id": "42"}
THE_ITEM = "items WHERE (catalog, external_id) = ('shop', '42')"
OTHER_ITEM = {"catalog": "shop", "external_id": "43"}

DIGEST = "ab" * 32


def forget(session: Session, api_key_id: int | None = TENANT) -> Forgotten:
    return forget_item(session, **ITEM, api_key_id=api_key_id, actor="tests")


def answered(rows: Rows, **changes: Any) -> UUID:
    claim = rows.claim_one(**ITEM | changes)
    ledger.complete(rows.connection, [success(claim)])
    return claim.id


def correct(rows: Rows, prediction_id: UUID, *labels: str) -> None:
    for label in labels:
        word = Correction(prediction_id=prediction_id, label=label)
        record_feedback(rows.connection, [word], api_key_id=None, recorded_by=1)


def count(connection: Connection, table: str) -> int:
    return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_predictions_feedback_and_keys_go_with_the_item(rows: Rows, session: Session) -> None:
    correct(rows, answered(rows, idempotency_key="k", request_sha256="00"), "1", "0")
    answered(rows)

    forgotten = forget(session)

    assert forgotten.counts == {
        "predictions": 2,
        "canceled": 0,
        "feedback": 1,
        "feedback_history": 1,
        "index_entries": 0,
        "embeddings": 0,
        "idempotency_keys": 1,
    }
    tables = ("predictions", "feedback", "feedback_history", "idempotency_keys", THE_ITEM)
    assert [count(rows.connection, table) for table in tables] == [0, 0, 0, 0, 0]


def test_other_items_stay(rows: Rows, session: Session) -> None:
    answered(rows)
    kept = answered(rows, **OTHER_ITEM)
    correct(rows, kept, "1")

    forget(session)

    assert rows.status(kept) == "succeeded"
    assert count(rows.connection, "feedback") == 1


def test_another_tenants_rows_stay(rows: Rows, session: Session) -> None:
    answered(rows)
    kept = answered(rows, api_key_id=OTHER_TENANT)
    correct(rows, kept, "1")

    assert forget(session).counts["predictions"] == 1

    assert rows.get(kept).item_id is not None
    assert (count(rows.connection, THE_ITEM), count(rows.connection, "feedback")) == (1, 1)


def test_an_admin_forgets_what_all_tenants_sent(rows: Rows, session: Session) -> None:
    answered(rows)
    answered(rows, api_key_id=OTHER_TENANT)

    assert forget(session, None).counts["predictions"] == 2


def test_an_item_that_only_others_know_is_unknown(rows: Rows, session: Session) -> None:
    answered(rows, api_key_id=OTHER_TENANT)

    with pytest.raises(UnknownItemError, match="'42' in catalog 'shop'"):
        forget(session)


def test_what_is_still_open_is_cancelled_and_told(rows: Rows, session: Session) -> None:
    running, waiting = rows.claim_one(**ITEM), rows.add(**ITEM, reply_channel="here")

    forgotten = forget(session)

    assert {entry.event.id: entry.event.status for entry in forgotten.canceled} == {
        str(running.id): "canceled",
        str(waiting): "canceled",
    }
    assert "here" in {entry.reply_channel for entry in forgotten.canceled}
    assert ledger.complete(rows.connection, [success(running)]) == []


def test_copies_of_shadow_versions_go_too(rows: Rows, session: Session) -> None:
    original = answered(rows)
    rows.add(shadow_of=original)
    kept = rows.add()

    assert forget(session).counts["predictions"] == 2
    assert rows.status(kept) == "queued"


def test_an_index_loses_the_item(rows: Rows, session: Session) -> None:
    searches = Rows(rows.connection, resolve(session, "fashion-similar"))
    _index(searches, TENANT)
    _index(searches, OTHER_TENANT)

    forgotten = forget(session)

    assert (forgotten.counts["index_entries"], forgotten.counts["embeddings"]) == (1, 0)
    assert forgotten.digests == [DIGEST]
    assert count(rows.connection, "indexed_items") == 1


def test_the_versions_that_learned_from_it_are_named(rows: Rows, session: Session) -> None:
    prediction_id = answered(rows)
    _train(rows, prediction_id)

    forgotten = forget(session)

    assert forgotten.versions == [("xor", 1)]


@pytest.mark.parametrize("status", ["queued", "processing"])
def test_a_training_that_learns_from_it_is_cancelled_named_and_told_why(
    rows: Rows, session: Session, status: str
) -> None:
    training_id = _train(rows, answered(rows), status=status)

    forgotten = forget(session)

    assert [(each.id, each.model) for each in forgotten.trainings] == [(training_id, "xor")]
    assert forgotten.versions == []
    row = rows.connection.execute(text("SELECT * FROM trainings WHERE id = :id"), {"id": training_id}).one()
    assert (row.status, row.error_detail, row.log) == ("canceled", REASON, f"{REASON}\n")
    [decision] = list_decisions(session, model_id=rows.version.model_id, limit=1)
    assert decision.figures["trainings"] == [str(training_id)]


def test_a_training_that_learns_from_others_goes_on(rows: Rows, session: Session) -> None:
    answered(rows)
    training_id = _train(rows, answered(rows, **OTHER_ITEM), status="processing")

    assert forget(session).trainings == []
    statement = text("SELECT status FROM trainings WHERE id = :id")
    assert rows.connection.execute(statement, {"id": training_id}).scalar_one() == "processing"


def test_the_log_of_decisions_tells_how_much_and_not_what(rows: Rows, session: Session) -> None:
    prediction_id = answered(rows)
    correct(rows, prediction_id, "1")
    _train(rows, prediction_id)

    forget(session)

    [decision] = list_decisions(session, model_id=rows.version.model_id, limit=1)
    assert (decision.action, decision.actor) == ("forget", "tests")
    assert decision.figures == {"predictions": 1, "feedback": 1, "index_entries": 0, "versions": [1], "trainings": []}
    assert "42" not in decision.reason


def test_what_was_answered_is_told_so_that_no_memory_repeats_it(rows: Rows, session: Session) -> None:
    answered(rows)

    assert forget(session).answered == [(TENANT, rows.version.model_version_id)]


def test_a_file_of_a_forgotten_item_is_removed(committed: Rows, database: Engine, objects: ObjectStore) -> None:
    digest = objects.put(b"a photo of item 42")
    answered(committed, input=None, input_sha256=digest, input_bytes=1)

    forgotten = _forget(database)

    assert forgotten.digests == [digest]
    assert remove_objects(database, objects, forgotten.digests).removed == 1
    with pytest.raises(ObjectMissingError):
        objects.get(digest)
    assert count(committed.connection, "forgotten_objects") == 0


@pytest.mark.parametrize("use", ["input", "mask", "index"])
def test_a_file_that_another_row_uses_is_kept(
    committed: Rows, database: Engine, objects: ObjectStore, use: str
) -> None:
    digest = objects.put(b"a photo of two items")
    answered(committed, input=None, input_sha256=digest, input_bytes=1)
    _use(committed, database, digest, use)

    done = remove_objects(database, objects, _forget(database).digests)

    assert (done.removed, done.kept, done.pending) == (0, 1, 0)
    assert objects.get(digest)


def test_a_file_that_could_not_be_removed_is_removed_later(
    committed: Rows, database: Engine, objects: ObjectStore, tmp_path: Any
) -> None:
    digest = objects.put(b"a photo of item 42")
    answered(committed, input=None, input_sha256=digest, input_bytes=1)
    away = ObjectStore(f"file://{tmp_path}/away")
    (tmp_path / "away").rmdir()
    (tmp_path / "away").write_text("no folder")

    assert remove_objects(database, away, _forget(database).digests).pending == 1
    assert remove_objects(database, objects).removed == 1


def test_a_search_that_takes_too_long_is_left_for_later(
    committed: Rows, database: Engine, objects: ObjectStore
) -> None:
    answered(committed, input=None, input_sha256=objects.put(b"slow"), input_bytes=1)
    digests = _forget(database).digests

    with database.begin() as other:
        other.execute(text("LOCK TABLE model_versions IN ACCESS EXCLUSIVE MODE"))
        done = remove_objects(database, objects, digests, patience=timedelta(milliseconds=50))

    assert done.pending == 1
    assert remove_objects(database, objects).removed == 1


def test_feedback_on_dropped_predictions_is_dropped(rows: Rows) -> None:
    first = first_kept_id(rows.connection)
    assert first is not None
    kept = answered(rows)
    correct(rows, kept, "1")
    rows.connection.execute(
        text("""
            INSERT INTO feedback (prediction_id, api_key_id, model_id, model_version_id, label, source, weight,
                recorded_by, predicted_at)
            SELECT :old, api_key_id, model_id, model_version_id, label, source, weight, recorded_by, predicted_at
            FROM feedback
        """),
        {"old": UUID(int=first.int - 1)},
    )

    assert drop_expired_feedback(rows.connection) == 1
    assert count(rows.connection, "feedback") == 1


def _forget(database: Engine) -> Forgotten:
    with Session(database) as session, session.begin():
        return forget(session)


def _use(rows: Rows, database: Engine, digest: str, use: str) -> None:
    """Let another row use a file."""
    if use == "input":
        answered(rows, **OTHER_ITEM, input=None, input_sha256=digest, input_bytes=1)
        return
    with Session(database) as session:
        other = Rows(rows.connection, resolve(session, "garments" if use == "mask" else "fashion-similar"))
    if use == "mask":
        claim = other.claim_one(**OTHER_ITEM)
        ledger.complete(rows.connection, [success(claim, mask={"sha256": digest})])
    else:
        _index(other, TENANT, digest, **OTHER_ITEM)


def _index(rows: Rows, tenant: int, digest: str = DIGEST, **item: str) -> None:
    rows.connection.execute(
        text("""
            WITH item AS (
                INSERT INTO items (catalog, external_id, last_seen_at) VALUES (:catalog, :external_id, now())
                ON CONFLICT (catalog, external_id) DO UPDATE SET last_seen_at = now() RETURNING id)
            INSERT INTO indexed_items (model_id, api_key_id, item_id, photo_sha256, photo_bytes, prediction_id, put_at)
            SELECT :model_id, :tenant, item.id, :digest, 1, gen_random_uuid(), now() FROM item
        """),
        {"model_id": rows.version.model_id, "tenant": tenant, "digest": digest, **ITEM, **item},
    )


def _train(rows: Rows, prediction_id: UUID, status: str = "succeeded") -> UUID:
    """Say that a training learned from this prediction; of one that succeeded comes the champion."""
    version = rows.version.model_version_id if status == "succeeded" else None
    training_id = uuid7()
    training = {"id": training_id, "version": version, "model": rows.version.model_id, "status": status}
    rows.connection.execute(
        text("""
            INSERT INTO trainings (id, model_id, status, trigger, actor, options, seed, time_limit_s, model_version_id)
            VALUES (:id, :model, :status, 'api', 'tests', '{"start": "scratch"}', 0, 1, :version)
        """),
        training,
    )
    rows.connection.execute(
        text("INSERT INTO training_examples (training_id, prediction_id, revision) VALUES (:id, :prediction, 1)"),
        {"id": training_id, "prediction": prediction_id},
    )
    return training_id
