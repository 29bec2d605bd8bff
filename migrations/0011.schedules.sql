-- When triggers fire, and triggers that were made by hand.

-- A trigger that belongs to no node starts the deployed version at `entry`, where a start by hand enters; both are null
-- while none is deployed. `planned_at` is the next moment of a schedule that has not fired, and `next_fire_at` that moment
-- with its jitter; both are null for what is paused, retired, or no schedule. `since` is when the schedule began, from
-- which timers count.
ALTER TABLE triggers
    ALTER COLUMN node_id DROP NOT NULL,
    ALTER COLUMN version_id DROP NOT NULL,
    ADD COLUMN entry         text,
    ADD COLUMN since         timestamptz,
    ADD COLUMN planned_at    timestamptz,
    ADD COLUMN next_fire_at  timestamptz,
    ADD COLUMN last_fired_at timestamptz,
    ADD CONSTRAINT triggers_position_is_whole CHECK
        ((planned_at IS NULL) = (next_fire_at IS NULL) AND (planned_at IS NULL OR since IS NOT NULL)),
    ADD CONSTRAINT triggers_by_hand CHECK (node_id IS NOT NULL OR (version_id IS NULL) = (entry IS NULL));
CREATE INDEX triggers_due ON triggers (next_fire_at) WHERE active AND enabled AND next_fire_at IS NOT NULL;
CREATE INDEX triggers_on_failure ON triggers (id) WHERE active AND enabled AND type = 'error';

-- Which triggers made by hand name a connection, beside the nodes in `connection_uses`: no deploy replaces these rows. While
-- there is one, the connection cannot be deleted.
CREATE TABLE trigger_uses (
    trigger_id    uuid NOT NULL CONSTRAINT trigger_uses_trigger REFERENCES triggers (id) ON DELETE CASCADE,
    connection_id uuid NOT NULL CONSTRAINT trigger_uses_connection REFERENCES connections (id),
    CONSTRAINT trigger_uses_pkey PRIMARY KEY (trigger_id, connection_id)
);
CREATE INDEX trigger_uses_of ON trigger_uses (connection_id);

-- The planned moment that a run stands for.
ALTER TABLE runs ADD COLUMN scheduled_for timestamptz;
