"""Process layouts: how many worker processes, of how many threads, answer most on one kind of machine."""

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from store.database import Base, CreatedAt, Identifier, JsonObject


class ProcessLayout(Base):
    """The latest measurement on one kind of machine without GPU; `torchqueue up` follows it."""

    __tablename__ = "process_layouts"
    __table_args__ = (UniqueConstraint("host_kind", "torch_version"),)

    id: Mapped[Identifier]
    host_kind: Mapped[str] = mapped_column(comment="Processor, instructions and number of cores.")
    torch_version: Mapped[str] = mapped_column(comment="Another torch has other kernels.")
    processes: Mapped[int] = mapped_column(comment="Inference workers.")
    threads: Mapped[int] = mapped_column(comment="Threads inside one operation, in each of them.")
    figures: Mapped[JsonObject] = mapped_column(comment="The model, and every layout with what it answered a second.")
    created_at: Mapped[CreatedAt]
