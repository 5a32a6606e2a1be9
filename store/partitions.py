"""Weekly partitions of `predictions`: made ahead, dropped when their retention is over.

The key is the UUIDv7 id, whose first 48 bits are Unix milliseconds (RFC 9562), so a range of ids is a range
of time and a look-up by id touches one partition. Weeks, not days: the hot statements plan over every
partition, and a dozen cost nothing where a hundred would.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, text

#: Partitions exist this far into the future, so that a beat that stands still for weeks refuses no request.
AHEAD = timedelta(weeks=8)

WEEK = timedelta(weeks=1)

#: How far the clocks of the processes that make ids may be off; bounds of ids that prune partitions leave so much room.
CLOCK_SLACK = WEEK
PARTITION_NAME = re.compile(r"predictions_p(\d{4})w(\d{2})")

# Made by `store.embeddings`, one an index.
INDEX_PARTITION_NAME = re.compile(r"embeddings_\d+")

# Two processes that start together would both see a partition missing.
ADVISORY_LOCK_ID = 7_208_001

# Each row is updated twice within a second of its insert: room on the page keeps the versions together,
# and vacuum has to come by the number of rows that a second makes, not by a fifth of a week's.
STORAGE_PARAMETERS = "fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.02"


@dataclass(frozen=True)
class Week:
    """An ISO week, half open."""

    start: datetime

    @classmethod
    def of(cls, moment: datetime) -> "Week":
        """Return the week in which an aware moment lies."""
        day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return cls(day - timedelta(days=day.weekday()))

    @property
    def end(self) -> datetime:
        """The first moment after the week."""
        return self.start + WEEK

    @property
    def partition(self) -> str:
        """The table that holds the week, e.g. `predictions_p2026w47`."""
        year, week, _ = self.start.isocalendar()
        return f"predictions_p{year}w{week:02}"


def is_partition_name(name: str) -> bool:
    """Whether a table is one of our partitions, those of similarity indexes included."""
    return (PARTITION_NAME.fullmatch(name) or INDEX_PARTITION_NAME.fullmatch(name)) is not None


def least_id(moment: datetime) -> UUID:
    """Return the least UUID whose first 48 bits are the moment's Unix milliseconds; before 1970, the least of all."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


def ensure_partitions(connection: Connection, *, ahead: timedelta = AHEAD, behind: timedelta = WEEK) -> list[str]:
    """Make the partitions from `behind` to `ahead` of now that do not exist yet.

    Args:
        connection: Within a transaction, which holds the lock against another process that does the same.
        ahead: How far into the future.
        behind: How far into the past; at least the week before, because an id is made by the accepting
            process, whose clock may lag around midnight.

    Returns:
        The names of those it made.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK_ID})
    now: datetime = connection.execute(text("SELECT now()")).scalar_one()
    present = set(partition_names(connection))
    made = []
    week, last = Week.of(now - behind), Week.of(now + ahead)
    while week.start <= last.start:
        if week.partition not in present:
            _create(connection, week)
            made.append(week.partition)
        week = Week(week.end)
    return made


def drop_expired_partitions(connection: Connection, *, retention: timedelta) -> list[str]:
    """Drop the partitions whose youngest row is older than `retention`.

    Returns:
        The names of those it dropped.
    """
    now: datetime = connection.execute(text("SELECT now()")).scalar_one()
    expired = [name for name in partition_names(connection) if _week_of(name).end <= now - retention]
    for name in expired:
        connection.execute(text(f"DROP TABLE {name}"))
    return expired


def partition_names(connection: Connection) -> list[str]:
    """List the partitions that exist, oldest first."""
    statement = text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'predictions'::regclass")
    return sorted(connection.execute(statement).scalars())


def first_kept_id(connection: Connection) -> UUID | None:
    """Return the least id that a partition can hold; None when there is no partition."""
    names = partition_names(connection)
    return least_id(_week_of(names[0]).start) if names else None


def _create(connection: Connection, week: Week) -> None:
    bounds = f"FROM ('{least_id(week.start)}') TO ('{least_id(week.end)}')"
    connection.execute(
        text(f"CREATE TABLE {week.partition} PARTITION OF predictions FOR VALUES {bounds} WITH ({STORAGE_PARAMETERS})")
    )


def _week_of(partition: str) -> Week:
    match = PARTITION_NAME.fullmatch(partition)
    assert match is not None, partition
    year, week = map(int, match.groups())
    return Week(datetime.fromisocalendar(year, week, 1).replace(tzinfo=UTC))
