"""`store.queue_span`: what is around all that waits."""

from datetime import UTC, datetime, timedelta

from store.ledger_rows import MOST_LAG_S, PRIORITY_DELAY_S
from store.partitions import CLOCK_SLACK, least_id
from store.queue_span import COMMITTING, GREATEST_DELAY, LOWEST, QueueSpan, span_around

NOW = datetime(2026, 11, 19, 12, tzinfo=UTC)


def test_an_empty_queue_spans_what_clocks_may_be_off() -> None:
    assert span_around(NOW, None) == QueueSpan(
        since=least_id(NOW - CLOCK_SLACK), until=least_id(NOW + CLOCK_SLACK), floor=LOWEST
    )


def test_the_oldest_row_is_within_the_span_however_long_it_waits() -> None:
    accepted = NOW - timedelta(weeks=5)
    span = span_around(NOW, accepted + timedelta(seconds=max(PRIORITY_DELAY_S.values())))

    assert span.since < least_id(accepted) < span.until


def test_a_row_that_goes_last_by_priority_does_not_move_the_span_forward() -> None:
    span, empty = span_around(NOW, NOW + GREATEST_DELAY * 2), span_around(NOW, None)

    assert (span.since, span.until) == (empty.since, empty.until)


def test_no_row_is_put_back_further_than_the_span_allows_for() -> None:
    assert timedelta(seconds=max(PRIORITY_DELAY_S.values()) + MOST_LAG_S) < GREATEST_DELAY


def test_a_claim_begins_just_before_the_most_urgent_row() -> None:
    least = NOW - timedelta(minutes=5)

    assert datetime.fromisoformat(span_around(NOW, least).floor) == least - COMMITTING


def test_rows_that_are_yet_to_come_are_not_before_the_floor() -> None:
    # All that waits goes last by priority: one that is accepted now goes first.
    span = span_around(NOW, NOW + timedelta(minutes=10))

    assert datetime.fromisoformat(span.floor) == NOW - COMMITTING
