"""The checker's witness, and what is asked of it, in plain SQL.

It is a trigger that writes down every move of every row: who moved it, under which fence, and whether the worker that
held it was alive.
"""

WITNESS = """
CREATE SCHEMA IF NOT EXISTS witness;
CREATE TABLE IF NOT EXISTS witness.moves (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
    id uuid NOT NULL, from_status text, to_status text NOT NULL,
    attempt integer, crashes integer, crashes_before integer,
    fence bigint, worker_id bigint, holder_alive boolean, error_code text,
    writer text DEFAULT current_setting('application_name'));
CREATE INDEX IF NOT EXISTS moves_id ON witness.moves (id);
CREATE OR REPLACE FUNCTION witness.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO witness.moves (id, to_status, attempt, crashes, fence)
        VALUES (NEW.id, NEW.status, NEW.attempt, NEW.crash_count, NEW.fence);
    ELSIF NEW.status <> OLD.status OR NEW.fence IS DISTINCT FROM OLD.fence THEN
        INSERT INTO witness.moves (
            id, from_status, to_status, attempt, crashes, crashes_before, fence, worker_id, holder_alive, error_code)
        SELECT NEW.id, OLD.status, NEW.status, NEW.attempt, NEW.crash_count, OLD.crash_count,
            NEW.fence, NEW.worker_id, OLD.attempt_deadline_at > now() AND EXISTS (
                SELECT FROM workers w
                WHERE w.id = OLD.worker_id AND w.stopped_at IS NULL AND w.lease_expires_at > now()),
            NEW.error_code;
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS witness ON predictions;
CREATE TRIGGER witness AFTER INSERT OR UPDATE ON predictions FOR EACH ROW EXECUTE FUNCTION witness.note();
"""

MOVES = """
    SELECT m.*, CAST(m.id AS text) AS id, w.name AS holder
    FROM witness.moves m LEFT JOIN workers w ON w.id = m.worker_id
    WHERE m.n > %s ORDER BY m.n
"""

ROWS = """
    SELECT CAST(id AS text) AS id, status, input, result ->> 'label' AS label, result IS NULL AS empty, error_code,
        attempt, crash_count FROM predictions
    WHERE id IN (SELECT id FROM witness.moves WHERE n > %s) OR id = ANY(CAST(%s AS uuid[]))
"""

DELIVERIES = """
    SELECT CAST(id AS text) AS id, subject_id, event, state FROM webhook_deliveries
    WHERE subject_id = ANY(%s) OR id = ANY(CAST(%s AS uuid[]))
"""

OPEN = """
    SELECT FROM predictions WHERE status IN ('queued', 'processing')
    UNION ALL SELECT FROM webhook_deliveries WHERE state IN ('pending', 'sending') LIMIT 1
"""

THERE = "SELECT CAST(id AS text) AS id FROM predictions WHERE id = ANY(CAST(%s AS uuid[]))"

HELD = """
    SELECT w.pid, max(extract(epoch FROM p.finished_at)) AS ended FROM witness.moves m
    JOIN workers w ON w.id = m.worker_id JOIN predictions p ON p.id = m.id
    WHERE m.to_status = 'processing' AND w.pid = ANY(%s) GROUP BY w.pid
"""
