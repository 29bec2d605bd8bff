-- Keys of people, scripts and workers. Only the SHA-256 of a key is stored: a key is 256 random bits, so nothing slower
-- is needed.

CREATE TABLE tokens (
    id           uuid PRIMARY KEY,
    kind         text NOT NULL,
    role         text,
    name         text NOT NULL,
    hash         bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    CONSTRAINT tokens_hash UNIQUE (hash),
    CONSTRAINT tokens_kind CHECK (kind IN ('api', 'worker')),
    CONSTRAINT tokens_role CHECK ((kind = 'api') = (role IS NOT NULL) AND role IN ('admin', 'editor', 'viewer'))
);
