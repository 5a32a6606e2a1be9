"""The audit log: who did what, from where. Only ever added to; a trigger refuses anything else."""

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from store.database import Base, CreatedAt, Identifier


class AuditEntry(Base):
    """One action of a key or of a command."""

    __tablename__ = "audit_log"

    id: Mapped[Identifier]
    action: Mapped[str] = mapped_column(comment="Member of schemas.enums.AuditAction.")
    actor: Mapped[str] = mapped_column(comment="Name of an API key, or `command line`.")
    api_key_id: Mapped[int | None] = mapped_column(BigInteger, comment="The key that acted. NULL: no key did.")
    subject: Mapped[str] = mapped_column(comment="What was acted on, such as key/aB3 or training/0199….")
    remote_address: Mapped[str | None] = mapped_column(comment="Where the request came from. NULL: no request.")
    request_id: Mapped[str | None] = mapped_column(comment="As the answer's X-Request-Id says it. NULL: no request.")
    before: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True), comment="What it was, where that is small."
    )
    after: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True), comment="What it became, where that is small."
    )
    created_at: Mapped[CreatedAt]
