"""API keys: who may call."""

from sqlalchemy import Text
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
