"""The statements with which predictions come in: to be queued, or answered already."""

from store.prepared import PreparedStatement

# What a request says of itself, and what is known of its answer before it is stored.
REQUEST_COLUMNS = """
    id uuid, api_key_id bigint, model_id bigint, model_version_id bigint, reply_channel text,
    priority text, delay_s double precision, input jsonb, input_sha256 text, input_bytes integer,
    catalog text, external_id text, index_action text, deadline_ms bigint, idempotency_key text, request_sha256 text,
    shadow_of uuid, assignment_probability double precision, backtest_id bigint, webhook_id uuid, image_url text
"""
ANSWER_COLUMNS = """
    status text, result jsonb, error_code text, error_detail text, attempt smallint, device text,
    decode_ms double precision, compute_ms double precision, elapsed_ms double precision, cached boolean
"""

# Whether somebody may want to hear of its end: one look into a small index. The trigger that writes what is to be told
# runs for such rows alone, so that a key without webhooks pays no more than this. What answers nobody tells nobody.
NOTIFY = """NULLIF(r.webhook_id IS NOT NULL OR (
            r.shadow_of IS NULL AND r.backtest_id IS NULL AND r.index_action IS DISTINCT FROM 'refresh'
            AND EXISTS (SELECT FROM webhook_endpoints e WHERE e.api_key_id = r.api_key_id AND e.deleted_at IS NULL)
        ), false)"""

INSERT_QUEUED = """
    INSERT INTO predictions (
        id, api_key_id, model_id, model_version_id, item_id, status, priority, input, input_sha256, input_bytes,
        index_action, reply_channel, claim_order, run_after, deadline_at, shadow_of, assignment_probability,
        backtest_id, webhook_id, notify)
    SELECT r.id, r.api_key_id, r.model_id, r.model_version_id, {item_id}, 'queued', r.priority, r.input,
        r.input_sha256, r.input_bytes, r.index_action, r.reply_channel, now() + r.delay_s * interval '1 second',
        {run_after}, now() + r.deadline_ms * interval '1 millisecond', r.shadow_of, r.assignment_probability,
        r.backtest_id, r.webhook_id, {notify}
    FROM incoming r {joins}
    RETURNING id, created_at
"""

# It was accepted when the request came, a moment before it is stored. Nothing that was answered from memory started.
INSERT_ANSWERED = """
    INSERT INTO predictions AS p (
        id, api_key_id, model_id, model_version_id, item_id, status, priority, input, input_sha256, input_bytes,
        claim_order, run_after, attempt, device, result, error_code, error_detail, decode_ms, compute_ms, cached,
        assignment_probability, webhook_id, notify, created_at, started_at, finished_at)
    SELECT r.id, r.api_key_id, r.model_id, r.model_version_id, {item_id}, r.status, r.priority, r.input,
        r.input_sha256, r.input_bytes, now(), now(), r.attempt, r.device, r.result, r.error_code, r.error_detail,
        r.decode_ms, r.compute_ms, r.cached, r.assignment_probability, r.webhook_id, {notify},
        now() - r.elapsed_ms * interval '1 millisecond',
        CASE WHEN r.attempt > 0 THEN now() - r.elapsed_ms * interval '1 millisecond' END, now()
    FROM incoming r {joins}
    RETURNING p.id, p.created_at, p.finished_at
"""


def _inserting(insert: str, columns: str) -> str:
    """The plain way in: no item, no idempotency key."""
    return f"""
    WITH incoming AS (SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS r({columns}))
    {insert.format(item_id="NULL", run_after="now()", joins="", notify=NOTIFY)}
"""


# Nobody claims such a row before its picture is there. A repeat of an earlier request fetches nothing again.
FETCH_PICTURES = """,
    pictures AS (
        INSERT INTO fetches (prediction_id, url, host)
        SELECT r.id, r.image_url, split_part(r.image_url, '/', 3) FROM incoming r
        WHERE r.image_url IS NOT NULL
            AND (r.idempotency_key IS NULL OR r.id IN (SELECT prediction_id FROM fresh_keys)))"""
RUN_AFTER_FETCH = "CASE WHEN r.image_url IS NULL THEN now() ELSE 'infinity' END"


def _inserting_with_keys(insert: str, columns: str, also: str = "") -> str:
    """The way in with items and idempotency keys, and with what else is written beside them.

    Items are written in one order by all processes, else two groups with the same items could deadlock. `DO UPDATE`
    rather than `DO NOTHING`, which would not return the id of a row that another group just made.
    """
    joins = """LEFT JOIN known_items i USING (catalog, external_id)
    WHERE r.idempotency_key IS NULL OR r.id IN (SELECT prediction_id FROM fresh_keys)"""
    return f"""
    WITH incoming AS (SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS r({columns})),
    known_items AS (
        INSERT INTO items (catalog, external_id, last_seen_at)
        SELECT DISTINCT catalog, external_id, now() FROM incoming WHERE catalog IS NOT NULL ORDER BY 1, 2
        ON CONFLICT (catalog, external_id) DO UPDATE SET last_seen_at = now()
        RETURNING id, catalog, external_id),
    fresh_keys AS (
        INSERT INTO idempotency_keys (api_key_id, key, request_sha256, prediction_id)
        SELECT api_key_id, idempotency_key, request_sha256, id FROM incoming
        WHERE idempotency_key IS NOT NULL ORDER BY 1, 2
        ON CONFLICT DO NOTHING
        RETURNING prediction_id){also}
    {insert.format(item_id="i.id", run_after=RUN_AFTER_FETCH, joins=joins, notify=NOTIFY)}
"""


SUBMIT_PLAIN = PreparedStatement("submit_plain", _inserting(INSERT_QUEUED, REQUEST_COLUMNS))

SUBMIT = PreparedStatement("submit", _inserting_with_keys(INSERT_QUEUED, REQUEST_COLUMNS, FETCH_PICTURES))

ANSWERED_COLUMNS = f"{REQUEST_COLUMNS}, {ANSWER_COLUMNS}"

RECORD_PLAIN = PreparedStatement("record_plain", _inserting(INSERT_ANSWERED, ANSWERED_COLUMNS))

RECORD = PreparedStatement("record", _inserting_with_keys(INSERT_ANSWERED, ANSWERED_COLUMNS))
