DROP TABLE payload_parts;
DROP INDEX work_items_free;
CREATE INDEX work_items_free ON work_items (priority, run_id) WHERE lease IS NULL;
ALTER TABLE parked DROP COLUMN requires;
ALTER TABLE work_items DROP COLUMN granted_at;
ALTER TABLE work_items DROP COLUMN requires;
DROP TABLE instances;
DROP TABLE workers;
ALTER TABLE tokens DROP COLUMN labels;
