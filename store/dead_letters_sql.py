"""The statements of `store.dead_letters`."""

from sqlalchemy import text

# Shadows and rows of backtests answer nobody: how they fail belongs to what they are compared for. The codes are in the
# text, since the plan must know them to use the index of such endings.
DEAD = """p.error_code IN ('attempts_exhausted', 'worker_crash') AND p.shadow_of IS NULL AND p.backtest_id IS NULL
            AND (CAST(:api_key_id AS bigint) IS NULL OR p.api_key_id = :api_key_id)
            AND (CAST(:model AS text) IS NULL OR p.model_id = (SELECT id FROM models WHERE name = :model))
            AND (CAST(:since AS uuid) IS NULL OR p.id >= CAST(:since AS uuid))
            AND (CAST(:before AS uuid) IS NULL OR p.id < CAST(:before AS uuid))"""

# Trainings belong to no key; like everywhere, whoever may read sees them all.
LIST = text(f"""
    SELECT d.kind, d.id, m.name AS model, v.number AS version, d.reason, d.detail, d.attempts, d.crashes,
        w.name AS worker, d.device, d.created_at, d.finished_at, d.redriven_as
    FROM (
        (SELECT 'prediction' AS kind, p.id, p.model_id, p.model_version_id, p.error_code AS reason,
            p.error_detail AS detail, p.attempt AS attempts, p.crash_count AS crashes, p.worker_id, p.device,
            p.created_at, p.finished_at, r.redrive_id AS redriven_as
        FROM predictions p LEFT JOIN redrives r ON r.prediction_id = p.id
        WHERE {DEAD}
        ORDER BY p.id DESC LIMIT :limit)
        UNION ALL
        (SELECT 'training', p.id, p.model_id, p.model_version_id, p.error_code, p.error_detail, p.attempt,
            p.crash_count, p.worker_id, p.device, p.created_at, p.finished_at, NULL
        FROM trainings p
        WHERE p.error_code = 'worker_crash'
            AND (CAST(:model AS text) IS NULL OR p.model_id = (SELECT id FROM models WHERE name = :model))
            AND (CAST(:before AS uuid) IS NULL OR p.id < CAST(:before AS uuid))
        ORDER BY p.id DESC LIMIT :limit)
    ) d
    JOIN models m ON m.id = d.model_id
    LEFT JOIN model_versions v ON v.id = d.model_version_id
    LEFT JOIN workers w ON w.id = d.worker_id
    ORDER BY d.id DESC LIMIT :limit
""")

# Oldest first, as they would have been answered; those that were asked again already are passed over.
FIND = text(f"""
    SELECT p.id FROM predictions p
    WHERE {DEAD} AND NOT EXISTS (SELECT 1 FROM redrives r WHERE r.prediction_id = p.id)
    ORDER BY p.id LIMIT :limit
""")

# The key of `redrives` makes of any number of requests for one dead letter one prediction. Whoever finds it taken by a
# transaction that is not committed yet waits for it.
REDRIVE = text(f"""
    WITH asked AS (
        SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS r(id uuid, redrive_id uuid)),
    dead AS (
        SELECT p.*, a.redrive_id FROM predictions p JOIN asked a ON a.id = p.id
        WHERE p.id BETWEEN CAST(:least AS uuid) AND CAST(:greatest AS uuid) AND {DEAD}),
    fresh AS (
        INSERT INTO redrives (prediction_id, redrive_id) SELECT id, redrive_id FROM dead ORDER BY id
        ON CONFLICT (prediction_id) DO NOTHING
        RETURNING prediction_id)
    INSERT INTO predictions (
        id, api_key_id, model_id, model_version_id, item_id, status, priority, input, input_sha256, input_bytes,
        index_action, claim_order, run_after, redrive_of)
    SELECT d.redrive_id, d.api_key_id, d.model_id, d.model_version_id, d.item_id, 'queued',
        coalesce(CAST(:priority AS text), d.priority), d.input, d.input_sha256, d.input_bytes, d.index_action,
        now() + CAST(CAST(:delays AS jsonb) ->> coalesce(CAST(:priority AS text), d.priority) AS double precision)
            * interval '1 second',
        now(), d.id
    FROM dead d JOIN fresh f ON f.prediction_id = d.id
    RETURNING id, redrive_of
""")

COUNT = text(f"""
    SELECT m.name AS model, d.reason, d.letters FROM (
        SELECT p.model_id, p.error_code AS reason, count(*) AS letters FROM predictions p
        WHERE {DEAD} AND NOT EXISTS (SELECT 1 FROM redrives r WHERE r.prediction_id = p.id)
        GROUP BY p.model_id, p.error_code) d
    JOIN models m ON m.id = d.model_id ORDER BY 1, 2
""")

FIND_REDRIVE = text("SELECT redrive_id FROM redrives WHERE prediction_id = :id")
