"""The statements of `store.comparison`."""

from store.prepared import PreparedStatement
from store.stats import LATENCY_BUCKET

DRAWN = "p.assignment_probability IS NOT NULL AND p.model_version_id = ANY(CAST(:versions AS bigint[]))"

_RAW = f"""
    SELECT p.model_version_id, p.status, {LATENCY_BUCKET} AS latency_bucket, count(*) AS predictions
    FROM predictions p WHERE {DRAWN}
"""

# Whole minutes as they are summed up; the rows themselves for the part of the first minute that belongs to the span,
# and for what ended since it was last summed up: at most some thousands of rows, however long the span is.
ENDED = PreparedStatement(
    "comparison_ended",
    f"""
    WITH span AS MATERIALIZED (
        SELECT CAST(:since AS timestamptz) AS since,
            date_trunc('minute', CAST(:since AS timestamptz) + interval '59.999999 seconds') AS whole,
            summarized_to FROM finished_summary)
    SELECT model_version_id, status, latency_bucket, CAST(sum(predictions) AS bigint) AS predictions FROM (
        SELECT t.model_version_id, t.status, t.latency_bucket, t.predictions FROM traffic_minutes t
        WHERE t.model_version_id = ANY(CAST(:versions AS bigint[])) AND t.minute >= (SELECT whole FROM span)
        UNION ALL
        ({_RAW} AND p.finished_at >= (SELECT since FROM span) AND p.finished_at < (SELECT whole FROM span)
        GROUP BY 1, 2, 3)
        UNION ALL
        ({_RAW} AND p.finished_at >= (SELECT greatest(whole, summarized_to) FROM span) GROUP BY 1, 2, 3)
    ) each_part
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
""",
)

# Of predictions whose version was drawn only: who names a version has a reason to, and it would not be a fair sample.
FEEDBACK = PreparedStatement(
    "comparison_feedback",
    """
    SELECT f.model_version_id, count(f.is_correct) AS judged, count(*) FILTER (WHERE f.is_correct) AS correct,
        count(f.error) AS measured, coalesce(sum(f.error), 0.0) AS total_error,
        coalesce(sum(f.error * f.error), 0.0) AS squared_error
    FROM feedback f JOIN predictions p ON p.id = f.prediction_id
    WHERE f.model_version_id = ANY(CAST(:versions AS bigint[])) AND f.predicted_at >= :since
        AND p.id >= :least_id AND p.assignment_probability IS NOT NULL
    GROUP BY 1
""",
)

# What was assigned since the shares were last set, by what was drawn for: requests, items or keys.
_ASSIGNED = f"""
    SELECT p.model_version_id, count({{unit}}) AS assigned FROM predictions p
    WHERE {DRAWN} AND p.id >= :least_id AND p.created_at >= :since GROUP BY 1
"""
ASSIGNED_REQUESTS = PreparedStatement("comparison_requests", _ASSIGNED.format(unit="*"))
ASSIGNED_ITEMS = PreparedStatement("comparison_items", _ASSIGNED.format(unit="DISTINCT p.item_id"))
ASSIGNED_KEYS = PreparedStatement("comparison_keys", _ASSIGNED.format(unit="DISTINCT p.api_key_id"))

# Pairs of what a shadow said and what was answered, the latest ones. Each finds its answer by its id.
SHADOWS = PreparedStatement(
    "comparison_shadows",
    """
    SELECT count(*) AS pairs, count(*) FILTER (WHERE status IN ('succeeded', 'failed')) AS finished,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        count(*) FILTER (WHERE said IS NOT NULL AND answered IS NOT NULL) AS both_said,
        count(*) FILTER (WHERE said = answered) AS agreed,
        count(difference) AS measured, coalesce(sum(difference), 0.0) AS total_difference,
        coalesce(sum(difference * difference), 0.0) AS squared_difference,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY shadow_ms) AS shadow_p50_ms,
        percentile_cont(0.99) WITHIN GROUP (ORDER BY shadow_ms) AS shadow_p99_ms,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY answer_ms) AS answer_p50_ms,
        percentile_cont(0.99) WITHIN GROUP (ORDER BY answer_ms) AS answer_p99_ms
    FROM (
        SELECT s.status, s.result -> CAST(:member AS text) AS said, a.result -> CAST(:member AS text) AS answered,
            s.decode_ms + s.compute_ms AS shadow_ms, a.decode_ms + a.compute_ms AS answer_ms,
            CASE WHEN jsonb_typeof(s.result -> CAST(:member AS text)) = 'number'
                    AND jsonb_typeof(a.result -> CAST(:member AS text)) = 'number'
                THEN abs(CAST(s.result ->> CAST(:member AS text) AS double precision)
                    - CAST(a.result ->> CAST(:member AS text) AS double precision)) END AS difference
        FROM (
            SELECT * FROM predictions
            WHERE model_version_id = :version AND shadow_of IS NOT NULL AND id >= :least_id AND created_at >= :since
            ORDER BY id DESC LIMIT CAST(:most AS integer)
        ) s JOIN predictions a ON a.id = s.shadow_of
    ) pairs
""",
)

FORGET_MINUTES = PreparedStatement(
    "forget_traffic_minutes",
    """
    DELETE FROM traffic_minutes WHERE minute < now() - :seconds * interval '1 second'
""",
)
