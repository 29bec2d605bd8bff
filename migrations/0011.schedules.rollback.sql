ALTER TABLE runs DROP COLUMN scheduled_for;
DROP TABLE trigger_uses;
DROP INDEX triggers_on_failure;
DROP INDEX triggers_due;
DELETE FROM triggers WHERE node_id IS NULL;
ALTER TABLE triggers
    DROP CONSTRAINT triggers_by_hand,
    DROP CONSTRAINT triggers_position_is_whole,
    DROP COLUMN last_fired_at,
    DROP COLUMN next_fire_at,
    DROP COLUMN planned_at,
    DROP COLUMN since,
    DROP COLUMN entry,
    ALTER COLUMN version_id SET NOT NULL,
    ALTER COLUMN node_id SET NOT NULL;
