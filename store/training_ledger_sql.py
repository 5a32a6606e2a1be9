"""The statements of `store.training_ledger`. All that move a training on hold under the fence of its claim."""

from sqlalchemy import text

CLAIM = text("""
    WITH head AS (
        SELECT id FROM trainings WHERE status = 'queued' AND (CAST(:only AS uuid) IS NULL OR id = :only)
        ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
    UPDATE trainings t
    SET status = 'processing', attempt = attempt + 1, fence = nextval('training_fence'), worker_id = :worker,
        device = :device, started_at = coalesce(started_at, now()),
        deadline_at = coalesce(deadline_at, now() + time_limit_s * interval '1 second')
    FROM head, models m WHERE t.id = head.id AND m.id = t.model_id
    RETURNING t.id, t.fence, t.model_id, m.name AS model, t.attempt, t.options, t.parent_version_id, t.data_sha256,
        t.manifest_sha256, t.checkpoint_sha256,
        CAST(extract(epoch FROM t.deadline_at - now()) AS double precision) AS left_s
""")

HELD = "id = :id AND fence = :fence AND status = 'processing'"

FREEZE = text(f"""
    UPDATE trainings SET manifest_sha256 = :manifest, example_count = :count WHERE {HELD} AND manifest_sha256 IS NULL
""")

ADD_EXAMPLES = text("""
    INSERT INTO training_examples (training_id, prediction_id, revision)
    SELECT :id, r.prediction_id, r.revision
    FROM json_to_recordset(CAST(:rows AS json)) AS r(prediction_id uuid, revision integer)
""")

REPLACE_MANIFEST = text(f"""
    UPDATE trainings SET manifest_sha256 = :manifest, example_count = example_count - :count WHERE {HELD}
""")

REMOVE_EXAMPLES = text("""
    DELETE FROM training_examples WHERE training_id = :id AND prediction_id = ANY(CAST(:ids AS uuid[]))
""")

REPORT = text(f"""
    UPDATE trainings SET progress = coalesce(CAST(:progress AS jsonb), progress), log = right(log || :log, :longest)
    WHERE {HELD}
""")

SAVE_CHECKPOINT = text(f"""
    UPDATE trainings t SET checkpoint_sha256 = :digest, checkpoint_epoch = :epoch, crash_count = 0
    FROM (SELECT id, checkpoint_sha256 AS before FROM trainings WHERE {HELD} FOR UPDATE) b
    WHERE t.id = b.id RETURNING b.before
""")

SUCCEED = text(f"""
    UPDATE trainings SET status = 'succeeded', model_version_id = :version, metrics = CAST(:metrics AS jsonb),
        finished_at = now() WHERE {HELD}
""")

FAIL = text(f"""
    UPDATE trainings SET status = 'failed', error_code = :code, error_detail = :detail, finished_at = now()
    WHERE {HELD}
""")

RELEASE = text(f"""
    UPDATE trainings SET status = 'queued', worker_id = NULL WHERE {HELD}
""")

CRASH = text(f"""
    UPDATE trainings SET crash_count = crash_count + 1,
        status = CASE WHEN crash_count + 1 >= :max_crashes THEN 'failed' ELSE 'queued' END,
        error_code = CASE WHEN crash_count + 1 >= :max_crashes THEN 'worker_crash' END,
        error_detail = CASE WHEN crash_count + 1 >= :max_crashes THEN :detail END,
        finished_at = CASE WHEN crash_count + 1 >= :max_crashes THEN now() END
    WHERE {HELD}
""")

CANCEL = text("""
    UPDATE trainings SET status = 'canceled', finished_at = now()
    WHERE id = :id AND status IN ('queued', 'processing') RETURNING id
""")

LEARNING = """
    t.status IN ('queued', 'processing') AND EXISTS (
        SELECT FROM training_examples e WHERE e.training_id = t.id AND e.prediction_id = ANY(CAST(:ids AS uuid[])))
"""

# Who registers a version locks its model before its training; the other way round both would wait for each other.
LOCK_LEARNING = text(f"""
    SELECT id FROM models WHERE id IN (SELECT t.model_id FROM trainings t WHERE {LEARNING})
    ORDER BY id FOR NO KEY UPDATE
""")

CANCEL_LEARNING = text(f"""
    UPDATE trainings t SET status = 'canceled', error_detail = :reason, finished_at = now(),
        log = right(t.log || CAST(:reason AS text) || chr(10), :longest)
    FROM models m WHERE m.id = t.model_id AND {LEARNING} RETURNING t.id, t.model_id, m.name AS model
""")

# Of workers that are gone: back into the queue, or failed when it keeps killing its process. Past the deadline nobody
# needs to be gone.
REAP = text("""
    UPDATE trainings t
    SET crash_count = t.crash_count + CAST(lost AS integer),
        status = CASE WHEN late OR t.crash_count + 1 >= :max_crashes THEN 'failed' ELSE 'queued' END,
        error_code = CASE WHEN late THEN 'time_limit' WHEN t.crash_count + 1 >= :max_crashes THEN 'worker_crash' END,
        error_detail = CASE
            WHEN late THEN 'the time limit of ' || t.time_limit_s || ' s is over'
            WHEN t.crash_count + 1 >= :max_crashes
                THEN 'its process died ' || :max_crashes || ' times without coming a checkpoint further' END,
        finished_at = CASE WHEN late OR t.crash_count + 1 >= :max_crashes THEN now() END
    FROM (
        SELECT t.id, t.deadline_at + :grace * interval '1 second' < now() AS late,
            w.id IS NULL OR w.stopped_at IS NOT NULL
                OR (w.lease_expires_at < now() AND NOT CAST(:lenient AS boolean)) AS lost
        FROM trainings t LEFT JOIN workers w ON w.id = t.worker_id
        WHERE t.status = 'processing' FOR UPDATE OF t SKIP LOCKED) h
    WHERE t.id = h.id AND (h.late OR h.lost)
    RETURNING t.id, t.status
""")

# A training that waits beside a worker that has nothing to do was not heard.
STRANDED = text("""
    SELECT t.id, m.name AS model FROM trainings t JOIN models m ON m.id = t.model_id
    WHERE t.status = 'queued' AND (
        SELECT count(*) FROM workers WHERE role = 'training' AND stopped_at IS NULL AND lease_expires_at > now()
    ) > (SELECT count(*) FROM trainings WHERE status = 'processing')
    ORDER BY t.id LIMIT 1
""")
