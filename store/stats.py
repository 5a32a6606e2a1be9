"""Live figures, read from the rows themselves so that every process tells the same."""

from typing import Any

from sqlalchemy import Connection, text

#: Statistics cover so many seconds back.
WINDOW_S = 60

#: The rate behind an estimated time of arrival; short, so that it follows the load and reads few rows.
RATE_WINDOW_S = 5

# The id begins with milliseconds, so a window of time is a range of the primary key and reads one partition.
LEAST_ID = """
    CAST(lpad(to_hex(CAST(extract(epoch FROM now()) * 1000 AS bigint) - :window * 1000), 12, '0')
        || repeat('0', 20) AS uuid)
"""

STATS = text(f"""
    SELECT m.name AS model, v.number AS version,
        count(*) FILTER (WHERE p.status = 'succeeded') AS succeeded,
        count(*) FILTER (WHERE p.status = 'failed') AS failed,
        count(*) FILTER (WHERE p.status = 'canceled') AS canceled,
        count(*) FILTER (WHERE p.status = 'expired') AS expired,
        count(*) / CAST(:window AS double precision) AS per_second,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY p.total_ms) AS total_p50_ms,
        percentile_cont(0.99) WITHIN GROUP (ORDER BY p.total_ms) AS total_p99_ms
    FROM (
        SELECT model_version_id, status, extract(epoch FROM finished_at - created_at) * 1000 AS total_ms
        FROM predictions
        WHERE id >= {LEAST_ID} AND finished_at IS NOT NULL
    ) p
    JOIN model_versions v ON v.id = p.model_version_id JOIN models m ON m.id = v.model_id
    GROUP BY m.name, v.number ORDER BY m.name, v.number
""")

FINISHED_PER_SECOND = text(f"""
    SELECT count(*) / CAST(:window AS double precision) FROM predictions
    WHERE id >= {LEAST_ID} AND finished_at IS NOT NULL
""")

QUEUES = text("""
    SELECT m.name AS model, v.number AS version, p.priority,
        count(*) FILTER (WHERE p.status = 'queued') AS queued,
        count(*) FILTER (WHERE p.status = 'processing') AS processing,
        CAST(extract(epoch FROM now() - min(p.created_at) FILTER (WHERE p.status = 'queued')) AS double precision)
            AS oldest_queued_s
    FROM (
        SELECT model_version_id, priority, status, created_at FROM predictions WHERE status = 'queued'
        UNION ALL
        SELECT model_version_id, priority, status, created_at FROM predictions WHERE status = 'processing'
    ) p
    JOIN model_versions v ON v.id = p.model_version_id JOIN models m ON m.id = v.model_id
    GROUP BY m.name, v.number, p.priority ORDER BY m.name, v.number, p.priority
""")


def model_stats(connection: Connection) -> list[dict[str, Any]]:
    """Count what was accepted and finished within the window, with latency in milliseconds, by version."""
    return [dict(row) for row in connection.execute(STATS, {"window": WINDOW_S}).mappings()]


def queue_depths(connection: Connection) -> list[dict[str, Any]]:
    """Count what waits and what runs, by version and priority."""
    return [dict(row) for row in connection.execute(QUEUES).mappings()]


def finished_per_second(connection: Connection) -> float:
    """Return the rate at which predictions of the last seconds finished; 0.0 when none did."""
    return float(connection.execute(FINISHED_PER_SECOND, {"window": RATE_WINDOW_S}).scalar_one())
