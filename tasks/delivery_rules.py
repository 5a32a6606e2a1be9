"""What becomes of a webhook delivery, as its endpoint's answer says: the schedule of attempts, and its exceptions."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from schemas.enums import DeliveryState
from store.delivery_ledger import DeliveryClaim, DeliveryOutcome

#: Pauses before the attempts of the Standard Webhooks specification: the first at once, the tenth after 75.6 hours.
PAUSES_S = (0.0, 5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)

#: Pauses vary by so much either way, so that what failed together does not come back together.
JITTER = 0.1

#: However long an endpoint asks to be left alone.
LONGEST_WISH_S = 86_400.0

#: With these, `Retry-After` says when to come back.
BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """When a delivery is attempted.

    Attributes:
        pauses_s: Before each attempt, seconds; as many as there are attempts.
        jitter: Share of a pause by which it varies.
    """

    pauses_s: tuple[float, ...] = PAUSES_S
    jitter: float = JITTER

    def pause_s(self, failures: int) -> float | None:
        """Seconds until the attempt after so many failures; None when there is none."""
        if failures >= len(self.pauses_s):
            return None
        return self.pauses_s[failures] * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - no secret


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """What an attempt heard.

    Attributes:
        status_code: Of the answer; None: there was none.
        headers: Of the answer, names in lower case.
        error: Why there was none.
        response: How the answer's body begins.
    """

    duration_ms: float
    status_code: int | None = None
    headers: Mapping[str, str]
    error: str | None = None
    response: str | None = None


def judge(claim: DeliveryClaim, heard: Heard, schedule: Schedule) -> DeliveryOutcome:
    """Decide what becomes of a delivery after an attempt."""
    status = heard.status_code
    if status is not None and 200 <= status < 300:
        return _outcome(claim, heard, DeliveryState.DELIVERED, error=None)
    error = heard.error or _describe(status)
    if status == HTTPStatus.GONE:
        return _outcome(claim, heard, DeliveryState.DEAD, error=error, is_gone=True)
    wish_s = _retry_after(heard, claim.claimed_at) if status in BUSY else None
    pause_s = schedule.pause_s(claim.failures + 1)
    if pause_s is None:
        return _outcome(claim, heard, DeliveryState.DEAD, error=error, rest_s=wish_s)
    return _outcome(
        claim, heard, DeliveryState.PENDING, error=error, delay_s=max(pause_s, wish_s or 0.0), rest_s=wish_s
    )


def _outcome(
    claim: DeliveryClaim,
    heard: Heard,
    state: DeliveryState,
    *,
    error: str | None,
    delay_s: float | None = None,
    rest_s: float | None = None,
    is_gone: bool = False,
) -> DeliveryOutcome:
    return DeliveryOutcome(
        claim=claim,
        state=state,
        duration_ms=heard.duration_ms,
        delay_s=delay_s,
        rest_s=rest_s,
        is_gone=is_gone,
        status_code=heard.status_code,
        error=error,
        response=heard.response,
    )


def _describe(status: int | None) -> str:
    if status is not None and 300 <= status < 400:
        return f"it answered {status}: redirects are not followed; give the endpoint its final URL"
    return f"it answered {status}; only 200 to 299 count as received"


def _retry_after(heard: Heard, now: datetime) -> float | None:
    """Seconds that the endpoint asks for, by either form of the header; None where it says nothing that makes sense."""
    text = heard.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        # A number that is too long for a float would be an error rather than a long time.
        return min(float(text[:9]), LONGEST_WISH_S)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        # No date, or one with a zone that is farther off than there are zones.
        return None
    if at.tzinfo is None:
        return None
    return min(max(0.0, (at - now).total_seconds()), LONGEST_WISH_S)
