"""The statements with which `store.ledger` ends predictions, takes them back and looks after them.

A group of rows travels as one JSON parameter, so each text is constant.
"""

from store.prepared import PreparedStatement

# What every statement that may finish rows returns, as `ledger.Finished` reads it.
FINISHED_COLUMNS = """
    p.id, p.reply_channel, p.status, p.attempt, p.result, p.error_code, p.error_detail,
    p.created_at, p.started_at, p.finished_at, p.decode_ms, p.compute_ms, p.device, p.worker_id, p.cached
"""

# The bounds of the ids leave out the partitions that hold none of them before they are opened.
COMPLETE = PreparedStatement(
    "complete",
    f"""
    WITH outcome AS (
        SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS r(
            id uuid, fence bigint, status text, result jsonb, error_code text, error_detail text,
            decode_ms double precision, compute_ms double precision))
    UPDATE predictions p
    SET status = o.status, result = o.result, error_code = o.error_code, error_detail = o.error_detail,
        decode_ms = o.decode_ms, compute_ms = o.compute_ms, finished_at = now()
    FROM outcome o
    WHERE p.id = o.id AND p.id BETWEEN :least AND :greatest AND p.fence = o.fence AND p.status = 'processing'
    RETURNING {FINISHED_COLUMNS}
""",
)

RELEASE = PreparedStatement(
    "release",
    f"""
    WITH held AS (SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS r(id uuid, fence bigint))
    UPDATE predictions p
    SET status = CASE WHEN p.attempt - :refund < :max_attempts THEN 'queued' ELSE 'failed' END,
        error_code = CASE WHEN p.attempt - :refund < :max_attempts THEN NULL ELSE 'attempts_exhausted' END,
        error_detail = CASE WHEN p.attempt - :refund < :max_attempts THEN NULL
            ELSE 'every attempt met a passing fault; send the request again' END,
        finished_at = CASE WHEN p.attempt - :refund < :max_attempts THEN NULL ELSE now() END,
        attempt = p.attempt - :refund,
        run_after = now() + :delay * interval '1 second'
    FROM held h
    WHERE p.id = h.id AND p.fence = h.fence AND p.status = 'processing'
    RETURNING {FINISHED_COLUMNS}
""",
)

EXPIRE_LEASES = PreparedStatement(
    "expire_leases",
    """
    UPDATE workers SET stopped_at = now(), stop_reason = 'lease_expired'
    WHERE stopped_at IS NULL AND lease_expires_at < now()
""",
)

# A life that ends by itself knows that none of its rows is to blame: they lose no attempt.
END_LIFE = PreparedStatement(
    "end_life",
    """
    WITH ended AS (
        UPDATE workers SET stopped_at = now(), stop_reason = :reason
        WHERE id = :worker AND stopped_at IS NULL RETURNING id)
    UPDATE predictions p SET status = 'queued', attempt = p.attempt - 1
    FROM ended e WHERE p.worker_id = e.id AND p.status = 'processing'
    RETURNING p.id
""",
)

# Several processes reap; noting each time would cost a flush of the log for each of them.
LAST_REAPING = PreparedStatement(
    "last_reaping",
    """
    SELECT ran_at < now() - :interval * interval '1 second' AS is_due, lenient_until > now() AS lenient
    FROM reaper_runs WHERE id = 1
""",
)

# Whoever reaps says so. After a gap nobody could look at leases: Postgres was away, or all of us were; then those who
# live could not renew either, and get the time for it before anything is taken from them.
NOTE_REAPING = PreparedStatement(
    "note_reaping",
    """
    INSERT INTO reaper_runs AS r (id, ran_at, lenient_until) VALUES (1, now(), now())
    ON CONFLICT (id) DO UPDATE SET ran_at = now(),
        lenient_until = CASE WHEN r.ran_at < now() - :gap * interval '1 second'
            THEN now() + :leniency * interval '1 second' ELSE r.lenient_until END
    RETURNING lenient_until > now() AS lenient
""",
)

END_DEAD_WORKER = PreparedStatement(
    "end_dead_worker",
    """
    UPDATE workers SET stopped_at = now(), stop_reason = 'died'
    WHERE stopped_at IS NULL AND host = :host AND pid = :pid
""",
)

# The WHERE re-checks the state, so a completion that was faster wins. A dead process counts as a crash of all
# that it held; a claim past its budget counts likewise, since its worker is hung.
TAKE_BACK = PreparedStatement(
    "take_back",
    f"""
    WITH lost AS MATERIALIZED (
        SELECT p.id, p.fence,
            CASE WHEN p.crash_count + 1 >= :max_crashes THEN 'worker_crash'
                 WHEN p.attempt >= :max_attempts THEN 'attempts_exhausted' END AS fatal
        FROM predictions p LEFT JOIN workers w ON w.id = p.worker_id
        WHERE p.status = 'processing'
            AND (w.id IS NULL OR w.stopped_at IS NOT NULL
                 OR (p.attempt_deadline_at < now() AND NOT CAST(:lenient AS boolean)))
        FOR UPDATE OF p SKIP LOCKED)
    UPDATE predictions p
    SET status = CASE WHEN l.fatal IS NULL THEN 'queued' ELSE 'failed' END,
        crash_count = p.crash_count + 1,
        error_code = l.fatal,
        error_detail = CASE WHEN l.fatal IS NOT NULL
            THEN 'the worker process died or hung while it held this prediction' END,
        finished_at = CASE WHEN l.fatal IS NOT NULL THEN now() END
    FROM lost l
    WHERE p.id = l.id AND p.fence = l.fence AND p.status = 'processing'
    RETURNING {FINISHED_COLUMNS}
""",
)

EXPIRE = PreparedStatement(
    "expire",
    f"""
    UPDATE predictions p SET status = 'expired', finished_at = now()
    WHERE status = 'queued' AND deadline_at <= now()
    RETURNING {FINISHED_COLUMNS}
""",
)

CANCEL = PreparedStatement(
    "cancel",
    f"""
    UPDATE predictions p SET status = 'canceled', finished_at = now()
    WHERE id = :id AND status IN ('queued', 'processing')
    RETURNING {FINISHED_COLUMNS}
""",
)

CANCEL_BACKTEST = PreparedStatement(
    "cancel_backtest",
    f"""
    UPDATE predictions p SET status = 'canceled', finished_at = now()
    WHERE backtest_id = :backtest_id AND status IN ('queued', 'processing')
    RETURNING {FINISHED_COLUMNS}
""",
)

CANCEL_ALL = PreparedStatement(
    "cancel_all",
    f"""
    UPDATE predictions p SET status = 'canceled', finished_at = now()
    WHERE id = ANY(CAST(:ids AS uuid[])) AND status IN ('queued', 'processing')
    RETURNING {FINISHED_COLUMNS}
""",
)

CANCEL_PUTS = PreparedStatement(
    "cancel_puts",
    f"""
    UPDATE predictions p SET status = 'canceled', finished_at = now()
    WHERE item_id = :item_id AND api_key_id = :api_key_id AND model_id = :model_id AND index_action = 'put'
        AND status IN ('queued', 'processing')
    RETURNING {FINISHED_COLUMNS}
""",
)

FINISHED_AMONG = PreparedStatement(
    "finished_among",
    f"""
    SELECT {FINISHED_COLUMNS} FROM predictions p
    WHERE p.id = ANY(CAST(:ids AS uuid[])) AND p.status NOT IN ('queued', 'processing')
""",
)

# A few ids are enough: they are for the reader of Flower, the worker claims by state.
STRANDED = PreparedStatement(
    "stranded",
    """
    SELECT m.name AS model, v.number AS version, array_agg(CAST(q.id AS text)) AS ids
    FROM (
        SELECT id, model_version_id FROM predictions
        WHERE status = 'queued' AND run_after < now() - :age * interval '1 second'
            AND (deadline_at IS NULL OR deadline_at > now())
        ORDER BY claim_order, id LIMIT 100
    ) q
    JOIN model_versions v ON v.id = q.model_version_id JOIN models m ON m.id = v.model_id
    GROUP BY m.name, v.number
""",
)

FIND_REPEAT = PreparedStatement(
    "find_repeat",
    """
    SELECT prediction_id, request_sha256 FROM idempotency_keys WHERE api_key_id = :api_key_id AND key = :key
""",
)

PURGE_IDEMPOTENCY_KEYS = PreparedStatement(
    "purge_idempotency_keys",
    """
    DELETE FROM idempotency_keys WHERE created_at < now() - :days * interval '1 day'
""",
)
