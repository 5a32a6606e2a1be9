"""The arithmetic of `store.partitions`: weeks, their names, and ids as times."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from store.partitions import WEEK, Week, is_partition_name, least_id

MOMENTS = st.integers(946_684_800, 4_102_444_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(MOMENTS)
def test_a_week_holds_its_moment_and_begins_on_monday(moment: datetime) -> None:
    week = Week.of(moment)

    assert week.start <= moment < week.end == week.start + WEEK
    assert (week.start.weekday(), week.start.hour) == (0, 0)


@given(MOMENTS)
def test_weeks_have_names_that_sort_like_their_times(moment: datetime) -> None:
    week = Week.of(moment)

    assert week.partition < Week(week.end).partition
    assert is_partition_name(week.partition)


def test_a_week_is_named_by_its_iso_year() -> None:
    assert Week.of(datetime(2027, 1, 1, tzinfo=UTC)).partition == "predictions_p2026w53"


def test_a_moment_of_another_zone_lies_in_the_week_of_its_utc_time() -> None:
    monday_in_tokyo = datetime(2026, 11, 23, 8, tzinfo=timezone(timedelta(hours=9)))

    assert Week.of(monday_in_tokyo) == Week.of(datetime(2026, 11, 22, tzinfo=UTC))


@given(MOMENTS)
def test_the_least_id_begins_with_the_moments_milliseconds(moment: datetime) -> None:
    found = least_id(moment)

    assert found.int >> 80 == int(moment.timestamp() * 1000)
    assert found.int & ((1 << 80) - 1) == 0


def test_an_id_made_now_is_not_less_than_the_least_id_of_before() -> None:
    before = datetime.now(UTC)

    assert least_id(before) <= uuid7() < least_id(before + timedelta(minutes=1))


@pytest.mark.parametrize("year", [1, 1969])
def test_before_ids_began_the_least_id_is_nil(year: int) -> None:
    assert least_id(datetime(year, 1, 1, tzinfo=timezone(timedelta(hours=14)))) == UUID(int=0)


def test_the_last_year_has_a_least_id() -> None:
    assert least_id(datetime(9999, 12, 31, tzinfo=UTC)).int < 1 << 128


@pytest.mark.parametrize(
    "name", ["predictions", "predictions_p2026w4", "predictions_p2026w471", "xpredictions_p2026w47"]
)
def test_other_tables_are_no_partitions(name: str) -> None:
    assert not is_partition_name(name)
