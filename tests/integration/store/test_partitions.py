"""`store.partitions` on the real table."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

from store.partitions import (
    AHEAD,
    WEEK,
    Week,
    drop_expired_partitions,
    ensure_partitions,
    is_partition_name,
    least_id,
    partition_names,
)
from tests.factories import Rows

ANCIENT = Week.of(datetime(2001, 1, 3, tzinfo=UTC))


def test_partitions_reach_from_last_week_to_the_end_of_the_time_ahead(connection: Connection) -> None:
    names = partition_names(connection)

    now = _now(connection)
    assert (names[0], names[-1]) == (Week.of(now - WEEK).partition, Week.of(now + AHEAD).partition)
    assert len(names) == 10


def test_making_partitions_again_makes_none(connection: Connection) -> None:
    assert ensure_partitions(connection) == []


def test_partitions_further_ahead_are_added(connection: Connection) -> None:
    made = ensure_partitions(connection, ahead=AHEAD + WEEK)

    assert made == [Week.of(_now(connection) + AHEAD + WEEK).partition]


def test_only_our_partitions_are_there(connection: Connection) -> None:
    assert all(is_partition_name(name) for name in partition_names(connection))


def test_a_row_lies_in_the_partition_of_its_week(rows: Rows) -> None:
    prediction_id = rows.add()

    found = text("SELECT tableoid::regclass::text FROM predictions WHERE id = :id")
    week = Week.of(_now(rows.connection))
    assert rows.connection.execute(found, {"id": prediction_id}).scalar_one() == week.partition


def test_the_first_and_the_last_id_of_a_week_lie_in_its_partition(rows: Rows) -> None:
    _make_ancient(rows.connection)
    last_ms = ANCIENT.end - timedelta(milliseconds=1)

    for moment in (ANCIENT.start, last_ms):
        rows.add(id=least_id(moment))

    assert rows.connection.execute(text(f"SELECT count(*) FROM {ANCIENT.partition}")).scalar_one() == 2


def test_a_partition_older_than_its_retention_is_dropped(connection: Connection) -> None:
    _make_ancient(connection)

    assert drop_expired_partitions(connection, retention=timedelta(days=90)) == [ANCIENT.partition]
    assert ANCIENT.partition not in partition_names(connection)


def test_a_partition_with_one_row_within_the_retention_is_kept(connection: Connection) -> None:
    _make_ancient(connection)
    retention = _now(connection) - ANCIENT.end + timedelta(seconds=1)

    assert drop_expired_partitions(connection, retention=retention) == []


def test_partitions_of_the_future_are_kept(connection: Connection) -> None:
    before = partition_names(connection)

    drop_expired_partitions(connection, retention=timedelta(days=90))

    assert partition_names(connection) == before


def _now(connection: Connection) -> datetime:
    now: datetime = connection.execute(text("SELECT now()")).scalar_one()
    return now


def _make_ancient(connection: Connection) -> None:
    """Make the partition of a week long ago, as the first beat of that week did."""
    connection.execute(
        text(
            f"CREATE TABLE {ANCIENT.partition} PARTITION OF predictions "
            f"FOR VALUES FROM ('{least_id(ANCIENT.start)}') TO ('{least_id(ANCIENT.end)}')"
        )
    )
