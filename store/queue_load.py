"""What waits, by version, priority and tenant: the one question from which web processes tell how long a wait is."""

from dataclasses import dataclass

from sqlalchemy import Connection

from schemas.enums import Priority
from store.prepared import PreparedStatement
from store.queue_span import queue_span

# Rows that answer nobody are work, and count against no tenant.
QUEUE_LOAD = PreparedStatement(
    "queue_load",
    """
    SELECT m.name || '/' || v.number AS version, q.*
    FROM (
        SELECT p.model_version_id, p.priority,
            CASE WHEN p.shadow_of IS NULL AND p.backtest_id IS NULL THEN p.api_key_id END AS api_key_id,
            count(*) AS rows,
            CAST(extract(epoch FROM min(p.claim_order) - now()) AS double precision) AS first_s,
            CAST(extract(epoch FROM max(p.claim_order) - now()) AS double precision) AS last_s
        FROM predictions p
        WHERE p.status = 'queued' AND p.id >= :since AND p.id < :until
        GROUP BY 1, 2, 3) q
    JOIN model_versions v ON v.id = q.model_version_id JOIN models m ON m.id = v.model_id
""",
)

HELD_LOAD = PreparedStatement(
    "held_load",
    """
    SELECT m.name || '/' || v.number AS version, q.rows
    FROM (
        SELECT p.model_version_id, count(*) AS rows FROM predictions p
        WHERE p.status = 'processing' AND p.id >= :since AND p.id < :until GROUP BY 1) q
    JOIN model_versions v ON v.id = q.model_version_id JOIN models m ON m.id = v.model_id
""",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """Rows of one version, priority and tenant that wait.

    Attributes:
        version: As `model/number`.
        priority: Theirs.
        api_key_id: The tenant; None for copies and replays, which answer nobody.
        rows: How many.
        first_s: Place of the first in the order of claims: seconds from now, below 0 for one that is overdue.
        last_s: Place of the last.
    """

    version: str
    priority: Priority
    api_key_id: int | None
    rows: int
    first_s: float
    last_s: float


def read_queue_load(connection: Connection) -> list[Waiting]:
    """Read what waits. It costs a look at every row that does: 1 µs each."""
    span = queue_span(connection)
    return [
        Waiting(
            version=row.version,
            priority=Priority(row.priority),
            api_key_id=row.api_key_id,
            rows=row.rows,
            first_s=row.first_s,
            last_s=row.last_s,
        )
        for row in QUEUE_LOAD.run(connection, since=span.since, until=span.until)
    ]


def read_held_load(connection: Connection) -> dict[str, int]:
    """Count the rows that workers hold, by version as `model/number`."""
    span = queue_span(connection)
    return {row.version: row.rows for row in HELD_LOAD.run(connection, since=span.since, until=span.until)}
