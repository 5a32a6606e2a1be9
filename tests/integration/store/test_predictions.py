"""`store.predictions`: reading, within the caller's own rows."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from schemas.enums import PredictionStatus, Priority
from store import ledger
from store.errors import UnknownItemError, UnknownPredictionError
from store.partitions import least_id
from store.predictions import (
    PredictionFilter,
    get_prediction,
    list_item_predictions,
    list_predictions,
    queue_position,
)
from tests.factories import OTHER_TENANT, TENANT, Rows, add_model

ALL = PredictionFilter()


def test_a_prediction_is_read_with_its_version_and_item(rows: Rows, session: Session) -> None:
    prediction_id = rows.add(catalog="shop", external_id="42")

    row = get_prediction(session, prediction_id, api_key_id=TENANT)

    assert (row.version.model.name, row.version.number) == ("xor", rows.version.number)
    assert row.item is not None
    assert (row.item.catalog, row.item.external_id) == ("shop", "42")


def test_another_tenants_prediction_is_unknown(rows: Rows, session: Session) -> None:
    prediction_id = rows.add()

    with pytest.raises(UnknownPredictionError, match=str(prediction_id)):
        get_prediction(session, prediction_id, api_key_id=OTHER_TENANT)


def test_an_admin_reads_any_tenants_prediction(rows: Rows, session: Session) -> None:
    assert get_prediction(session, rows.add(), api_key_id=None)


def test_a_prediction_that_never_was_is_unknown(session: Session) -> None:
    with pytest.raises(UnknownPredictionError):
        get_prediction(session, uuid4(), api_key_id=None)


def test_predictions_are_listed_newest_first(rows: Rows, session: Session) -> None:
    ids = [rows.add() for _ in range(3)]

    assert _list(session) == ids[::-1]


def test_a_list_shows_the_tenants_own_predictions_alone(rows: Rows, session: Session) -> None:
    mine = rows.add()
    rows.add(api_key_id=OTHER_TENANT)

    assert _list(session) == [mine]


def test_an_admin_lists_all_tenants_predictions(rows: Rows, session: Session) -> None:
    rows.add()
    rows.add(api_key_id=OTHER_TENANT)

    assert len(_list(session, api_key_id=None)) == 2


def test_a_cursor_goes_on_after_the_page_before(rows: Rows, session: Session) -> None:
    ids = [rows.add() for _ in range(5)][::-1]
    first = _list(session, limit=2)

    assert (first, _list(session, before=first[-1], limit=10)) == (ids[:2], ids[2:])


def test_a_list_can_be_of_one_model(rows: Rows, session: Session) -> None:
    other = Rows(rows.connection, add_model(session, "other"))
    rows.add()
    wanted = other.add()

    assert _list(session, PredictionFilter(model="other")) == [wanted]


def test_a_list_of_an_unknown_model_is_empty(rows: Rows, session: Session) -> None:
    rows.add()

    assert _list(session, PredictionFilter(model="nope")) == []


@pytest.mark.parametrize(("version", "count"), [(1, 1), (2, 0)])
def test_a_list_can_be_of_one_version(rows: Rows, session: Session, version: int, count: int) -> None:
    rows.add()

    assert len(_list(session, PredictionFilter(version=version))) == count


@pytest.mark.parametrize("api_key_id", [None, TENANT])
def test_a_list_of_a_model_without_rows_reads_none_of_others(
    rows: Rows, session: Session, api_key_id: int | None
) -> None:
    rows.add_many(2_000)
    session.execute(text("ANALYZE predictions"))
    before = _rows_read(session)
    chosen = PredictionFilter(model="fashion-similar")

    assert list_predictions(session, chosen, api_key_id=api_key_id, before=None, limit=20) == []

    assert _rows_read(session) == before


def test_a_list_can_be_of_one_status(rows: Rows, session: Session) -> None:
    rows.add()
    canceled = rows.add()
    ledger.cancel(rows.connection, canceled)

    assert _list(session, PredictionFilter(status=PredictionStatus.CANCELED)) == [canceled]


def test_a_list_can_be_of_a_span_of_time(rows: Rows, session: Session) -> None:
    start = datetime.now(UTC)
    _early, within, _late = (rows.add(id=least_id(start + timedelta(seconds=n))) for n in (0, 1, 2))

    chosen = PredictionFilter(created_after=start + timedelta(seconds=1), created_before=start + timedelta(seconds=2))
    assert _list(session, chosen) == [within]


def test_a_list_can_reach_back_before_all_time(rows: Rows, session: Session) -> None:
    prediction_id = rows.add()

    assert _list(session, PredictionFilter(created_after=datetime(1, 1, 1, tzinfo=UTC))) == [prediction_id]


def test_the_predictions_of_an_item_are_listed_newest_first(rows: Rows, session: Session) -> None:
    ids = [rows.add(catalog="shop", external_id="42") for _ in range(2)]
    rows.add(catalog="shop", external_id="43")

    assert _list_item(session) == ids[::-1]


def test_the_predictions_of_an_item_are_paged(rows: Rows, session: Session) -> None:
    ids = [rows.add(catalog="shop", external_id="42") for _ in range(3)]

    assert _list_item(session, before=ids[1]) == ids[:1]


def test_another_tenants_predictions_of_an_item_are_left_out(rows: Rows, session: Session) -> None:
    mine = rows.add(catalog="shop", external_id="42")
    rows.add(catalog="shop", external_id="42", api_key_id=OTHER_TENANT)

    assert _list_item(session) == [mine]


def test_an_unknown_item_is_named(session: Session) -> None:
    with pytest.raises(UnknownItemError, match="'42' in catalog 'shop'"):
        _list_item(session)


def test_the_position_counts_the_rows_that_go_before(rows: Rows, session: Session) -> None:
    bulk, normal, urgent = (rows.add(priority=p) for p in (Priority.BULK, Priority.NORMAL, Priority.INTERACTIVE))

    assert [_position(session, each) for each in (bulk, normal, urgent)] == [2, 1, 0]


def test_a_row_that_runs_has_no_position(rows: Rows, session: Session) -> None:
    claim = rows.claim_one()
    rows.add(priority=Priority.INTERACTIVE)

    assert _position(session, claim.id) == 0


def _list(session: Session, chosen: PredictionFilter = ALL, **changes: Any) -> list[UUID]:
    options: dict[str, Any] = {"api_key_id": TENANT, "before": None, "limit": 50}
    return [row.id for row in list_predictions(session, chosen, **options | changes)]


def _list_item(session: Session, before: UUID | None = None) -> list[UUID]:
    found = list_item_predictions(session, catalog="shop", external_id="42", api_key_id=TENANT, before=before, limit=50)
    return [row.id for row in found]


def _position(session: Session, prediction_id: UUID) -> int:
    return queue_position(session, get_prediction(session, prediction_id, api_key_id=None))


def _rows_read(session: Session) -> int:
    """Rows of the ledger that this transaction has read from its tables, wanted or not."""
    counted = text("""
        SELECT sum(s.seq_tup_read + s.idx_tup_fetch) FROM pg_stat_xact_user_tables s
        JOIN pg_inherits i ON i.inhrelid = s.relid WHERE i.inhparent = 'predictions'::regclass
    """)
    return int(session.scalar(counted) or 0)
