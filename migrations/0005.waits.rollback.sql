DROP TABLE server_keys;
DROP TABLE run_inbox;
DROP INDEX parked_limited;
WITH free AS (DELETE FROM parked WHERE reason = 'limited' RETURNING *)
INSERT INTO work_items (run_id, priority, requires, attempt, started_at, deadline_at)
SELECT run_id, priority, requires, attempt, started_at, deadline_at FROM free;
ALTER TABLE parked
    DROP CONSTRAINT parked_reason,
    ADD CONSTRAINT parked_reason CHECK (reason IN ('sleeping', 'waiting', 'paused')),
    DROP COLUMN waits,
    DROP COLUMN limited_by,
    DROP COLUMN limit_to;
DROP INDEX work_items_limited;
ALTER TABLE work_items
    DROP COLUMN pausing,
    DROP COLUMN limited_by,
    DROP COLUMN limit_to;
DROP INDEX runs_of_parent;
ALTER TABLE runs
    DROP COLUMN parent_run_id,
    DROP COLUMN parent_step,
    DROP COLUMN attached,
    DROP COLUMN depth,
    DROP COLUMN scope,
    DROP COLUMN retry_of,
    DROP COLUMN on_failure,
    DROP COLUMN requires;
