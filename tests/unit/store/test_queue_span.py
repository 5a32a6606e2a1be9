"""`store.queue_span`: the ids around all that waits."""

from datetime import UTC, datetime, timedelta

from store.ledger_rows import MOST_LAG_S, PRIORITY_DELAY_S
from store.partitions import CLOCK_SLACK, least_id
from store.queue_span import GREATEST_DELAY, span_around

NOW = datetime(2026, 11, 19, 12, tzinfo=UTC)


def test_an_empty_queue_spans_what_clocks_may_be_off() -> None:
    assert span_around(NOW, None) == (least_id(NOW - CLOCK_SLACK), least_id(NOW + CLOCK_SLACK))


def test_the_oldest_row_is_within_the_span_however_long_it_waits() -> None:
    accepted = NOW - timedelta(weeks=5)
    since, until = span_around(NOW, accepted + timedelta(seconds=max(PRIORITY_DELAY_S.values())))

    assert since < least_id(accepted) < until


def test_a_row_that_goes_last_by_priority_does_not_move_the_span_forward() -> None:
    assert span_around(NOW, NOW + GREATEST_DELAY * 2) == span_around(NOW, None)


def test_no_row_is_put_back_further_than_the_span_allows_for() -> None:
    assert timedelta(seconds=max(PRIORITY_DELAY_S.values()) + MOST_LAG_S) < GREATEST_DELAY
