-- What a run can wait for besides time: signals, the ends of its children, a place among the runs of its workflow.

-- Facts that never change during a run. `scope` names the loop item that a child runs (see melagent/engine/planner.py),
-- `requires` is what the run required at its start, `on_failure` the workflow that is started when it fails, and
-- `attached` says that its parent waits for its end and takes it along when it is cancelled.
ALTER TABLE runs
    ADD COLUMN parent_run_id uuid,
    ADD COLUMN parent_step   text,
    ADD COLUMN attached      boolean NOT NULL DEFAULT false,
    ADD COLUMN depth         smallint NOT NULL DEFAULT 0,
    ADD COLUMN scope         text,
    ADD COLUMN retry_of      uuid,
    ADD COLUMN on_failure    uuid,
    ADD COLUMN requires      text NOT NULL DEFAULT '';
CREATE INDEX runs_of_parent ON runs (parent_run_id) WHERE parent_run_id IS NOT NULL;

-- `pausing`: the run is to be paused at its next step boundary. `limited_by` is the workflow among whose runs this one
-- is counted; only so many of them are in work_items at once.
ALTER TABLE work_items
    ADD COLUMN pausing    boolean NOT NULL DEFAULT false,
    ADD COLUMN limited_by uuid,
    ADD COLUMN limit_to   integer;
CREATE INDEX work_items_limited ON work_items (limited_by) WHERE limited_by IS NOT NULL;

-- `waits` are the topics of messages that would wake a waiting run. A limited run waits for a place.
ALTER TABLE parked
    ADD COLUMN waits      text[] NOT NULL DEFAULT '{}',
    ADD COLUMN limited_by uuid,
    ADD COLUMN limit_to   integer,
    DROP CONSTRAINT parked_reason,
    ADD CONSTRAINT parked_reason CHECK (reason IN ('sleeping', 'waiting', 'paused', 'limited'));
CREATE INDEX parked_limited ON parked (limited_by, priority, run_id) WHERE reason = 'limited';

-- Messages to a run that it has not taken in yet, in the order of their `id`. A run takes a message in with the entry
-- of its journal that records what the message led to, so none is taken in twice.
CREATE TABLE run_inbox (
    id       bigint GENERATED ALWAYS AS IDENTITY,
    run_id   uuid NOT NULL,
    topic    text NOT NULL,
    child_id uuid,
    value    bytea,
    sent_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT run_inbox_pkey PRIMARY KEY (run_id, id)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX run_inbox_age ON run_inbox (sent_at);

-- Random values that all instances share. A row is made by whoever needs it first.
CREATE TABLE server_keys (
    name  text NOT NULL,
    value bytea NOT NULL,
    CONSTRAINT server_keys_pkey PRIMARY KEY (name)
);
