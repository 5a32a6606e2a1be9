"""The audit log: who did what, from where. Only ever added to.

It holds who and whence for every action; what `decisions` and the feedback's history hold anyway (why, by which
figures, what it was before) is not repeated here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.enums import AuditAction
from store.decisions import COMMAND_ACTOR
from store.keys import Principal
from store.tables.api_key import ApiKey
from store.tables.audit_entry import AuditEntry


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Who acts, and from where.

    Attributes:
        actor: Name of an API key, or `command line`.
        api_key_id: The key; None: no key acts.
        remote_address: Where the request comes from; None: no request.
        request_id: As its answer's `X-Request-Id` says it; None: no request.
    """

    actor: str
    api_key_id: int | None = None
    remote_address: str | None = None
    request_id: str | None = None

    @classmethod
    def of_request(cls, caller: Principal, remote_address: str | None, request_id: str) -> "Origin":
        """Return the origin of what a request does."""
        return cls(
            actor=caller.name, api_key_id=caller.api_key_id, remote_address=remote_address, request_id=request_id
        )


#: Of what a command does that reaches the database without a key.
COMMAND = Origin(actor=COMMAND_ACTOR)


def record_action(
    session: Session,
    action: AuditAction,
    subject: str,
    origin: Origin,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add an action to the log, in the transaction that does it.

    Args:
        session: Where.
        action: What was done.
        subject: What it was done to, such as `key/aB3` or `models/fashion/versions/2`.
        origin: Who does it.
        before: What the subject was, where that is small and kept nowhere else.
        after: What it became, likewise.
    """
    session.add(
        AuditEntry(
            action=str(action),
            actor=origin.actor,
            api_key_id=origin.api_key_id,
            subject=subject,
            remote_address=origin.remote_address,
            request_id=origin.request_id,
            before=None if before is None else dict(before),
            after=None if after is None else dict(after),
        )
    )
    session.flush()


def list_actions(
    session: Session, *, limit: int, before_id: int | None = None, action: str | None = None
) -> list[tuple[AuditEntry, str | None]]:
    """List actions, newest first, each with the public id of the key that acted.

    Args:
        session: Where.
        limit: Most to return.
        before_id: Go on after the action with this id.
        action: Only those of one kind.
    """
    statement = select(AuditEntry, ApiKey.public_id).outerjoin(ApiKey, ApiKey.id == AuditEntry.api_key_id)
    if before_id is not None:
        statement = statement.where(AuditEntry.id < before_id)
    if action is not None:
        statement = statement.where(AuditEntry.action == action)
    found = session.execute(statement.order_by(AuditEntry.id.desc()).limit(limit))
    return [(entry, public_id) for entry, public_id in found]
