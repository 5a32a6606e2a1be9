"""Live figures, the same from every process: what finished, second by second, and what waits.

What finished is summed up once a second into `finished_seconds` (see `summarize_finished`), so that a reader adds up
a few hundred rows instead of the predictions of a minute; only the last second or two is read from the predictions
themselves. If nobody sums up, readers find the same figures by reading more.
"""

from typing import Any

from sqlalchemy import Connection

from store.prepared import PreparedStatement

#: Statistics cover so many seconds back.
WINDOW_S = 60

#: The rate behind an estimated time of arrival; short, so that it follows the load.
RATE_WINDOW_S = 5

#: A second is summed up when it is over for so long: a row shows its end a moment after the time that it names.
SETTLED_S = 1

#: Seconds older than this are forgotten.
KEPT_S = 300

#: After nobody summed up for long, so many seconds are made up for at a time, and none is left out.
CATCH_UP_S = 300

#: Latencies are kept in buckets each so many times as wide as the one before; a percentile is off by half of that.
BUCKET_RATIO = 1.04

# Number of the bucket of a latency; the first ends at 1 ms, those below are negative. No latency is less than 1 µs.
LATENCY_BUCKET = f"""
    CAST(ceil(ln(greatest(extract(epoch FROM p.finished_at - p.created_at) * 1000, 0.001)) / ln({BUCKET_RATIO}))
        AS smallint)
"""

# The middle of a bucket, milliseconds.
BUCKET_MS = f"CAST(round(power({BUCKET_RATIO}, {{bucket}} - 0.5), 3) AS double precision)"

# What answers somebody: the copies that shadow versions compute and the rows of backtests are no traffic.
ANSWERS = "p.shadow_of IS NULL AND p.backtest_id IS NULL"

# A writing transaction that is still open may have named an earlier time; what it ends is not visible yet.
# The lock makes one process sum up; what another has just summed up is seen by the row that the lock returns.
# Time in which nothing ended, as while all was switched off, is passed over at once.
SUMMARIZE = PreparedStatement(
    "summarize_finished",
    f"""
    WITH mark AS MATERIALIZED (
        SELECT summarized_to FROM finished_summary WHERE id = 1 FOR UPDATE SKIP LOCKED),
    horizon AS MATERIALIZED (
        SELECT date_trunc('second', least(
            now() - interval '{SETTLED_S} seconds',
            (SELECT min(xact_start) FROM pg_stat_activity
             WHERE backend_xid IS NOT NULL AND datname = current_database() AND pid <> pg_backend_pid()))) AS until),
    begin AS MATERIALIZED (
        SELECT least(until, date_trunc('second', coalesce(
            (SELECT min(finished_at) FROM predictions WHERE finished_at >= (SELECT summarized_to FROM mark)), until)))
            AS since, until
        FROM mark, horizon WHERE until > summarized_to),
    span AS MATERIALIZED (
        SELECT since, least(until, since + interval '{CATCH_UP_S} seconds') AS until FROM begin),
    ended AS MATERIALIZED (
        SELECT date_trunc('second', p.finished_at) AS second, p.model_version_id, p.status,
            {LATENCY_BUCKET} AS latency_bucket, p.assignment_probability IS NOT NULL AS drawn, count(*) AS predictions
        FROM predictions p
        WHERE p.finished_at >= (SELECT since FROM span) AND p.finished_at < (SELECT until FROM span) AND {ANSWERS}
        GROUP BY 1, 2, 3, 4, 5),
    added AS (
        INSERT INTO finished_seconds (second, model_version_id, status, latency_bucket, predictions)
        SELECT second, model_version_id, status, latency_bucket, sum(predictions) FROM ended GROUP BY 1, 2, 3, 4),
    shared AS (
        INSERT INTO traffic_minutes AS t (model_version_id, minute, status, latency_bucket, predictions)
        SELECT model_version_id, date_trunc('minute', second), status, latency_bucket, sum(predictions)
        FROM ended WHERE drawn GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (model_version_id, minute, status, latency_bucket)
        DO UPDATE SET predictions = t.predictions + excluded.predictions),
    forgotten AS (
        DELETE FROM finished_seconds WHERE second < now() - interval '{KEPT_S} seconds')
    UPDATE finished_summary SET summarized_to = span.until FROM span WHERE id = 1
""",
)

# From whole seconds where they are summed up, from the rows themselves after that.
# All that follows reads these few rows, and whole numbers: sums of bigint are numeric and several times slower.
RECENTLY_FINISHED = f"""
    SELECT s.model_version_id, s.status, s.latency_bucket, CAST(sum(s.predictions) AS integer) AS predictions
    FROM finished_seconds s
    WHERE s.second >= now() - :window * interval '1 second'
    GROUP BY 1, 2, 3
    UNION ALL
    SELECT p.model_version_id, p.status, {LATENCY_BUCKET}, CAST(count(*) AS integer)
    FROM predictions p
    WHERE p.finished_at >= (SELECT greatest(summarized_to, now() - :window * interval '1 second') FROM finished_summary)
        AND {ANSWERS}
    GROUP BY 1, 2, 3
"""

STATS = PreparedStatement(
    "model_stats",
    f"""
    WITH recent AS MATERIALIZED ({RECENTLY_FINISHED}),
    counted AS (
        SELECT model_version_id,
            coalesce(sum(predictions) FILTER (WHERE status = 'succeeded'), 0) AS succeeded,
            coalesce(sum(predictions) FILTER (WHERE status = 'failed'), 0) AS failed,
            coalesce(sum(predictions) FILTER (WHERE status = 'canceled'), 0) AS canceled,
            coalesce(sum(predictions) FILTER (WHERE status = 'expired'), 0) AS expired,
            sum(predictions) AS total
        FROM recent GROUP BY model_version_id),
    ranked AS (
        SELECT model_version_id, latency_bucket,
            sum(sum(predictions)) OVER (PARTITION BY model_version_id ORDER BY latency_bucket) AS rank
        FROM recent GROUP BY model_version_id, latency_bucket),
    latency AS (
        SELECT model_version_id,
            min(latency_bucket) FILTER (WHERE rank >= 0.5 * total) AS p50,
            min(latency_bucket) FILTER (WHERE rank >= 0.99 * total) AS p99
        FROM ranked JOIN counted USING (model_version_id) GROUP BY model_version_id)
    SELECT m.name AS model, v.number AS version, CAST(c.succeeded AS bigint) AS succeeded,
        CAST(c.failed AS bigint) AS failed, CAST(c.canceled AS bigint) AS canceled,
        CAST(c.expired AS bigint) AS expired,
        c.total / CAST(:window AS double precision) AS per_second,
        {BUCKET_MS.format(bucket="l.p50")} AS total_p50_ms, {BUCKET_MS.format(bucket="l.p99")} AS total_p99_ms
    FROM counted c JOIN latency l USING (model_version_id)
    JOIN model_versions v ON v.id = c.model_version_id JOIN models m ON m.id = v.model_id
    ORDER BY m.name, v.number
""",
)

# A hint is given with every answer 202, so it may not cost a read of the rows: it is the rate of the last seconds
# that were summed up.
FINISHED_PER_SECOND = PreparedStatement(
    "finished_per_second",
    """
    SELECT coalesce(sum(s.predictions), 0) / CAST(:window AS double precision)
    FROM finished_summary f JOIN finished_seconds s
        ON s.second >= f.summarized_to - :window * interval '1 second' AND s.second < f.summarized_to
    WHERE f.summarized_to >= now() - 2 * :window * interval '1 second'
""",
)

QUEUES = PreparedStatement(
    "queue_depths",
    """
    SELECT m.name AS model, v.number AS version, p.priority,
        sum(p.queued) AS queued, sum(p.processing) AS processing,
        CAST(extract(epoch FROM now() - min(p.oldest_at)) AS double precision) AS oldest_queued_s
    FROM (
        SELECT model_version_id, priority, count(*) AS queued, 0 AS processing, min(created_at) AS oldest_at
        FROM predictions WHERE status = 'queued' GROUP BY 1, 2
        UNION ALL
        SELECT model_version_id, priority, 0, count(*), NULL
        FROM predictions WHERE status = 'processing' GROUP BY 1, 2
    ) p
    JOIN model_versions v ON v.id = p.model_version_id JOIN models m ON m.id = v.model_id
    GROUP BY m.name, v.number, p.priority ORDER BY m.name, v.number, p.priority
""",
)


def summarize_finished(connection: Connection) -> None:
    """Sum up the seconds that are over since the last time. From any number of processes; one does it."""
    SUMMARIZE.run(connection)


def model_stats(connection: Connection) -> list[dict[str, Any]]:
    """Count what finished within the window, by version.

    Latencies, in milliseconds from acceptance to the end, are right to 2 %.
    """
    return [dict(row) for row in STATS.run(connection, window=WINDOW_S).mappings()]


def queue_depths(connection: Connection) -> list[dict[str, Any]]:
    """Count what waits and what runs, by version and priority."""
    return [dict(row) for row in QUEUES.run(connection).mappings()]


def finished_per_second(connection: Connection) -> float:
    """Return the rate at which predictions finished lately; 0.0 when none did, or nobody sums up."""
    return float(FINISHED_PER_SECOND.run(connection, window=RATE_WINDOW_S).scalar_one())
