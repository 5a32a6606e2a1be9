"""The pictures that predictions name by their URL: claimed, fetched, stored, or given up.

Such a prediction is accepted like any other and waits with `run_after` at infinity, so that no worker claims it. The
same protocol as the ledger's holds: a claim carries a fence, and what comes after another claim changes nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from schemas.enums import ErrorCode
from store import fetch_sql as sql
from store import ledger
from store.ledger_rows import Claim, Finished, Outcome

#: A fetcher that is silent for longer than any fetch may take has lost what it holds.
ATTEMPT_BUDGET_S = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchClaim:
    """A picture that this process is to fetch.

    Attributes:
        id: Of the prediction.
        fence: Shared by no other claim.
        url: As it was sent.
        host: Its part by which failures are counted.
        attempt: Claims so far, this one included.
        is_wanted: False when the prediction was cancelled or expired meanwhile.
        left_s: Seconds until its deadline; None where it has none.
    """

    id: UUID
    fence: int
    url: str
    host: str
    attempt: int
    is_wanted: bool
    left_s: float | None


def claim_fetches(
    connection: Connection, *, worker_id: int, limit: int, busy: Collection[str] = ()
) -> list[FetchClaim]:
    """Take up to `limit` pictures that nobody fetches, those first that wait longest.

    Args:
        connection: To write with.
        worker_id: The life that holds them from now on.
        limit: How many.
        busy: Hosts that are asked for as much as they shall be.
    """
    found = sql.CLAIM.run(connection, worker=worker_id, limit=limit, busy=list(busy), budget=ATTEMPT_BUDGET_S)
    return [FetchClaim(**row._mapping) for row in found]  # noqa: SLF001 - its public name


def release_fetch(connection: Connection, claim: FetchClaim, *, delay_s: float, keep_attempt: bool = False) -> None:
    """Give a claim back, to be tried again after a while.

    Args:
        connection: To write with.
        claim: What is given back; one that was taken over meanwhile is left alone.
        delay_s: Not claimed again before.
        keep_attempt: True when nothing was tried: the attempt is not used up.
    """
    sql.RELEASE.run(connection, id=claim.id, fence=claim.fence, delay=delay_s, refund=int(keep_attempt))


def forget_fetch(connection: Connection, claim: FetchClaim) -> None:
    """Fetch nothing for a prediction that is over already."""
    sql.FORGET.run(connection, id=claim.id, fence=claim.fence)


def note_arrival(connection: Connection, claim: FetchClaim, *, sha256: str, size: int) -> tuple[str, int] | None:
    """Give a prediction its picture, which is stored: a worker may claim it now.

    Returns:
        Model and number of the version to ring for; None when the prediction is over, or the claim was taken over.
    """
    row = sql.ARRIVE.run(connection, id=claim.id, fence=claim.fence, digest=sha256, bytes=size).one_or_none()
    return None if row is None else (row.model, row.version)


def fail_fetch(
    connection: Connection, claim: FetchClaim, *, worker_id: int, code: ErrorCode, detail: str
) -> list[Finished]:
    """End a prediction whose picture cannot be had.

    Args:
        connection: In a transaction, since this takes two statements.
        claim: What could not be fetched.
        worker_id: The life that says so.
        code: Of the error.
        detail: A sentence for the client.

    Returns:
        What is finished, or nothing when the prediction is over, or the claim was taken over.
    """
    taken = sql.TAKE_UP.run(connection, id=claim.id, fence=claim.fence, worker=worker_id).one_or_none()
    if taken is None:
        return []
    held = Claim(id=taken.id, fence=taken.fence, model_version_id=taken.model_version_id, input=None, input_sha256=None)
    return ledger.complete(connection, [Outcome(claim=held, error_code=code, error_detail=detail)])
