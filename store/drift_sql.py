"""The statements of `store.drift`."""

from store.prepared import PreparedStatement

#: Of an answer: what it says, and how sure or how much, by the kind of the model. A kind of the user's own is read as
#: a classification is, where it says the like.
SAID = """
    CASE m.kind WHEN 'regression' THEN NULL WHEN 'similarity' THEN NULL
        WHEN 'segmentation' THEN coalesce(p.result -> 'classes' -> 0 ->> 'label', '')
        ELSE p.result ->> 'label' END AS label,
    CAST(CASE m.kind WHEN 'regression' THEN p.result ->> 'value'
        WHEN 'similarity' THEN p.result -> 'items' -> 0 ->> 'distance'
        WHEN 'segmentation' THEN p.result -> 'classes' -> 0 ->> 'score'
        ELSE CASE WHEN jsonb_typeof(p.result -> 'score') = 'number' THEN p.result ->> 'score' END
        END AS double precision) AS score
"""

#: What somebody was answered: no photo of an index, no copy that a shadow version computed, no row of a backtest.
ANSWERED = "status = 'succeeded' AND index_action IS NULL AND shadow_of IS NULL AND backtest_id IS NULL"

FIRST_ANSWERS = PreparedStatement(
    "drift_first_answers",
    f"""
    SELECT p.id, {SAID} FROM (
        SELECT id, result, model_id FROM predictions
        WHERE model_version_id = :version AND id >= :since AND {ANSWERED}
        ORDER BY id LIMIT :count) p
    JOIN models m ON m.id = p.model_id ORDER BY p.id
""",
)

LATEST_ANSWERS = PreparedStatement(
    "drift_latest_answers",
    f"""
    SELECT p.id, {SAID} FROM (
        SELECT id, result, model_id FROM predictions
        WHERE model_version_id = :version AND id > :after AND id < :until AND {ANSWERED}
        ORDER BY id DESC LIMIT :count) p
    JOIN models m ON m.id = p.model_id ORDER BY p.id
""",
)

# How right answers were, of the first or the latest that have feedback.
TALLY = """
    SELECT count(*) AS found, count(*) FILTER (WHERE is_correct) AS correct, count(is_correct) AS judged,
        count(error) AS measured, avg(error) AS mean, var_samp(error) AS variance,
        max(predicted_at) AS last_at, max(updated_at) AS updated_at
    FROM (
        SELECT is_correct, error, predicted_at, updated_at FROM feedback
        WHERE model_version_id = :version AND predicted_at {bound}
        ORDER BY predicted_at {direction} LIMIT :count) f
"""

FIRST_FEEDBACK = PreparedStatement("drift_first_feedback", TALLY.format(bound=">= :since", direction="ASC"))

LATEST_FEEDBACK = PreparedStatement("drift_latest_feedback", TALLY.format(bound="> :after", direction="DESC"))

NEW_FEEDBACK = PreparedStatement(
    "drift_new_feedback",
    """
    SELECT count(*) FROM (
        SELECT FROM feedback
        WHERE model_id = :model_id AND updated_at > :since AND model_version_id = :version LIMIT :count) f
""",
)

LAST_PROMOTION = PreparedStatement(
    "drift_last_promotion",
    """
    SELECT max(created_at) FROM decisions
    WHERE model_id = :model_id AND model_version_id = :version AND action IN ('promote', 'rollback')
""",
)
