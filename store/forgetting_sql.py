"""The statements of `store.forgetting`. Ids travel as one array, so each text is constant."""

from sqlalchemy import text

# What accepts a prediction about the item locks this row too: all that was accepted is seen, and the rest waits.
LOCK_ITEM = text("SELECT id FROM items WHERE catalog = :catalog AND external_id = :external_id FOR UPDATE")

# A photo that was forgotten may lie under many predictions; these are few enough for one statement, which may take
# longer than a request's usual ones.
PATIENCE = text("SET LOCAL statement_timeout = '60s'")

# The item's own predictions, the copies that shadow versions computed of them, and their replays by backtests.
GATHER = text("""
    WITH own AS MATERIALIZED (
        SELECT id FROM predictions
        WHERE item_id = :item_id AND (CAST(:api_key_id AS bigint) IS NULL OR api_key_id = :api_key_id)),
    gathered AS (
        SELECT id FROM own
        UNION SELECT p.id FROM own JOIN predictions p ON p.shadow_of = own.id
        UNION SELECT b.candidate_id FROM own JOIN backtest_items b ON b.source_id = own.id
        UNION SELECT b.baseline_id FROM own JOIN backtest_items b ON b.source_id = own.id)
    SELECT p.id, p.api_key_id, p.model_id, p.model_version_id, p.input_sha256, p.result -> 'mask' ->> 'sha256' AS mask
    FROM gathered g JOIN predictions p ON p.id = g.id
""")

INDEXED = text("""
    SELECT x.id, x.model_id, x.photo_sha256,
        (SELECT count(*) FROM embeddings e WHERE e.indexed_item_id = x.id) AS places
    FROM indexed_items x
    WHERE x.item_id = :item_id AND (CAST(:api_key_id AS bigint) IS NULL OR x.api_key_id = :api_key_id)
    FOR UPDATE
""")

FEEDBACK = text("""
    SELECT model_id, count(*) AS feedback, sum(revision - 1) AS revisions FROM feedback
    WHERE prediction_id = ANY(CAST(:ids AS uuid[])) GROUP BY model_id
""")

DELETE_INDEXED = text("DELETE FROM indexed_items WHERE id = ANY(CAST(:ids AS bigint[]))")

DELETE_FEEDBACK = text("DELETE FROM feedback WHERE prediction_id = ANY(CAST(:ids AS uuid[]))")

DELETE_KEYS = text("DELETE FROM idempotency_keys WHERE prediction_id = ANY(CAST(:ids AS uuid[]))")

DELETE_REPLAYS = text("DELETE FROM backtest_items WHERE source_id = ANY(CAST(:ids AS uuid[]))")

DELETE_PREDICTIONS = text("DELETE FROM predictions WHERE id = ANY(CAST(:ids AS uuid[]))")

# Another tenant may know an item by the same names.
DELETE_ITEM = text("""
    DELETE FROM items i WHERE i.id = :item_id
        AND NOT EXISTS (SELECT FROM predictions WHERE item_id = i.id)
        AND NOT EXISTS (SELECT FROM indexed_items WHERE item_id = i.id)
""")

# A row that is there already is locked until the commit: whoever is removing the same file looks again after it.
NOTE_OBJECTS = text("""
    INSERT INTO forgotten_objects (sha256)
    SELECT DISTINCT d FROM unnest(CAST(:digests AS text[])) d WHERE d IS NOT NULL ORDER BY 1
    ON CONFLICT (sha256) DO UPDATE SET created_at = now()
""")

TAKE_OBJECTS = text("""
    SELECT sha256 FROM forgotten_objects
    WHERE CAST(:digests AS text[]) IS NULL OR sha256 = ANY(CAST(:digests AS text[]))
    ORDER BY created_at, sha256 LIMIT :limit FOR UPDATE SKIP LOCKED
""")

# No index leads from a file to the predictions of it: one would cost each prediction three entries in random places,
# and files are forgotten seldom. So all rows are read, once for a group of files.
OBJECTS_IN_USE = text("""
    SELECT input_sha256 FROM predictions WHERE input_sha256 = ANY(CAST(:digests AS text[]))
    UNION SELECT p.result -> 'mask' ->> 'sha256' FROM predictions p
        WHERE p.model_id IN (SELECT id FROM models WHERE kind = 'segmentation')
            AND p.result -> 'mask' ->> 'sha256' = ANY(CAST(:digests AS text[]))
    UNION SELECT photo_sha256 FROM indexed_items WHERE photo_sha256 = ANY(CAST(:digests AS text[]))
    UNION SELECT weights_sha256 FROM model_versions WHERE weights_sha256 = ANY(CAST(:digests AS text[]))
    UNION SELECT data_sha256 FROM trainings WHERE data_sha256 = ANY(CAST(:digests AS text[]))
""")

DROP_OBJECTS = text("DELETE FROM forgotten_objects WHERE sha256 = ANY(CAST(:digests AS text[]))")

OLD_FEEDBACK = text("""
    DELETE FROM feedback WHERE prediction_id IN (
        SELECT prediction_id FROM feedback WHERE prediction_id < :least_id ORDER BY prediction_id LIMIT :limit)
""")
