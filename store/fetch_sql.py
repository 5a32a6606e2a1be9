"""The statements of `store.fetches`."""

from store.prepared import PreparedStatement

# While a row is held, `run_after` is the end of its attempt: nobody has to take back what a hung fetcher holds. What
# a dead one held is free as soon as its life is ended.
CLAIM = PreparedStatement(
    "claim_fetches",
    """
    WITH due AS MATERIALIZED (
        SELECT f.prediction_id FROM fetches f LEFT JOIN workers w ON w.id = f.worker_id
        WHERE (f.run_after <= now() OR w.stopped_at IS NOT NULL) AND f.host <> ALL (CAST(:busy AS text[]))
        ORDER BY f.run_after LIMIT :limit FOR UPDATE OF f SKIP LOCKED)
    UPDATE fetches f
    SET attempt = f.attempt + 1, fence = nextval('prediction_fence'), worker_id = :worker,
        run_after = now() + :budget * interval '1 second'
    FROM due d LEFT JOIN predictions p ON p.id = d.prediction_id
    WHERE f.prediction_id = d.prediction_id
    RETURNING f.prediction_id AS id, f.fence, f.url, f.host, f.attempt,
        coalesce(p.status = 'queued', false) AS is_wanted,
        CAST(extract(epoch FROM p.deadline_at - now()) AS double precision) AS left_s
""",
)

RELEASE = PreparedStatement(
    "release_fetch",
    """
    UPDATE fetches SET run_after = now() + :delay * interval '1 second', worker_id = NULL, attempt = attempt - :refund
    WHERE prediction_id = :id AND fence = :fence
""",
)

FORGET = PreparedStatement("forget_fetch", "DELETE FROM fetches WHERE prediction_id = :id AND fence = :fence")

# In one statement with the end of the fetch: whoever else fetched the same meanwhile finds its row gone.
ARRIVE = PreparedStatement(
    "arrive",
    """
    WITH done AS (DELETE FROM fetches WHERE prediction_id = :id AND fence = :fence RETURNING prediction_id)
    UPDATE predictions p SET input_sha256 = :digest, input_bytes = :bytes, run_after = now()
    FROM done d, model_versions v JOIN models m ON m.id = v.model_id
    WHERE p.id = d.prediction_id AND p.status = 'queued' AND v.id = p.model_version_id
    RETURNING m.name AS model, v.number AS version
""",
)

# A queued row cannot fail, only one that somebody holds: the fetcher takes it, and completes it like any other.
TAKE_UP = PreparedStatement(
    "take_up",
    """
    WITH done AS (DELETE FROM fetches WHERE prediction_id = :id AND fence = :fence RETURNING prediction_id)
    UPDATE predictions p SET status = 'processing', fence = nextval('prediction_fence'), worker_id = :worker
    FROM done d WHERE p.id = d.prediction_id AND p.status = 'queued'
    RETURNING p.id, p.fence, p.model_version_id
""",
)
