"""When leases were last looked at."""

from sqlalchemy import CheckConstraint, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from store.database import Base, UtcDateTime


class ReaperRun(Base):
    """One row, shared by all processes that reap: a gap in it means that nobody reached Postgres, or none ran."""

    __tablename__ = "reaper_runs"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(
        SmallInteger, primary_key=True, autoincrement=False, comment="Always 1: there is one row."
    )
    ran_at: Mapped[UtcDateTime] = mapped_column(comment="When leases were last looked at.")
    lenient_until: Mapped[UtcDateTime] = mapped_column(
        comment="Until then no lease expires: nobody could look, so perhaps nobody could renew."
    )
