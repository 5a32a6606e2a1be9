"""`store.quarantine`: when a device is left alone."""

import pytest
from sqlalchemy import text

from schemas.enums import StopReason
from store import ledger
from store.quarantine import FAILURES, is_quarantined
from tests.factories import HOST, Rows


def fail(rows: Rows, count: int, reason: StopReason = StopReason.DEVICE_LOST) -> None:
    """Let a device's worker begin and end so often."""
    for _ in range(count):
        ledger.end_life(rows.connection, rows.worker(), reason)


def quarantined(rows: Rows, device: str = "cpu:0", host: str = HOST) -> bool:
    return is_quarantined(rows.connection, host=host, device=device)


@pytest.mark.parametrize("reason", [StopReason.DEVICE_LOST, StopReason.OUT_OF_MEMORY, StopReason.HUNG])
def test_a_device_that_failed_three_times_is_quarantined(rows: Rows, reason: StopReason) -> None:
    fail(rows, FAILURES, reason)

    assert quarantined(rows)


def test_a_device_that_failed_twice_is_not(rows: Rows) -> None:
    fail(rows, FAILURES - 1)

    assert not quarantined(rows)


def test_a_process_that_died_says_nothing_of_its_device(rows: Rows) -> None:
    fail(rows, 5, StopReason.DIED)

    assert not quarantined(rows)


def test_failures_of_long_ago_do_not_count(rows: Rows) -> None:
    fail(rows, FAILURES)
    rows.connection.execute(text("UPDATE workers SET stopped_at = stopped_at - interval '11 minutes'"))

    assert not quarantined(rows)


def test_other_devices_and_hosts_are_not_to_blame(rows: Rows) -> None:
    fail(rows, FAILURES)

    assert not quarantined(rows, device="cpu:1")
    assert not quarantined(rows, host="another")


def test_a_stop_on_purpose_ends_the_quarantine(rows: Rows) -> None:
    fail(rows, FAILURES)
    fail(rows, 1, StopReason.DRAINED)

    assert not quarantined(rows)


def test_failures_after_it_count_anew(rows: Rows) -> None:
    fail(rows, FAILURES)
    fail(rows, 1, StopReason.DRAINED)
    fail(rows, FAILURES)

    assert quarantined(rows)
