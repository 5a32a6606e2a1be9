"""Objects of forgotten items that are still to be removed from the object store."""

from sqlalchemy.orm import Mapped, mapped_column

from store.database import Base, CreatedAt


class ForgottenObject(Base):
    """One file whose item was forgotten. Gone from here once it is removed, or found in use by another row."""

    __tablename__ = "forgotten_objects"

    sha256: Mapped[str] = mapped_column(primary_key=True, comment="Hex; the object store's key.")
    created_at: Mapped[CreatedAt]
