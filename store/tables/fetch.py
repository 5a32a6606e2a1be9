"""A picture that a prediction names by its URL, until it is fetched."""

from uuid import UUID

from sqlalchemy import BigInteger, Index, SmallInteger, func
from sqlalchemy.orm import Mapped, mapped_column

from store.database import Base, CreatedAt, UtcDateTime


class Fetch(Base):
    """One picture to be fetched. The row goes when its prediction has the picture, or fails for the want of it."""

    __tablename__ = "fetches"
    __table_args__ = (Index(None, "run_after"),)

    prediction_id: Mapped[UUID] = mapped_column(
        primary_key=True, comment="Queued, and not run before this row is gone."
    )
    url: Mapped[str]
    host: Mapped[str] = mapped_column(comment="Of the URL, with its port; failures are counted by it.")
    run_after: Mapped[UtcDateTime] = mapped_column(
        server_default=func.now(), comment="Not claimed before; while it is held, the end of the attempt."
    )
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default="0", comment="Claims so far.")
    fence: Mapped[int | None] = mapped_column(BigInteger, comment="Token of the last claim; rises with every claim.")
    worker_id: Mapped[int | None] = mapped_column(BigInteger, comment="The life that holds it; NULL: nobody holds it.")
    created_at: Mapped[CreatedAt]
