"""A small history in the real database: its rows, and the plans of those who read and claim among them."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.orm import Session

from benchmarks.history import WEEKS, add_busy_minute, make_history, read_history
from benchmarks.memory import Sample, compare_rates, draw_sample, time_reads, to_figures
from benchmarks.servers import add_database, migrated_database
from schemas.enums import PredictionStatus
from store import ledger
from store.models import ServedVersion, resolve
from store.partitions import partition_names
from store.predictions import PredictionFilter, get_prediction, list_item_predictions, list_predictions
from store.stats import model_stats, summarize_finished
from tests.factories import Rows

ROWS = 4_000
PAGE = 20
SCAN = re.compile(r"Scan.* on (predictions_p\w+)")


@pytest.fixture(scope="module")
def filled(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A database of its own with a small history."""
    url = add_database(postgres_url, "history")
    with migrated_database(url, tmp_path_factory.mktemp("history")) as database:
        make_history(database, ROWS)
        yield database


@pytest.fixture
def session(filled: Engine) -> Iterator[Session]:
    """A session on it."""
    with Session(filled) as opened:
        yield opened


@pytest.fixture
def connection(session: Session) -> Connection:
    return session.connection()


@pytest.fixture
def sample(connection: Connection) -> Sample:
    return draw_sample(connection, 200)


def test_every_row_is_there_and_its_id_is_its_time(connection: Connection) -> None:
    off = text("""
        SELECT count(*), max(abs(extract(epoch FROM uuid_extract_timestamp(id) - created_at))) FROM predictions
    """)
    count, seconds = connection.execute(off).one()

    assert count == ROWS
    assert seconds < 0.001


def test_the_rows_reach_back_thirteen_weeks(connection: Connection) -> None:
    found = text("SELECT min(created_at), count(DISTINCT tableoid) FROM predictions")
    oldest, partitions = connection.execute(found).one()

    assert oldest < datetime.now(UTC) - WEEKS * timedelta(weeks=1) + timedelta(days=1)
    assert partitions in (WEEKS, WEEKS + 1)


def test_a_few_items_have_many_predictions(connection: Connection) -> None:
    counts = text("SELECT count(*) FROM predictions WHERE item_id IS NOT NULL GROUP BY item_id ORDER BY 1 DESC")
    by_item = list(connection.execute(counts).scalars())

    assert by_item[0] > 10 * by_item[len(by_item) // 2]


def test_an_earlier_history_is_found_again(connection: Connection) -> None:
    history = read_history(connection)

    assert (history.rows, history.items, len(history.api_key_ids), len(history.version_ids)) == (ROWS, 200, 5, 10)


def test_a_prediction_is_looked_for_in_one_partition(session: Session, sample: Sample) -> None:
    plan = _plan(session, lambda: get_prediction(session, sample.ids[0], api_key_id=None))

    assert len(_scanned(plan)) == 1
    assert "_pkey on predictions_p" in plan


def test_an_item_is_looked_up_in_its_index_in_partitions_that_can_hold_it(session: Session, sample: Sample) -> None:
    catalog, external_id = sample.items[0]
    first_seen = datetime.now(UTC) - timedelta(weeks=3)
    session.execute(
        text("UPDATE items SET created_at = :at WHERE catalog = :c AND external_id = :e"),
        {"at": first_seen, "c": catalog, "e": external_id},
    )

    plan = _plan(session, lambda: _list_item(session, catalog, external_id))

    # From a week before it was first seen to a week ahead; of the rest none is opened.
    assert len(_scanned(plan)) in (5, 6)
    assert plan.count("item_id_id_idx on predictions_p") == len(_scanned(plan))
    assert "Sort" not in plan


@pytest.mark.parametrize(
    ("chosen", "index"),
    [
        ({}, "_pkey"),
        ({"model": "fashion"}, "_model_version_id_id_idx"),
        ({"model": "fashion", "version": 1}, "_model_version_id_id_idx"),
        ({"status": PredictionStatus.SUCCEEDED}, "_pkey"),
        ({"status": PredictionStatus.FAILED}, "_status_id_idx"),
        ({"status": PredictionStatus.CANCELED}, "_status_id_idx"),
        ({"status": PredictionStatus.EXPIRED}, "_status_id_idx"),
    ],
)
def test_an_admins_list_is_read_by_an_index_in_its_order(session: Session, chosen: dict[str, Any], index: str) -> None:
    plan = _plan(session, lambda: _list(session, PredictionFilter(**chosen), None))

    assert f"{index} on predictions_p" in plan
    assert "Seq Scan on predictions" not in plan


@pytest.mark.parametrize("chosen", [{}, {"model": "fashion"}, {"model": "xor", "version": 1}])
def test_a_keys_list_is_read_by_its_index(session: Session, chosen: dict[str, Any]) -> None:
    plan = _plan(session, lambda: _list(session, PredictionFilter(**chosen), 1))

    assert "_api_key_id_model_version_id_id_idx on predictions_p" in plan


def test_a_list_of_a_day_opens_the_partitions_of_that_day(session: Session) -> None:
    day = datetime.now(UTC) - timedelta(days=30)

    plan = _plan(
        session,
        lambda: _list(session, PredictionFilter(created_after=day, created_before=day + timedelta(days=1)), None),
    )

    assert len(_scanned(plan)) in (1, 2)


@pytest.mark.parametrize(
    "chosen", [{}, {"model": "fashion"}, {"version": 1}, {"status": PredictionStatus.FAILED}, {"model": "nope"}]
)
@pytest.mark.parametrize("api_key_id", [None, 1, 0])
def test_a_list_is_the_newest_of_what_matches(session: Session, chosen: dict[str, Any], api_key_id: int | None) -> None:
    found = [row.id for row in _list(session, PredictionFilter(**chosen), api_key_id)]

    expected = text("""
        SELECT p.id FROM predictions p JOIN model_versions v ON v.id = p.model_version_id
        JOIN models m ON m.id = v.model_id
        WHERE m.name = coalesce(:model, m.name) AND v.number = coalesce(:version, v.number)
            AND p.status = coalesce(:status, p.status) AND p.api_key_id = coalesce(:key, p.api_key_id)
        ORDER BY p.id DESC LIMIT 20
    """)
    parameters = {"model": None, "version": None, "status": None, "key": api_key_id, **chosen}
    assert found == list(session.execute(expected, parameters).scalars())


def test_a_claim_opens_the_partitions_in_which_rows_can_wait(session: Session) -> None:
    connection = session.connection()

    plan = _plan(session, lambda: ledger.claim(connection, worker_id=1, device="cpu:0", limit=8))

    # Last week's, this week's and the next one's, of more than twenty.
    assert len(partition_names(connection)) > 20
    assert len(_scanned(plan)) <= 4


def test_a_busy_minute_is_told_by_the_statistics(connection: Connection) -> None:
    history = read_history(connection)
    add_busy_minute(connection, history, rows=500)
    summarize_finished(connection)

    told = sum(row["succeeded"] + row["failed"] + row["canceled"] + row["expired"] for row in model_stats(connection))

    assert told >= 450


def test_the_measurement_runs_on_a_small_history(
    filled: Engine, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with migrated_database(add_database(postgres_url, "beside"), tmp_path_factory.mktemp("beside")) as empty:
        kept = compare_rates(empty, filled, 1)
    with filled.connect() as connection, Session(filled) as session:
        Rows(connection, _xor(session)).add()

    figures = to_figures(ROWS, time_reads(filled, 2), kept)

    assert {figure.name.split(": ")[1] for figure in figures if figure.wanted} == {
        "a prediction by id, p99 in the database",
        "an item's predictions, p99 in the database",
        "the busiest item's predictions, p99 in the database",
        "statistics, p99 in the database",
        "rate of submit, over an empty database",
        "rate of claim, over an empty database",
    }
    assert all(figure.value for figure in figures)


def _xor(session: Session) -> ServedVersion:
    return resolve(session, "xor")


def _list(session: Session, chosen: PredictionFilter, api_key_id: int | None) -> Any:
    return list_predictions(session, chosen, api_key_id=api_key_id, before=None, limit=PAGE)


def _list_item(session: Session, catalog: str, external_id: str) -> Any:
    return list_item_predictions(
        session, catalog=catalog, external_id=external_id, api_key_id=None, before=None, limit=PAGE
    )


def _plan(session: Session, read: Any) -> str:
    """Return the plan of the last prepared statement that a read executes, as it ran: what was pruned is not in it."""
    seen: list[tuple[str, Any]] = []
    bind = session.get_bind()

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("EXECUTE"):
            seen.append((statement, parameters))

    event.listen(bind, "after_cursor_execute", note)
    try:
        read()
    finally:
        event.remove(bind, "after_cursor_execute", note)
    statement, parameters = seen[-1]
    lines = session.connection().exec_driver_sql(f"EXPLAIN (ANALYZE, COSTS OFF, BUFFERS OFF) {statement}", parameters)
    return "\n".join(lines.scalars())


def _scanned(plan: str) -> set[str]:
    """The partitions that a plan reads from."""
    return set(SCAN.findall(plan))
