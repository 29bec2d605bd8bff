-- Remote workers, the instances they talk to, and which worker may run which run.

-- A worker token that is bound to labels brings only workers that have no others. Empty: not bound.
ALTER TABLE tokens ADD COLUMN labels text[] NOT NULL DEFAULT '{}';

-- A worker that has registered; its leases are in work_items, by `worker_id`. A registration is known by its session: a
-- later one under the same id ends it. `heartbeat_seq` and `heartbeat_at` are those of the last heartbeat taken in.
CREATE TABLE workers (
    id              text NOT NULL,
    session         uuid NOT NULL,
    token_id        text NOT NULL,
    name            text NOT NULL,
    version         text NOT NULL,
    labels          text[] NOT NULL,
    node_types      text[] NOT NULL,
    concurrency     integer NOT NULL,
    instance        text NOT NULL,
    draining        boolean NOT NULL DEFAULT false,
    registered_at   timestamptz NOT NULL DEFAULT now(),
    last_contact_at timestamptz NOT NULL DEFAULT now(),
    heartbeat_seq   bigint NOT NULL DEFAULT 0,
    heartbeat_at    timestamptz,
    CONSTRAINT workers_pkey PRIMARY KEY (id)
) WITH (fillfactor = 50);

-- An instance that is running, or was until a moment ago: it writes its row every few seconds.
CREATE TABLE instances (
    id           text NOT NULL,
    role         text NOT NULL,
    version      text NOT NULL,
    host         text NOT NULL,
    pid          integer NOT NULL,
    draining     boolean NOT NULL DEFAULT false,
    started_at   timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    load         json NOT NULL,
    CONSTRAINT instances_pkey PRIMARY KEY (id)
) WITH (fillfactor = 50);

-- What a worker must have to run this run: labels and node types, in one text (see melagent/domain/requirement.py).
-- Claims look at the requirements that free runs have, and at the runs of those that the worker meets.
ALTER TABLE work_items ADD COLUMN requires text NOT NULL DEFAULT '';
ALTER TABLE work_items ADD COLUMN granted_at timestamptz;
ALTER TABLE parked ADD COLUMN requires text NOT NULL DEFAULT '';
DROP INDEX work_items_free;
CREATE INDEX work_items_free ON work_items (requires, priority, run_id) WHERE lease IS NULL;

-- Parts of a large value on its way from a worker, until the journal names the value.
CREATE TABLE payload_parts (
    run_id     uuid NOT NULL,
    hash       bytea NOT NULL,
    start      integer NOT NULL,
    total      integer NOT NULL,
    data       bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payload_parts_pkey PRIMARY KEY (run_id, hash, start)
);
ALTER TABLE payload_parts ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE INDEX payload_parts_age ON payload_parts (created_at);
