"""`store.feedback`: corrections in groups, their history, and whose they are."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from schemas.enums import IndexAction
from store import ledger
from store.accuracy import Tally, read_accuracy
from store.errors import (
    InvalidLabelError,
    PredictionStateError,
    UnknownFeedbackError,
    UnknownItemError,
    UnknownPredictionError,
)
from store.feedback import Change, Correction, Model, Outcome, get_feedback, list_revisions, record_feedback
from store.models import ServedVersion, resolve
from tests.factories import OTHER_TENANT, TENANT, Rows, add_model, success

KEY = 7


@pytest.fixture
def model(xor: ServedVersion) -> Model:
    return Model(xor.model_id, xor.model)


def answered(rows: Rows, result: dict[str, Any] | None = None, **changes: Any) -> UUID:
    """A prediction that was answered, with the label "1" unless another result is given."""
    claim = rows.claim_one(**changes)
    ledger.complete(rows.connection, [success(claim, **(result or {}))])
    return claim.id


def correct(
    rows: Rows, *group: Correction, api_key_id: int | None = TENANT, model: Model | None = None
) -> list[Outcome]:
    return record_feedback(rows.connection, group, api_key_id=api_key_id, recorded_by=KEY, model=model)


def word(prediction_id: UUID, label: Any = "1", **changes: Any) -> Correction:
    return Correction(prediction_id=prediction_id, label=label, **changes)


def read(session: Session, prediction_id: UUID) -> Any:
    session.expire_all()
    return get_feedback(session, prediction_id, api_key_id=TENANT)[1]


def test_a_first_word_is_stored_with_whom_and_what_it_is_about(rows: Rows, session: Session) -> None:
    prediction_id = answered(rows, catalog="shop", external_id="42")

    assert correct(rows, word(prediction_id, "0", source="desk", weight=2.0)) == [Change.CREATED]

    row, prediction = read(session, prediction_id), rows.get(prediction_id)
    assert (row.label, row.is_correct, row.error) == ("0", False, None)
    assert (row.source, row.weight, row.revision, row.recorded_by) == ("desk", 2.0, 1, KEY)
    assert (row.api_key_id, row.model_id, row.model_version_id) == (
        TENANT,
        rows.version.model_id,
        rows.version.model_version_id,
    )
    assert (row.item_id, row.predicted_at) == (prediction.item_id, prediction.created_at)


def test_the_same_word_again_changes_nothing(rows: Rows, session: Session) -> None:
    prediction_id = answered(rows)
    correct(rows, word(prediction_id))

    assert correct(rows, word(prediction_id)) == [Change.REPEATED]

    assert read(session, prediction_id).revision == 1
    assert list_revisions(session, prediction_id) == []


@pytest.mark.parametrize("change", [{"label": "0"}, {"source": "desk"}, {"weight": 0.5}])
def test_another_word_raises_the_revision_and_keeps_the_first(
    rows: Rows, session: Session, change: dict[str, Any]
) -> None:
    prediction_id = answered(rows)
    correct(rows, word(prediction_id))

    assert correct(rows, word(prediction_id, **change)) == [Change.REVISED]

    assert read(session, prediction_id).revision == 2
    [before] = list_revisions(session, prediction_id)
    assert (before.revision, before.label, before.is_correct, before.source, before.weight) == (1, "1", True, "api", 1)


def test_the_history_is_kept_whatever_code_changes_a_row(rows: Rows, session: Session) -> None:
    prediction_id = answered(rows)
    correct(rows, word(prediction_id))

    rows.connection.execute(text("""UPDATE feedback SET label = '"0"'"""))

    assert [row.label for row in list_revisions(session, prediction_id)] == ["1"]


def test_of_several_words_in_a_group_the_last_counts(rows: Rows, session: Session) -> None:
    prediction_id = answered(rows)

    outcomes = correct(rows, word(prediction_id, "1"), word(prediction_id, "0"))

    assert outcomes == [Change.REPEATED, Change.CREATED]
    assert read(session, prediction_id).label == "0"


def test_a_bad_word_does_not_hinder_the_others(rows: Rows) -> None:
    good = answered(rows)

    outcomes = correct(rows, word(uuid4()), word(good, "sock"), word(good))

    assert [type(each) for each in outcomes] == [UnknownPredictionError, InvalidLabelError, Change]


def test_another_tenants_prediction_is_unknown(rows: Rows, session: Session) -> None:
    prediction_id = answered(rows, api_key_id=OTHER_TENANT)

    [outcome] = correct(rows, word(prediction_id))

    assert isinstance(outcome, UnknownPredictionError)
    with pytest.raises(UnknownFeedbackError):
        get_feedback(session, prediction_id, api_key_id=OTHER_TENANT)


def test_what_was_computed_for_nobody_cannot_be_corrected(rows: Rows) -> None:
    shadow = answered(rows, shadow_of=answered(rows))

    [outcome] = correct(rows, word(shadow))

    assert isinstance(outcome, UnknownPredictionError)


def test_an_admin_corrects_any_tenants_prediction(rows: Rows, session: Session) -> None:
    prediction_id = answered(rows, api_key_id=OTHER_TENANT)

    assert correct(rows, word(prediction_id), api_key_id=None) == [Change.CREATED]
    assert get_feedback(session, prediction_id, api_key_id=OTHER_TENANT)[1].api_key_id == OTHER_TENANT


def test_a_prediction_that_waits_cannot_be_corrected(rows: Rows) -> None:
    [outcome] = correct(rows, word(rows.add()))

    assert isinstance(outcome, PredictionStateError)
    assert "is queued" in str(outcome)


def test_a_prediction_without_an_answer_cannot_be_corrected(rows: Rows) -> None:
    prediction_id = rows.add()
    ledger.cancel(rows.connection, prediction_id)

    [outcome] = correct(rows, word(prediction_id))

    assert isinstance(outcome, PredictionStateError)


def test_a_prediction_that_filled_an_index_cannot_be_corrected(rows: Rows) -> None:
    prediction_id = answered(rows, catalog="shop", external_id="42", index_action=IndexAction.PUT)

    [outcome] = correct(rows, word(prediction_id))

    assert isinstance(outcome, PredictionStateError)
    assert "put an item into an index" in str(outcome)


def test_a_prediction_of_another_model_is_refused(rows: Rows, session: Session, model: Model) -> None:
    other = answered(Rows(rows.connection, add_model(session, "other")))

    [outcome] = correct(rows, word(other), model=model)

    assert isinstance(outcome, UnknownPredictionError)
    assert "another model than 'xor'" in str(outcome)


def test_an_item_stands_for_its_latest_answer(rows: Rows, session: Session, model: Model) -> None:
    _old, new = (answered(rows, catalog="shop", external_id="42") for _ in range(2))
    rows.add(catalog="shop", external_id="42")

    outcomes = correct(rows, Correction(catalog="shop", external_id="42", label="0"), model=model)

    assert outcomes == [Change.CREATED]
    assert read(session, new).label == "0"


def test_an_item_of_another_model_or_tenant_is_unknown(rows: Rows, session: Session, model: Model) -> None:
    answered(Rows(rows.connection, add_model(session, "other")), catalog="shop", external_id="42")
    answered(rows, catalog="shop", external_id="42", api_key_id=OTHER_TENANT)

    [outcome] = correct(rows, Correction(catalog="shop", external_id="42", label="0"), model=model)

    assert isinstance(outcome, UnknownItemError)


def test_a_label_may_name_only_an_item_of_the_tenants_own_index(rows: Rows, session: Session) -> None:
    searches = Rows(rows.connection, resolve(session, "fashion-similar"))
    prediction_id = answered(searches, {"items": [{"catalog": "shop", "external_id": "42"}]})
    _index(searches, TENANT, "42")
    _index(searches, OTHER_TENANT, "43")

    mine, foreign = (correct(rows, word(prediction_id, label))[0] for label in ("shop/42", "shop/43"))

    assert mine == Change.CREATED
    assert isinstance(foreign, InvalidLabelError)
    assert "not in your index: shop/43" in str(foreign)


def test_the_error_of_a_number_is_stored(rows: Rows, session: Session) -> None:
    prices = Rows(rows.connection, resolve(session, "diamond-price"))
    prediction_id = answered(prices, {"value": 1000.0, "low": 900.0, "high": 1100.0})

    correct(rows, word(prediction_id, 1250))

    row = read(session, prediction_id)
    assert (row.label, row.is_correct, row.error) == (1250, None, 250)


def test_accuracy_is_counted_by_version(rows: Rows, session: Session) -> None:
    other = Rows(rows.connection, add_model(session, "other"))
    correct(rows, *(word(answered(rows), label) for label in ("1", "1", "0")))
    correct(rows, word(answered(other)))

    found = _accuracy(rows, rows.version, other.version)

    assert found[rows.version.model_version_id][0] == Tally(feedback=3, judged=3, correct=2)
    assert found[other.version.model_version_id][0] == Tally(feedback=1, judged=1, correct=1)


def test_accuracy_is_of_the_time_of_the_prediction_in_steps(rows: Rows) -> None:
    for minutes in (59, 30, 29, 61):
        prediction_id = answered(rows)
        rows.shift(prediction_id, "created_at", -60 * minutes)
        correct(rows, word(prediction_id))

    [steps] = _accuracy(rows, rows.version, steps=2).values()

    assert {step: tally.feedback for step, tally in steps.items()} == {0: 2, 1: 1}


def test_figures_follow_from_a_tally() -> None:
    assert Tally(feedback=4, judged=4, correct=3).figures()["accuracy"] == 0.75
    assert Tally(feedback=2, measured=2, total_error=5.0).figures()["mean_absolute_error"] == 2.5
    assert Tally().figures() == {
        "feedback": 0,
        "correct": 0,
        "accuracy": None,
        "accuracy_interval": None,
        "mean_absolute_error": None,
    }


def _accuracy(rows: Rows, *versions: ServedVersion, steps: int = 1) -> Any:
    # The transaction's own time: what it wrote is of this moment.
    now: datetime = rows.connection.execute(text("SELECT now()")).scalar_one().astimezone(UTC)
    until = now + timedelta(milliseconds=1)
    ids = [version.model_version_id for version in versions]
    return read_accuracy(rows.connection, ids, since=until - timedelta(hours=1), until=until, steps=steps)


def _index(rows: Rows, tenant: int, external_id: str) -> None:
    rows.connection.execute(
        text("""
            WITH item AS (
                INSERT INTO items (catalog, external_id, last_seen_at) VALUES ('shop', :external_id, now())
                ON CONFLICT (catalog, external_id) DO UPDATE SET last_seen_at = now() RETURNING id)
            INSERT INTO indexed_items (model_id, api_key_id, item_id, photo_sha256, photo_bytes, prediction_id, put_at)
            SELECT :model_id, :tenant, item.id, 'ab', 1, gen_random_uuid(), now() FROM item
        """),
        {"model_id": rows.version.model_id, "tenant": tenant, "external_id": external_id},
    )
