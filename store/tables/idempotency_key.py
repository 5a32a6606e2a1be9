"""Idempotency keys: a request sent twice is one prediction."""

from uuid import UUID

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from store.database import Base, CreatedAt


class IdempotencyKey(Base):
    """The first request under a client's key, and the prediction it made."""

    __tablename__ = "idempotency_keys"

    api_key_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, comment="Keys of tenants never collide.")
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str] = mapped_column(comment="Hex; tells a repeat from another request under the same key.")
    prediction_id: Mapped[UUID] = mapped_column(index=True)
    created_at: Mapped[CreatedAt]
