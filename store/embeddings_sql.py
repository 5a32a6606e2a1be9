"""The statements of `store.embeddings`. A group of rows travels as one JSON parameter."""

from store.prepared import PreparedStatement

REQUESTS = PreparedStatement(
    "index_requests",
    """
    SELECT p.id, p.api_key_id, p.item_id, p.index_action, p.input_sha256, i.catalog, i.external_id,
        m.name AS model, p.model_version_id, CAST(v.config ->> 'neighbours' AS integer) AS neighbours,
        s.id AS index_id, s.dimensions
    FROM predictions p
    JOIN model_versions v ON v.id = p.model_version_id JOIN models m ON m.id = v.model_id
    LEFT JOIN items i ON i.id = p.item_id
    LEFT JOIN similarity_indexes s ON s.model_version_id = p.model_version_id AND s.api_key_id = p.api_key_id
    WHERE p.id = ANY(CAST(:ids AS uuid[]))
""",
)

# `held` makes a cancel wait, so that a removal comes wholly before this or wholly after it. `put` compares ids, which
# begin with the time of the request: the later request wins, whichever finishes first; the same one may come twice.
# `refreshed` makes a put of another photo wait, or finds the other photo there.
WRITE = PreparedStatement(
    "write_embeddings",
    """
    WITH computed AS (
        SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS r(id uuid, fence bigint, embedding text)),
    held AS MATERIALIZED (
        SELECT p.id, p.model_id, p.api_key_id, p.item_id, p.input_sha256, p.input_bytes, p.index_action, p.created_at,
            s.id AS index_id, c.embedding
        FROM computed c JOIN predictions p ON p.id = c.id
        JOIN similarity_indexes s ON s.model_version_id = p.model_version_id AND s.api_key_id = p.api_key_id
        WHERE p.fence = c.fence AND p.status = 'processing'
        FOR SHARE OF p),
    put AS (
        INSERT INTO indexed_items AS x
            (model_id, api_key_id, item_id, photo_sha256, photo_bytes, prediction_id, put_at)
        SELECT DISTINCT ON (model_id, api_key_id, item_id)
            model_id, api_key_id, item_id, input_sha256, input_bytes, id, created_at
        FROM held WHERE index_action = 'put' ORDER BY model_id, api_key_id, item_id, id DESC
        ON CONFLICT (model_id, api_key_id, item_id) DO UPDATE
        SET photo_sha256 = excluded.photo_sha256, photo_bytes = excluded.photo_bytes,
            prediction_id = excluded.prediction_id, put_at = excluded.put_at
        WHERE x.prediction_id <= excluded.prediction_id
        RETURNING x.id, x.prediction_id),
    refreshed AS MATERIALIZED (
        SELECT x.id, h.id AS prediction_id
        FROM held h JOIN indexed_items x ON x.model_id = h.model_id AND x.api_key_id = h.api_key_id
            AND x.item_id = h.item_id AND x.photo_sha256 = h.input_sha256
        WHERE h.index_action = 'refresh' ORDER BY x.id FOR SHARE OF x),
    kept AS (
        SELECT id, prediction_id, 0 AS rank FROM put UNION ALL SELECT id, prediction_id, 1 FROM refreshed),
    written AS (
        INSERT INTO embeddings (indexed_item_id, index_id, photo_sha256, embedding)
        SELECT DISTINCT ON (k.id, h.index_id) k.id, h.index_id, h.input_sha256, CAST(h.embedding AS vector)
        FROM kept k JOIN held h ON h.id = k.prediction_id ORDER BY k.id, h.index_id, k.rank
        ON CONFLICT (indexed_item_id, index_id) DO UPDATE
        SET photo_sha256 = excluded.photo_sha256, embedding = excluded.embedding)
    SELECT prediction_id FROM kept
""",
)

CREATE_INDEX = """
    INSERT INTO similarity_indexes (model_version_id, api_key_id, dimensions)
    VALUES (%(model_version_id)s, %(api_key_id)s, %(dimensions)s)
    ON CONFLICT (model_version_id, api_key_id) DO NOTHING RETURNING id
"""

CREATE_PARTITION = """
    CREATE TABLE embeddings_{index_id} PARTITION OF embeddings
        (CONSTRAINT dimensions CHECK (vector_dims(embedding) = {dimensions})) FOR VALUES IN ({index_id})
"""

# The column holds vectors of any length; the graph wants one.
CREATE_GRAPH = """
    CREATE INDEX hnsw_embeddings_{index_id} ON embeddings_{index_id}
        USING hnsw ((CAST(embedding AS vector({dimensions}))) vector_l2_ops)
        WITH (m = {links}, ef_construction = {effort})
"""

# The condition stands beside the limit: pgvector then goes on until it has found as many that fulfil it. It is a value
# rather than a join, because a planner that may join first joins all items and sorts them (measured with 3,000 items,
# 64 queries: 2,013 ms against 109 ms).
SEARCH = """
    WITH asked AS MATERIALIZED (
        SELECT id, item_id, CAST(embedding AS vector({dimensions})) AS embedding
        FROM json_to_recordset(CAST(%(rows)s AS json)) AS r(id uuid, item_id bigint, embedding text))
    SELECT a.id, i.catalog, i.external_id, n.photo_sha256, n.distance
    FROM asked a
    CROSS JOIN LATERAL (
        SELECT e.indexed_item_id, e.photo_sha256, CAST(e.embedding AS vector({dimensions})) <-> a.embedding AS distance
        FROM embeddings_{index_id} e
        WHERE (
            SELECT x.photo_sha256 = e.photo_sha256 AND x.item_id IS DISTINCT FROM a.item_id
            FROM indexed_items x WHERE x.id = e.indexed_item_id)
        ORDER BY CAST(e.embedding AS vector({dimensions})) <-> a.embedding
        LIMIT %(limit)s
    ) n
    JOIN indexed_items x ON x.id = n.indexed_item_id
    JOIN items i ON i.id = x.item_id
    ORDER BY a.id, n.distance
"""

WITHOUT_EMBEDDING = """
    NOT EXISTS (
        SELECT FROM embeddings e JOIN similarity_indexes s ON s.id = e.index_id
        WHERE e.indexed_item_id = x.id AND e.photo_sha256 = x.photo_sha256
            AND s.model_version_id = :model_version_id AND s.api_key_id = x.api_key_id)
"""

COUNT_MISSING = PreparedStatement(
    "count_missing_embeddings",
    f"SELECT count(*) FROM indexed_items x WHERE x.model_id = :model_id AND {WITHOUT_EMBEDDING}",
)

# Apart, because each status has an index of its own.
COUNT_OPEN_REFRESHES = PreparedStatement(
    "count_open_refreshes",
    """
    SELECT (SELECT count(*) FROM predictions
            WHERE status = 'queued' AND model_version_id = :model_version_id AND index_action = 'refresh')
        + (SELECT count(*) FROM predictions
            WHERE status = 'processing' AND model_version_id = :model_version_id AND index_action = 'refresh')
""",
)

# What is on its way is not asked for again, nor what failed unless the caller wants it tried once more.
MISSING = PreparedStatement(
    "missing_embeddings",
    f"""
    SELECT x.api_key_id, i.catalog, i.external_id, x.photo_sha256, x.photo_bytes
    FROM indexed_items x JOIN items i ON i.id = x.item_id
    WHERE x.model_id = :model_id AND {WITHOUT_EMBEDDING} AND NOT EXISTS (
        SELECT FROM predictions p
        WHERE p.item_id = x.item_id AND p.api_key_id = x.api_key_id AND p.model_version_id = :model_version_id
            AND p.index_action IS NOT NULL AND p.input_sha256 = x.photo_sha256
            AND p.status = ANY(CAST(:settled AS text[])))
    ORDER BY x.id LIMIT :limit
""",
)
