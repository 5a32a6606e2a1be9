"""`tasks.delivery_rules`: when a delivery is tried again, and when never."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from uuid import uuid4

import pytest

from schemas.enums import DeliveryState
from store.delivery_ledger import DeliveryClaim, DeliveryOutcome
from tasks.delivery_rules import PAUSES_S, Heard, Schedule, judge

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
EXACT = Schedule(jitter=0.0)


def claim(failures: int = 0) -> DeliveryClaim:
    return DeliveryClaim(
        id=uuid4(),
        endpoint_id=uuid4(),
        fence=1,
        url="https://shop.example.com/",
        body="{}",
        failures=failures,
        is_failing=failures > 0,
        secret=b"",
        previous_secret=None,
        claimed_at=NOW,
    )


def judged(status: int | None, failures: int = 0, **headers: str) -> DeliveryOutcome:
    heard = Heard(
        duration_ms=1.0,
        status_code=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        error=None if status else "no answer",
    )
    return judge(claim(failures), heard, EXACT)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_success_is_received(status: int) -> None:
    outcome = judged(status)

    assert (outcome.state, outcome.error, outcome.delay_s) == (DeliveryState.DELIVERED, None, None)


@pytest.mark.parametrize("status", [None, 100, 301, 400, 404, 429, 500, 503])
def test_anything_else_is_tried_again(status: int | None) -> None:
    outcome = judged(status)

    assert (outcome.state, outcome.delay_s) == (DeliveryState.PENDING, 5.0)
    assert outcome.error


def test_ten_attempts_follow_the_standard_schedule() -> None:
    delays = [judged(500, failures).delay_s for failures in range(9)]

    assert delays == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert sum(PAUSES_S) == pytest.approx(75.6 * 3600, abs=60)


def test_the_tenth_failure_is_the_last() -> None:
    assert judged(500, failures=9).state is DeliveryState.DEAD


def test_pauses_vary_by_a_tenth() -> None:
    pauses = [Schedule().pause_s(1) for _ in range(200)]

    assert all(pause is not None and 4.5 <= pause <= 5.5 for pause in pauses)
    assert len(set(pauses)) > 100


def test_a_redirect_is_told_for_what_it_is() -> None:
    assert "redirects are not followed" in str(judged(302).error)


def test_gone_ends_the_delivery_and_the_endpoint() -> None:
    outcome = judged(410)

    assert (outcome.state, outcome.is_gone) == (DeliveryState.DEAD, True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("text", ["120", format_datetime(NOW + timedelta(seconds=120), usegmt=True)])
def test_a_busy_endpoint_says_when_to_come_back(status: int, text: str) -> None:
    outcome = judged(status, retry_after=text)

    assert (outcome.delay_s, outcome.rest_s) == (120, 120)


def test_coming_back_earlier_than_by_schedule_is_not_asked_for() -> None:
    assert judged(429, failures=1, retry_after="1").delay_s == 300


def test_other_statuses_say_nothing_about_when() -> None:
    assert judged(500, retry_after="120").rest_s is None


@pytest.mark.parametrize(
    "text", ["soon", "-5", "", "1.5", "9" * 400, "Fri, 20 Nov 2026 12:02:00", "1 Jan 2026 00:00:00 +9999999999999"]
)
def test_a_wish_that_makes_no_sense_is_passed_over(text: str) -> None:
    outcome = judged(429, retry_after=text)

    assert outcome.rest_s in (None, 86_400)


def test_nobody_is_left_alone_for_more_than_a_day() -> None:
    assert judged(503, retry_after="99999999").delay_s == 86_400
