"""The statements of `store.delivery_ledger`. A group of rows is one JSON parameter, so each text is constant."""

from store.prepared import PreparedStatement

# An endpoint that fails is asked one at a time, and by a share of the senders only, so that those that do not answer
# keep nobody else waiting. The others take turns: the first of each goes before the second of any.
CLAIM = PreparedStatement(
    "claim_deliveries",
    """
    WITH places AS MATERIALIZED (
        SELECT e.id, e.failures > 0 AS failing,
            greatest(0, CASE WHEN e.failures > 0 THEN 1 ELSE :per_endpoint END - (
                SELECT count(*) FROM webhook_deliveries s WHERE s.endpoint_id = e.id AND s.state = 'sending')) AS room
        FROM webhook_endpoints e
        WHERE e.deleted_at IS NULL AND e.state = 'enabled' AND (e.resting_until IS NULL OR e.resting_until <= now())
            AND EXISTS (
                SELECT FROM webhook_deliveries d
                WHERE d.endpoint_id = e.id AND d.state = 'pending' AND d.next_attempt_at <= now())),
    due AS MATERIALIZED (
        SELECT d.id, d.next_attempt_at, p.id AS endpoint_id, p.failing
        FROM places p CROSS JOIN LATERAL (
            SELECT o.id, o.next_attempt_at FROM webhook_deliveries o
            WHERE o.endpoint_id = p.id AND o.state = 'pending' AND o.next_attempt_at <= now()
            ORDER BY o.next_attempt_at LIMIT p.room FOR UPDATE SKIP LOCKED) d),
    turns AS (
        SELECT id, failing, next_attempt_at,
            row_number() OVER (PARTITION BY endpoint_id ORDER BY next_attempt_at) AS turn,
            row_number() OVER (PARTITION BY failing ORDER BY next_attempt_at) AS place
        FROM due),
    chosen AS MATERIALIZED (
        SELECT id, failing FROM turns WHERE NOT failing OR place <= :failing_limit
        ORDER BY failing, turn, next_attempt_at LIMIT :limit),
    taken AS (
        UPDATE webhook_deliveries d
        SET state = 'sending', attempts = d.attempts + 1, fence = nextval('webhook_fence'), worker_id = :worker,
            attempt_deadline_at = now() + :budget * interval '1 second'
        FROM chosen c WHERE d.id = c.id AND d.state = 'pending'
        RETURNING d.id, d.endpoint_id, d.fence, d.attempts, d.failures, d.payload, c.failing),
    begun AS (
        INSERT INTO webhook_attempts (delivery_id, number, fence, started_at)
        SELECT id, attempts, fence, now() FROM taken)
    SELECT t.id, t.endpoint_id, t.fence, t.failures, CAST(t.payload AS text) AS body, t.failing, e.url, e.secret,
        CASE WHEN e.previous_secret_until > now() THEN e.previous_secret END AS previous_secret, now() AS claimed_at
    FROM taken t JOIN webhook_endpoints e ON e.id = t.endpoint_id
""",
)

# An attempt is noted whatever became of its claim; only the holder of the fence moves the delivery. A success closes
# the breaker, failures in a row open it for longer each time, and days of them pause the endpoint.
RECORD = PreparedStatement(
    "record_deliveries",
    """
    WITH outcome AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS r(
            id uuid, endpoint_id uuid, fence bigint, state text, delay_s double precision, rest_s double precision,
            is_gone boolean, status_code smallint, error text, response text, duration_ms double precision)),
    noted AS (
        UPDATE webhook_attempts a
        SET status_code = o.status_code, error = o.error, response = o.response, duration_ms = o.duration_ms
        FROM outcome o WHERE a.delivery_id = o.id AND a.fence = o.fence),
    moved AS (
        UPDATE webhook_deliveries d
        SET state = o.state, failures = d.failures + CASE WHEN o.state = 'delivered' THEN 0 ELSE 1 END,
            next_attempt_at = now() + coalesce(o.delay_s, 0) * interval '1 second',
            finished_at = CASE WHEN o.state <> 'pending' THEN now() END
        FROM outcome o WHERE d.id = o.id AND d.fence = o.fence AND d.state = 'sending'
        RETURNING d.id, d.endpoint_id, d.state),
    told AS (
        SELECT o.endpoint_id, bool_or(o.state = 'delivered') AS arrived, bool_or(o.is_gone) AS is_gone,
            count(*) FILTER (WHERE o.state <> 'delivered') AS failed, max(o.rest_s) AS rest_s,
            count(*) FILTER (WHERE m.state = 'delivered') AS delivered, count(*) FILTER (WHERE m.state = 'dead') AS dead
        FROM outcome o LEFT JOIN moved m ON m.id = o.id GROUP BY o.endpoint_id),
    judged AS (
        SELECT t.*, e.failures + t.failed AS failures, NOT t.arrived AND e.failing_since < now()
            - :patience * interval '1 second' AS is_hopeless
        FROM told t JOIN webhook_endpoints e ON e.id = t.endpoint_id),
    answered AS (
        UPDATE webhook_endpoints e
        SET failures = CASE WHEN j.arrived THEN 0 ELSE j.failures END,
            failing_since = CASE WHEN NOT j.arrived THEN coalesce(e.failing_since, now()) END,
            resting_until = CASE
                WHEN j.rest_s IS NOT NULL THEN now() + j.rest_s * interval '1 second'
                WHEN NOT j.arrived AND j.failures >= :breaker_failures
                    THEN now() + least(:longest_rest, :first_rest * 2 ^ least(20, j.failures - :breaker_failures))
                        * interval '1 second' END,
            state = CASE WHEN j.is_gone OR j.is_hopeless THEN 'paused' ELSE e.state END,
            pause_reason = CASE
                WHEN j.is_gone THEN 'the endpoint answered 410 Gone'
                WHEN j.is_hopeless THEN 'every attempt failed since '
                    || to_char(e.failing_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC'
                ELSE e.pause_reason END,
            delivered_count = e.delivered_count + j.delivered, failed_count = e.failed_count + j.failed,
            dead_count = e.dead_count + j.dead
        FROM judged j WHERE e.id = j.endpoint_id)
    SELECT id FROM moved
""",
)

# What was sent by a process that died may have arrived: it is sent again, with the same id.
TAKE_BACK = PreparedStatement(
    "take_back_deliveries",
    """
    WITH lost AS MATERIALIZED (
        SELECT d.id, d.fence FROM webhook_deliveries d LEFT JOIN workers w ON w.id = d.worker_id
        WHERE d.state = 'sending' AND (
            w.id IS NULL OR w.stopped_at IS NOT NULL OR w.lease_expires_at < now() OR d.attempt_deadline_at < now())
        FOR UPDATE OF d SKIP LOCKED),
    noted AS (
        UPDATE webhook_attempts a SET error = 'the sender was stopped or died before it knew how this ended'
        FROM lost l WHERE a.delivery_id = l.id AND a.fence = l.fence)
    UPDATE webhook_deliveries d
    SET state = CASE WHEN d.crash_count + 1 >= :max_crashes THEN 'dead' ELSE 'pending' END,
        crash_count = d.crash_count + 1, next_attempt_at = now(),
        finished_at = CASE WHEN d.crash_count + 1 >= :max_crashes THEN now() END
    FROM lost l WHERE d.id = l.id AND d.fence = l.fence AND d.state = 'sending'
    RETURNING d.id
""",
)

# Asked for again, it has all its attempts anew, under the id that it always had.
REDELIVER = PreparedStatement(
    "redeliver",
    """
    UPDATE webhook_deliveries SET state = 'pending', failures = 0, crash_count = 0, next_attempt_at = now(),
        finished_at = NULL
    WHERE id = :id AND state <> 'sending'
    RETURNING id
""",
)

# What is over, what waits for an endpoint that nobody resumed, and what no endpoint is left for.
PURGE = PreparedStatement(
    "purge_deliveries",
    """
    WITH old AS MATERIALIZED (
        SELECT d.id FROM webhook_deliveries d
        WHERE d.finished_at < now() - :days * interval '1 day' LIMIT :most),
    stuck AS MATERIALIZED (
        SELECT d.id FROM webhook_endpoints e JOIN webhook_deliveries d ON d.endpoint_id = e.id
        WHERE d.state <> 'sending' AND (
            e.deleted_at IS NOT NULL
            OR (e.state = 'paused' AND d.created_at < now() - :days * interval '1 day')) LIMIT :most)
    DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM old UNION SELECT id FROM stuck)
""",
)

PURGE_ENDPOINTS = PreparedStatement(
    "purge_endpoints",
    """
    DELETE FROM webhook_endpoints e
    WHERE e.deleted_at < now() - interval '1 hour'
        AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.endpoint_id = e.id)
""",
)

GAUGES = PreparedStatement(
    "delivery_gauges",
    """
    SELECT
        (SELECT count(*) FROM webhook_deliveries WHERE state = 'pending') AS pending,
        (SELECT count(*) FROM webhook_deliveries WHERE state = 'sending') AS sending,
        (SELECT CAST(coalesce(extract(epoch FROM now() - min(d.created_at)), 0) AS double precision)
            FROM webhook_endpoints e JOIN webhook_deliveries d ON d.endpoint_id = e.id
            WHERE e.state = 'enabled' AND e.deleted_at IS NULL AND d.state = 'pending') AS oldest_s,
        (SELECT CAST(coalesce(sum(delivered_count), 0) AS bigint) FROM webhook_endpoints) AS delivered,
        (SELECT CAST(coalesce(sum(failed_count), 0) AS bigint) FROM webhook_endpoints) AS failed,
        (SELECT CAST(coalesce(sum(dead_count), 0) AS bigint) FROM webhook_endpoints) AS dead,
        (SELECT count(*) FROM webhook_endpoints WHERE state = 'paused' AND deleted_at IS NULL) AS paused
""",
)
