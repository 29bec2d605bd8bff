-- Variables that workflows share: global ones, and those of one workflow.

-- `scope` is `global` or the id of the workflow; `value` is JSON text, as bytes because it may hold \u0000. The names sort
-- by their bytes, so that this program and the server agree on the order in which rows are locked. `revision` counts the
-- changes since the variable was made. Counters change all the time: room on the page lets their updates stay HOT.
CREATE TABLE variables (
    scope      text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    value      bytea NOT NULL,
    revision   bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT variables_pkey PRIMARY KEY (scope, key),
    CONSTRAINT variables_scope CHECK
        (scope ~ '^(global|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$'),
    CONSTRAINT variables_key CHECK (key ~ '^[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,199}$'),
    CONSTRAINT variables_value CHECK (octet_length(value) <= 262144)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
