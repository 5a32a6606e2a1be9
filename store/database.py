"""Engines, sessions and the column types that every table shares."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Engine, Identity, MetaData, Text, create_engine, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

#: How long a request may wait for a free connection before it is told 503.
POOL_TIMEOUT_S = 0.25

# A query that runs longer than this is a bug or a lock; it must not hold a request thread.
STATEMENT_TIMEOUT_MS = 5_000

# A process that dies inside a transaction must not hold its locks or the oldest xmin for long.
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000

Identifier = Annotated[int, mapped_column(BigInteger, Identity(always=True), primary_key=True)]
UtcDateTime = Annotated[datetime, mapped_column(DateTime(timezone=True))]
CreatedAt = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
JsonObject = Annotated[dict[str, Any], mapped_column(JSONB(none_as_null=True))]


class Base(DeclarativeBase):
    """Base of all ORM classes. Names of constraints follow one convention, so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Text()}


@contextmanager
def open_session(engine: Engine) -> Iterator[Session]:
    """Yield a session that commits at the end, or rolls back when the block raises."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


def create_database(url: str, *, application: str, pool_size: int = 5, durable: bool = True) -> Engine:
    """Make an engine; nothing connects before its first use.

    Args:
        url: SQLAlchemy URL of Postgres.
        application: Shown in `pg_stat_activity`.
        pool_size: Connections kept; no more are ever opened.
        durable: False lets commits return before the log is flushed. Only for writes that a crash may
            undo without harm, such as claims and heartbeats.
    """
    options = [
        f"-c statement_timeout={STATEMENT_TIMEOUT_MS}",
        f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS}",
        f"-c synchronous_commit={'on' if durable else 'off'}",
    ]
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        # A connection that died with the server is noticed here rather than by a request.
        pool_pre_ping=True,
        connect_args={"application_name": application, "options": " ".join(options), "connect_timeout": 2},
    )
