-- Webhooks: tokens that are kept as a hash, deliveries that are looked at later, calls to test addresses, budgets of calls.

-- A call is found by the SHA-256 of its token: 256 random bits need nothing slower. `token_sealed` is the token itself,
-- encrypted, where there is a key. `token` is what earlier versions stored; the program empties it, and it goes with the
-- next release.
ALTER TABLE triggers ADD COLUMN token_hash bytea, ADD COLUMN token_sealed bytea;
UPDATE triggers SET token_hash = sha256(convert_to(token, 'UTF8')) WHERE token IS NOT NULL;
ALTER TABLE triggers ADD CONSTRAINT triggers_token_hash UNIQUE (token_hash);
CREATE INDEX triggers_plain_token ON triggers (id) WHERE token IS NOT NULL;

-- The id holds the time of arrival. `request` is JSON text `{method, path, query, headers}`, as bytes because it may hold
-- \u0000. `body` is null when it was too large to be kept, or was never read.
CREATE TABLE deliveries (
    id         uuid PRIMARY KEY,
    trigger_id uuid NOT NULL CONSTRAINT deliveries_trigger REFERENCES triggers (id) ON DELETE CASCADE,
    request    bytea NOT NULL,
    body       bytea,
    body_size  integer NOT NULL,
    outcome    text NOT NULL,
    status     smallint NOT NULL,
    reason     text,
    run_id     uuid,
    CONSTRAINT deliveries_outcome CHECK (outcome IN ('accepted', 'duplicate', 'refused', 'failed'))
);
CREATE INDEX deliveries_listed ON deliveries (trigger_id, id DESC);
CREATE INDEX deliveries_run ON deliveries (run_id) WHERE run_id IS NOT NULL;

-- An address that takes one call and starts nothing. `captured` is the JSON text of that call.
CREATE TABLE webhook_tests (
    id         uuid PRIMARY KEY,
    trigger_id uuid NOT NULL CONSTRAINT webhook_tests_trigger REFERENCES triggers (id) ON DELETE CASCADE,
    token_hash bytea NOT NULL CONSTRAINT webhook_tests_token UNIQUE,
    captured   bytea,
    expires_at timestamptz NOT NULL
);
CREATE INDEX webhook_tests_expiry ON webhook_tests (expires_at);

-- Token buckets that instances take slices from. `granted` is what the last of them got; from `full_at` on the row says
-- nothing that no row would not say. After a crash of the server all buckets are full: nothing here is worth the disk.
CREATE UNLOGGED TABLE budgets (
    key         text COLLATE "C" CONSTRAINT budgets_pkey PRIMARY KEY,
    tokens      float8 NOT NULL,
    granted     integer NOT NULL,
    refilled_at timestamptz NOT NULL,
    full_at     timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
