"""Engines, sessions and the column types that every table shares."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

import orjson
import psycopg2
from sqlalchemy import (
    URL,
    BigInteger,
    Connection,
    DateTime,
    Engine,
    Identity,
    MetaData,
    Text,
    create_engine,
    event,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column
from sqlalchemy.pool import ConnectionPoolEntry

from store.prepared import use_prepared

#: How long a request may wait for a free connection before it is told 503.
POOL_TIMEOUT_S = 0.25

SESSION_SETTINGS = {
    # A query that runs longer is a bug or waits for a lock; it must not hold a request thread.
    "statement_timeout": "5s",
    # A process that dies inside a transaction must not hold its locks or the oldest xmin for long.
    "idle_in_transaction_session_timeout": "10s",
    # Whoever waits for a lock makes others wait behind it. Ours are held for milliseconds; a longer one is a fault.
    "lock_timeout": "3s",
    # Our prepared statements are made for one plan, whatever the parameters.
    "plan_cache_mode": "force_generic_plan",
    # That plan may be made while a partition is still empty, where reading it whole looks cheap.
    "enable_seqscan": "off",
    # How widely a search goes through the graph of an index of neighbours. Measured with 60,000 items by
    # `benchmarks.similarity`: see docs/decisions/0005-similarity-index.md.
    "hnsw.ef_search": "40",
    # Items that were replaced or removed stay in the graph until a vacuum: go on until enough others are found.
    "hnsw.iterative_scan": "strict_order",
}

CLAIM_SETTINGS = {
    # What a crash undoes is claimed again.
    "synchronous_commit": "off",
    # The queue has indexes in the order of claims, and few rows are found by their ids. Postgres would rather read,
    # sort and hash all that waits for each claim, 0.9 s among 300,000 rows where the first of them take 5 ms: the ids
    # between which rows can wait are parameters, which it takes for a two-hundredth of all.
    "enable_sort": "off",
    "enable_hashjoin": "off",
}

# Over a network that swallows packets the kernel would wait for a quarter of an hour; a lease holds for eight seconds.
NETWORK_LIMITS = {
    "tcp_user_timeout": 5_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}

#: A pooled connection that idled longer is tried before it is used.
PING_AFTER_S = 1.0

CHECKED_IN_AT = "torchqueue_checked_in_at"

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
    type_annotation_map = {str: Text()}  # noqa: RUF012 - SQLAlchemy declares it so.


@contextmanager
def open_session(engine: Engine) -> Iterator[Session]:
    """Yield a session that commits at the end, or rolls back when the block raises."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


def create_database(
    url: str | URL, *, application: str, pool_size: int = 5, for_claims: bool = False, role: str | None = None
) -> Engine:
    """Make an engine; nothing connects before its first use.

    Args:
        url: SQLAlchemy URL of Postgres, or what was made of it.
        application: Shown in `pg_stat_activity`.
        pool_size: Connections kept; no more are ever opened.
        for_claims: Commits return before the log is flushed, and the queue is read in order whatever Postgres thinks
            of it. Only for writes that a crash may undo without harm, such as claims and heartbeats.
        role: What every connection steps down to; None: it stays who the URL says.
    """
    settings = {
        **SESSION_SETTINGS,
        **(CLAIM_SETTINGS if for_claims else {}),
        **({} if role is None else {"role": role}),
    }
    options = [f"-c {name}={value}" for name, value in settings.items()]
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        # Postgres keeps 1e300 as an integer of 301 digits, which no answer can carry; this reads a number again.
        json_deserializer=orjson.loads,
        connect_args={
            "application_name": application,
            "options": " ".join(options),
            "connect_timeout": 2,
            **NETWORK_LIMITS,
        },
    )
    use_prepared(engine)
    event.listen(engine, "checkin", _note_checkin)
    event.listen(engine, "checkout", _ping_after_idling)
    return engine


class HeldConnection:
    """One connection that one thread keeps, so that its statements need not pass through the pool.

    Args:
        database: Makes the connection; statements commit by themselves.
    """

    def __init__(self, database: Engine) -> None:
        self._database = database.execution_options(isolation_level="AUTOCOMMIT")
        self._connection: Connection | None = None
        self._used_at = 0.0

    @contextmanager
    def use(self) -> Iterator[Connection]:
        """Yield the connection. One that failed, or that died while it idled, is replaced by the next use."""
        connection = self._open()
        try:
            yield connection
        except DBAPIError:
            self.close()
            raise
        self._used_at = time.monotonic()

    def close(self) -> None:
        """Give the connection back to the pool."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> Connection:
        if self._connection is not None and time.monotonic() - self._used_at > PING_AFTER_S:
            try:
                self._connection.exec_driver_sql("SELECT 1")
            except DBAPIError:
                self.close()
        if self._connection is None:
            self._connection = self._database.connect()
        return self._connection


def is_outage(error: DBAPIError) -> bool:
    """Whether Postgres is away, rather than the statement wrong."""
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


def _note_checkin(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[CHECKED_IN_AT] = time.monotonic()


def _ping_after_idling(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
    """Notice a connection that died with the server, before a request does.

    A ping before every use, as the pool offers, costs a round trip on the hot path; after a pause it is free.
    """
    if time.monotonic() - record.info.get(CHECKED_IN_AT, math.inf) < PING_AFTER_S:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.rollback()
    except psycopg2.Error as error:
        # The pool's word for: throw this one away and open another.
        raise DisconnectionError from error
