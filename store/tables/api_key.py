"""API keys: who may call."""

from sqlalchemy import BigInteger, ForeignKey, Index, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from store.database import Base, CreatedAt, Identifier, UtcDateTime


class ApiKey(Base):
    """A tenant. The secret is never stored, only its hash."""

    __tablename__ = "api_keys"

    id: Mapped[Identifier]
    public_id: Mapped[str] = mapped_column(unique=True, comment="The part of the key that may appear in logs.")
    secret_sha256: Mapped[str] = mapped_column(
        comment="Hex. A 256-bit random secret needs no slow hash; SHA-256 keeps the check off the profile."
    )
    name: Mapped[str] = mapped_column(comment="What the owner calls it.")
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), comment="Members of schemas.enums.Scope.")
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[UtcDateTime | None] = mapped_column(comment="NULL: never expires.")
    revoked_at: Mapped[UtcDateTime | None] = mapped_column(comment="NULL: not revoked.")
    rate_per_minute: Mapped[int | None] = mapped_column(comment="Requests in a minute, in the mean. NULL: unlimited.")
    burst: Mapped[int | None] = mapped_column(
        comment="Requests at once before that mean counts. NULL: as many as in a minute."
    )
    max_concurrent: Mapped[int | None] = mapped_column(comment="Requests under way at once. NULL: unlimited.")
    max_queued: Mapped[int | None] = mapped_column(comment="Predictions that wait at once. NULL: unlimited.")
    rotated_at: Mapped[UtcDateTime | None] = mapped_column(
        comment="When the secret of today was made. NULL: with the key."
    )
    last_used_at: Mapped[UtcDateTime | None] = mapped_column(
        comment="Right to a minute, and seconds late. NULL: never."
    )


class RetiredSecret(Base):
    """A secret that a key had before its rotation. It works until its grace is over."""

    __tablename__ = "retired_secrets"
    __table_args__ = (Index(None, "api_key_id"),)

    id: Mapped[Identifier]
    api_key_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("api_keys.id"))
    secret_sha256: Mapped[str] = mapped_column(comment="Hex, as in api_keys.")
    expires_at: Mapped[UtcDateTime] = mapped_column(comment="The end of its grace.")
    created_at: Mapped[CreatedAt]
