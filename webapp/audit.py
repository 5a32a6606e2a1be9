"""Writing down what a request does, in the transaction that does it."""

from collections.abc import Mapping
from typing import Any

from flask import request
from sqlalchemy.orm import Session

from schemas.enums import AuditAction
from store.audit import Origin, record_action
from webapp.auth import principal
from webapp.headers import request_id


def audit(
    session: Session,
    action: AuditAction,
    subject: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add what the running request does to the audit log; as `store.audit.record_action`."""
    origin = Origin.of_request(principal(), request.remote_addr, request_id())
    record_action(session, action, subject, origin, before=before, after=after)
