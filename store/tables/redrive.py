"""Dead letters that were asked again."""

from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from store.database import Base, CreatedAt


class Redrive(Base):
    """Which prediction asks a dead letter again. The key makes a second redrive of the same one find the first."""

    __tablename__ = "redrives"

    prediction_id: Mapped[UUID] = mapped_column(primary_key=True, comment="The dead letter; asked again once at most.")
    redrive_id: Mapped[UUID] = mapped_column(comment="The prediction that asks the same again.")
    created_at: Mapped[CreatedAt]
