-- Runs, their journal and their values, in weekly partitions by the UUIDv7 of the run; and the two small tables that
-- say where each live run is: in work_items (due) or in parked (not due). See melagent/engine/__init__.py.

CREATE TABLE runs (
    id            uuid NOT NULL,
    workflow_id   uuid,
    version_id    uuid NOT NULL,
    status        text NOT NULL DEFAULT 'pending',
    priority      smallint NOT NULL DEFAULT 5,
    entry         text NOT NULL,
    trigger_type  text NOT NULL,
    trigger_id    uuid,
    trigger_node  text,
    input         bytea,
    input_hash    bytea,
    output        bytea,
    output_hash   bytea,
    error         json,
    attempt       integer NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT now(),
    started_at    timestamptz,
    finished_at   timestamptz,
    deadline_at   timestamptz,
    settled_lease uuid,
    settled_seq   integer,
    CONSTRAINT runs_pkey PRIMARY KEY (id),
    CONSTRAINT runs_status CHECK (status IN
        ('pending', 'sleeping', 'waiting', 'paused', 'completed', 'failed', 'cancelled')),
    CONSTRAINT runs_finished_when_final CHECK
        ((finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled')))
) PARTITION BY RANGE (id);
-- Ascending, although lists begin with the newest: new rows then go to the right end of their part of the index.
CREATE INDEX runs_of_workflow ON runs (workflow_id, id);

-- One row for each step; a step that is tried again or wakes updates its row until it is final. `seq` orders the journal.
CREATE TABLE steps (
    run_id      uuid NOT NULL,
    step_key    text NOT NULL,
    seq         integer NOT NULL,
    node_id     text NOT NULL,
    node_type   text NOT NULL,
    status      text NOT NULL,
    attempt     integer NOT NULL,
    handle      text,
    output      bytea,
    output_hash bytea,
    error       json,
    logs        json,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,
    wake_at     timestamptz,
    CONSTRAINT steps_pkey PRIMARY KEY (run_id, step_key),
    CONSTRAINT steps_status CHECK (status IN
        ('pending', 'running', 'sleeping', 'waiting', 'completed', 'failed', 'skipped', 'cancelled')),
    CONSTRAINT steps_finished_when_final CHECK
        ((finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'skipped', 'cancelled')))
) PARTITION BY RANGE (run_id);

-- Values too large for a row, compressed (zlib), named by the SHA-256 of their JSON text; they live and die with the run.
CREATE TABLE payloads (
    run_id uuid NOT NULL,
    hash   bytea NOT NULL,
    size   integer NOT NULL,
    data   bytea NOT NULL,
    CONSTRAINT payloads_pkey PRIMARY KEY (run_id, hash)
) PARTITION BY RANGE (run_id);
ALTER TABLE payloads ALTER COLUMN data SET STORAGE EXTERNAL; -- in CREATE TABLE only from PostgreSQL 16 on

-- A live run that is due: free (lease null) or leased. The claim index holds free rows only, so a run that was started
-- already leased never enters it. No index holds the expiry: extending a lease stays a HOT update.
CREATE TABLE work_items (
    run_id           uuid NOT NULL,
    priority         smallint NOT NULL,
    lease            uuid,
    worker_id        text,
    lease_expires_at timestamptz,
    lease_seq        integer NOT NULL DEFAULT 0,
    attempt          integer NOT NULL DEFAULT 0,
    expiries         smallint NOT NULL DEFAULT 0,
    started_at       timestamptz,
    deadline_at      timestamptz,
    CONSTRAINT work_items_pkey PRIMARY KEY (run_id),
    CONSTRAINT work_items_lease_is_whole CHECK
        ((lease IS NULL) = (worker_id IS NULL) AND (lease IS NULL) = (lease_expires_at IS NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX work_items_free ON work_items (priority, run_id) WHERE lease IS NULL;
CREATE INDEX work_items_leased ON work_items (run_id) WHERE lease IS NOT NULL;
CREATE INDEX work_items_deadline ON work_items (deadline_at) WHERE deadline_at IS NOT NULL;

-- A live run that is not due. `wake_at` is the earliest of its timers and its deadline; null waits for an event only.
CREATE TABLE parked (
    run_id      uuid NOT NULL,
    priority    smallint NOT NULL,
    wake_at     timestamptz,
    reason      text NOT NULL,
    waiting_for json,
    attempt     integer NOT NULL,
    started_at  timestamptz,
    deadline_at timestamptz,
    CONSTRAINT parked_pkey PRIMARY KEY (run_id),
    CONSTRAINT parked_reason CHECK (reason IN ('sleeping', 'waiting', 'paused'))
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX parked_wake ON parked (wake_at) WHERE wake_at IS NOT NULL;

-- Makes the partitions of `weeks` weeks (Monday to Monday, UTC) from the week of `moment` on; safe to call from many
-- sessions at once. A UUIDv7 begins with 48 bits of milliseconds since 1970, so a week is a range of ids.
CREATE FUNCTION create_week_partitions(moment timestamptz, weeks integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    monday timestamp := date_trunc('week', moment AT TIME ZONE 'UTC');
    made integer := 0;
    bounds text[];
    parent text;
    week integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('melagent.partitions', 0));
    FOR week IN 0 .. weeks - 1 LOOP
        SELECT array_agg(substr(hex, 1, 8) || '-' || substr(hex, 9, 4) || '-0000-0000-000000000000' ORDER BY hex)
          INTO bounds
          FROM (SELECT lpad(to_hex((extract(epoch FROM monday + make_interval(weeks => week + side)) * 1000)::bigint),
                            12, '0') AS hex
                  FROM generate_series(0, 1) AS side) AS edges;
        FOREACH parent IN ARRAY ARRAY['runs', 'steps', 'payloads'] LOOP
            CONTINUE WHEN to_regclass(parent || to_char(monday + make_interval(weeks => week), '_IYYY"w"IW')) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L) WITH (fillfactor = %s)',
                           parent || to_char(monday + make_interval(weeks => week), '_IYYY"w"IW'), parent,
                           bounds[1], bounds[2], CASE parent WHEN 'runs' THEN 70 ELSE 100 END);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

-- One week back: a run whose id was made by a clock that is behind still finds its partition.
SELECT create_week_partitions(now() - interval '7 days', 10);
