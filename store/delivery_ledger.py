"""The ledger of webhook deliveries: the only SQL that moves one from state to state, but for asking for one again.

As in `store.ledger`: each function is one compare-and-set statement over a group of rows under the fence of a claim,
and all times are Postgres' `now()`. Deliveries are written by triggers, in the transaction of what they tell of.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

import orjson
from sqlalchemy import Connection

from schemas.enums import DeliveryState
from store import delivery_sql as sql

#: An endpoint that answers is sent so many at once.
PER_ENDPOINT = 4

#: A claim older than this counts as hung: its request may take a quarter of it.
ATTEMPT_BUDGET_S = 60.0

#: Claims whose process died before a delivery is given up. Hardly its own fault, so there are many.
MAX_CRASHES = 10

#: Rows that one statement purges, so that it is short.
PURGED_AT_ONCE = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryClaim:
    """A delivery that this process now holds, under a fence that no later claim shares.

    Attributes:
        body: What is sent, the same in every attempt.
        failures: Attempts before this one that failed.
        is_failing: Whether the last attempt to reach its endpoint failed.
        secret: Sealed, see `store.secret_box`.
        previous_secret: Signs as well; None: there is none, or its time is over.
        claimed_at: By Postgres' clock.
    """

    id: UUID
    endpoint_id: UUID
    fence: int
    url: str
    body: str
    failures: int
    is_failing: bool
    secret: bytes
    previous_secret: bytes | None
    claimed_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryOutcome:
    """How an attempt ended.

    Attributes:
        state: What becomes of the delivery.
        delay_s: Until the next attempt; None: there is none.
        rest_s: The endpoint asked to be left alone so long; None: it did not.
        is_gone: Whether the endpoint asked never to be sent anything again.
        status_code: Of the answer; None: there was none.
        error: What went wrong, for people; None: it arrived.
        response: How the answer's body begins.
    """

    claim: DeliveryClaim
    state: DeliveryState
    duration_ms: float
    delay_s: float | None = None
    rest_s: float | None = None
    is_gone: bool = False
    status_code: int | None = None
    error: str | None = None
    response: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BreakerRule:
    """When an endpoint that fails is left alone, and when it is given up.

    Attributes:
        failures: In a row, until it is left alone.
        first_s: So long at first, twice as long after each further failure.
        longest_s: At most so long.
        patience_s: It is paused when it has failed for so long without a success.
    """

    failures: int = 5
    first_s: float = 5.0
    longest_s: float = 300.0
    patience_s: float = 5 * 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryGauges:
    """What there is to deliver, for the metrics."""

    pending: int
    sending: int
    oldest_s: float
    delivered: int
    failed: int
    dead: int
    paused: int


def claim_deliveries(connection: Connection, *, worker_id: int, limit: int, failing_limit: int) -> list[DeliveryClaim]:
    """Take deliveries that are due, a few of each endpoint.

    Args:
        connection: To write with.
        worker_id: The life that holds them from now on.
        limit: At most so many.
        failing_limit: Of these, at most so many to endpoints whose last attempt failed.
    """
    found = sql.CLAIM.run(
        connection,
        worker=worker_id,
        limit=limit,
        failing_limit=failing_limit,
        per_endpoint=PER_ENDPOINT,
        budget=ATTEMPT_BUDGET_S,
    )
    return [
        DeliveryClaim(
            id=row.id,
            endpoint_id=row.endpoint_id,
            fence=row.fence,
            url=row.url,
            body=row.body,
            failures=row.failures,
            is_failing=row.failing,
            secret=bytes(row.secret),
            previous_secret=None if row.previous_secret is None else bytes(row.previous_secret),
            claimed_at=row.claimed_at,
        )
        for row in found
    ]


def record_outcomes(connection: Connection, outcomes: Sequence[DeliveryOutcome], breaker: BreakerRule) -> int:
    """Note how attempts ended, move the deliveries whose fence still matches, and tell their endpoints apart.

    Returns:
        How many moved; the others were taken back meanwhile, and are sent again.
    """
    rows = orjson.dumps([_row(outcome) for outcome in outcomes]).decode()
    moved = sql.RECORD.run(
        connection,
        rows=rows,
        breaker_failures=breaker.failures,
        first_rest=breaker.first_s,
        longest_rest=breaker.longest_s,
        patience=breaker.patience_s,
    )
    return len(moved.all())


def take_back(connection: Connection) -> int:
    """Take back what senders hold that died, or that hang. Returns how many; any process may call it."""
    return len(sql.TAKE_BACK.run(connection, max_crashes=MAX_CRASHES).all())


def purge(connection: Connection, *, older_than_days: float) -> int:
    """Forget deliveries that ended long ago, and endpoints that were deleted. Returns how many deliveries.

    One call removes a part only; call it until it returns 0.
    """
    gone = sql.PURGE.run(connection, days=older_than_days, most=PURGED_AT_ONCE).rowcount
    sql.PURGE_ENDPOINTS.run(connection)
    return gone


def read_gauges(connection: Connection) -> DeliveryGauges:
    """Count what there is to deliver."""
    return DeliveryGauges(**sql.GAUGES.run(connection).mappings().one())


def _row(outcome: DeliveryOutcome) -> dict[str, object]:
    claim = outcome.claim
    fields = asdict(outcome)
    del fields["claim"]
    return fields | {"id": str(claim.id), "endpoint_id": str(claim.endpoint_id), "fence": claim.fence}
