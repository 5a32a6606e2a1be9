"""The statements with which a worker takes rows: `store.ledger.claim`, and the bound of the queue that it reads."""

from store.prepared import PreparedStatement

# The end of every claim: of the rows in `batch`, those whose files together are within a bound. The first is always.
# An array of ids rather than a join: a plan that was made while this week's partition was empty would read all between
# the bounds for each row that it joins.
TAKE_AFFORDABLE = """,
    summed AS (SELECT id, cost, sum(cost) OVER (ORDER BY claim_order, id) AS so_far FROM batch),
    affordable AS (SELECT id FROM summed WHERE so_far <= {max_cost} OR so_far = cost)
    UPDATE predictions p
    SET status = 'processing', attempt = attempt + 1, fence = nextval('prediction_fence'), worker_id = :worker,
        device = :device, started_at = now(), attempt_deadline_at = now() + :budget * interval '1 second'
    WHERE p.id = ANY (ARRAY(SELECT id FROM affordable)) AND p.id >= :since AND p.id < :until
    RETURNING p.id, p.fence, p.model_version_id, p.input, p.input_sha256,
        CAST(extract(epoch FROM now() - p.run_after) AS double precision) AS waited_s,
        CAST(extract(epoch FROM p.deadline_at - now()) AS double precision) AS left_s,
        p.claim_order
"""

# What waits and may run. The bounds of the id name the partitions in which rows can wait, so that a claim opens three
# of them however many weeks are kept. The floor lets it begin behind what was claimed before it.
WAITING = """{p}.status = 'queued' AND {p}.id >= :since AND {p}.id < :until AND {p}.claim_order >= :floor
            AND {p}.run_after <= now()
            AND ({p}.deadline_at IS NULL OR {p}.deadline_at > now())"""

# `head` is the most urgent row that nobody else is claiming; the batch is of its version. Rows beyond the cost are
# locked until the statement ends and left as they are.
CLAIM = PreparedStatement(
    "claim",
    f"""
    WITH head AS MATERIALIZED (
        SELECT p.model_version_id, p.crash_count > 0 AS alone, CAST(v.config ->> 'max_batch' AS integer) AS max_batch,
            coalesce(CAST(v.config ->> 'max_batch_cost' AS bigint), :max_cost) AS max_cost
        FROM predictions p JOIN model_versions v ON v.id = p.model_version_id
        WHERE {WAITING.format(p="p")}
            AND p.model_version_id <> ALL (CAST(:skip AS bigint[]))
        ORDER BY p.claim_order, p.id LIMIT 1 FOR UPDATE OF p SKIP LOCKED),
    batch AS MATERIALIZED (
        SELECT p.id, p.claim_order, coalesce(p.input_bytes, 0) AS cost FROM predictions p
        WHERE {WAITING.format(p="p")}
            AND p.model_version_id = (SELECT model_version_id FROM head)
            AND (p.crash_count > 0) = (SELECT alone FROM head)
        ORDER BY p.claim_order, p.id
        LIMIT (SELECT CASE WHEN alone THEN 1 ELSE least(max_batch, :limit) END FROM head)
        FOR UPDATE SKIP LOCKED)
    """
    + TAKE_AFFORDABLE.format(max_cost="(SELECT max_cost FROM head)"),
)

# For a device with faster neighbours: of each version in `rules` it leaves the first rows to them, unless the most
# urgent has waited too long. The start is found without a lock, since an OFFSET locks what it skips, and rows that
# are locked for a moment look to a faster worker as if there were none.
CLAIM_BEHIND = PreparedStatement(
    "claim_behind",
    f"""
    WITH rules AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST(:rules AS json)) AS r(
            version bigint, skip integer, patience double precision, most integer)),
    start AS MATERIALIZED (
        (SELECT r.version, r.most, s.claim_order, s.id, s.crash_count > 0 AS alone
        FROM rules r CROSS JOIN LATERAL (
            SELECT p.claim_order, p.id, p.crash_count FROM predictions p
            WHERE {WAITING.format(p="p")} AND p.model_version_id = r.version
            ORDER BY p.claim_order, p.id
            OFFSET (
                SELECT CASE WHEN f.run_after <= now() - r.patience * interval '1 second' THEN 0 ELSE r.skip END
                FROM predictions f
                WHERE {WAITING.format(p="f")} AND f.model_version_id = r.version
                ORDER BY f.claim_order, f.id LIMIT 1)
            LIMIT 1) s
        WHERE r.version <> ALL (CAST(:skip AS bigint[])))
        UNION ALL
        (SELECT p.model_version_id, :limit, p.claim_order, p.id, p.crash_count > 0
        FROM predictions p
        WHERE {WAITING.format(p="p")}
            AND p.model_version_id <> ALL (SELECT version FROM rules)
            AND p.model_version_id <> ALL (CAST(:skip AS bigint[]))
        ORDER BY p.claim_order, p.id LIMIT 1)
        ORDER BY claim_order, id LIMIT 1),
    batch AS MATERIALIZED (
        SELECT p.id, p.claim_order, coalesce(p.input_bytes, 0) AS cost FROM predictions p, start s
        WHERE {WAITING.format(p="p")}
            AND p.model_version_id = s.version AND (p.crash_count > 0) = s.alone
            AND (p.claim_order, p.id) >= (s.claim_order, s.id)
        ORDER BY p.claim_order, p.id
        LIMIT (SELECT CASE WHEN s.alone THEN 1 ELSE least(CAST(v.config ->> 'max_batch' AS integer), s.most, :limit) END
            FROM start s JOIN model_versions v ON v.id = s.version)
        FOR UPDATE OF p SKIP LOCKED)
    """
    + TAKE_AFFORDABLE.format(
        max_cost="""(SELECT coalesce(CAST(v.config ->> 'max_batch_cost' AS bigint), :max_cost)
            FROM start s JOIN model_versions v ON v.id = s.version)"""
    ),
)

# The least claim order is the head of an index; the least id would have to be searched for.
FIRST_IN_QUEUE = PreparedStatement(
    "first_in_queue", "SELECT now() AS now, (SELECT min(claim_order) FROM predictions WHERE status = 'queued') AS least"
)
