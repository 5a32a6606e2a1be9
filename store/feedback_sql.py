"""The statements of `store.feedback`. A group of rows travels as one JSON parameter, so each text is constant."""

from store.labels import ANSWER_SQL, DEFAULT_ANSWER_SQL
from store.prepared import PreparedStatement

_CASES = " ".join(f"WHEN '{kind}' THEN {part}" for kind, part in ANSWER_SQL.items())

#: Held shared by whoever writes feedback, so that forgetting an item, which holds it alone, comes before or after.
LOCK = PreparedStatement("lock_feedback", "SELECT pg_advisory_xact_lock_shared(:lock)")

LOCK_ALONE = PreparedStatement("lock_feedback_alone", "SELECT pg_advisory_xact_lock(:lock)")

ANSWERED_COLUMNS = f"""
    p.id, p.api_key_id, p.model_id, p.model_version_id, p.item_id, p.status, p.index_action IS NOT NULL AS indexes,
    p.created_at, CASE m.kind {_CASES} ELSE {DEFAULT_ANSWER_SQL} END AS answer
"""

# Bounds of the ids would not help: each row is looked up by its own, and finds its partition by it.
FIND_BY_ID = PreparedStatement(
    "find_answers_by_id",
    f"""
    SELECT n.number, {ANSWERED_COLUMNS}
    FROM json_to_recordset(CAST(:rows AS json)) AS n(number integer, prediction_id uuid)
    JOIN predictions p ON p.id = n.prediction_id
    JOIN models m ON m.id = p.model_id
    WHERE p.shadow_of IS NULL AND p.backtest_id IS NULL
        AND (CAST(:api_key_id AS bigint) IS NULL OR p.api_key_id = :api_key_id)
""",
)

# The latest that was answered: whoever corrects has seen an answer, and not what is only on its way.
FIND_BY_ITEM = PreparedStatement(
    "find_answers_by_item",
    f"""
    SELECT n.number, {ANSWERED_COLUMNS}
    FROM json_to_recordset(CAST(:rows AS json)) AS n(number integer, catalog text, external_id text)
    JOIN items i ON i.catalog = n.catalog AND i.external_id = n.external_id
    CROSS JOIN LATERAL (
        SELECT * FROM predictions
        WHERE item_id = i.id AND model_id = :model_id AND status = 'succeeded' AND index_action IS NULL
            AND shadow_of IS NULL AND backtest_id IS NULL
            AND (CAST(:api_key_id AS bigint) IS NULL OR api_key_id = :api_key_id)
        ORDER BY id DESC LIMIT 1) p
    JOIN models m ON m.id = p.model_id
""",
)

# Written in one order by all processes, else two groups about the same predictions could deadlock. The trigger counts
# the revision up and keeps what it replaces.
RECORD = PreparedStatement(
    "record_feedback",
    """
    INSERT INTO feedback AS f (
        prediction_id, api_key_id, model_id, model_version_id, item_id, label, is_correct, error, source, weight,
        recorded_by, predicted_at)
    SELECT r.prediction_id, r.api_key_id, r.model_id, r.model_version_id, r.item_id, r.label, r.is_correct, r.error,
        r.source, r.weight, r.recorded_by, r.predicted_at
    FROM json_to_recordset(CAST(:rows AS json)) AS r(
        prediction_id uuid, api_key_id bigint, model_id bigint, model_version_id bigint, item_id bigint, label jsonb,
        is_correct boolean, error double precision, source text, weight double precision, recorded_by bigint,
        predicted_at timestamptz)
    ORDER BY r.prediction_id
    ON CONFLICT (prediction_id) DO UPDATE
    SET label = excluded.label, is_correct = excluded.is_correct, error = excluded.error, source = excluded.source,
        weight = excluded.weight, recorded_by = excluded.recorded_by, updated_at = now()
    WHERE f.label IS DISTINCT FROM excluded.label OR f.source <> excluded.source OR f.weight <> excluded.weight
    RETURNING f.prediction_id, f.revision
""",
)

# Which of the items that labels name are in no index of the tenant's own.
MISSING_ITEMS = PreparedStatement(
    "missing_label_items",
    """
    SELECT n.number
    FROM json_to_recordset(CAST(:rows AS json)) AS n(
        number integer, model_id bigint, api_key_id bigint, catalog text, external_id text)
    WHERE NOT EXISTS (
        SELECT FROM items i JOIN indexed_items x ON x.item_id = i.id
        WHERE i.catalog = n.catalog AND i.external_id = n.external_id
            AND x.model_id = n.model_id AND x.api_key_id = n.api_key_id)
""",
)

VERSIONS = PreparedStatement(
    "feedback_versions",
    """
    SELECT v.id, v.config, m.kind FROM model_versions v JOIN models m ON m.id = v.model_id
    WHERE v.id = ANY(CAST(:ids AS bigint[]))
""",
)

# Answered from the index alone: it holds all that is asked.
ACCURACY = PreparedStatement(
    "feedback_accuracy",
    """
    SELECT model_version_id,
        CAST(floor(extract(epoch FROM predicted_at - CAST(:since AS timestamptz)) / :step_s) AS integer) AS step,
        count(*) AS feedback, count(*) FILTER (WHERE is_correct) AS correct, count(is_correct) AS judged,
        count(error) AS measured, sum(error) AS total_error
    FROM feedback
    WHERE model_version_id = ANY(CAST(:versions AS bigint[])) AND predicted_at >= :since AND predicted_at < :until
    GROUP BY 1, 2 ORDER BY 1, 2
""",
)
