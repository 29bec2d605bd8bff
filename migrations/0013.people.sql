-- Signing in: sessions, the first administrator, limits on guessing; keys that may do less than their role; the audit log.

-- Whoever signs in through OpenID Connect has no password here. `epoch` counts the occasions at which all sessions of a
-- user ended: a session is good as long as it names the present one, so none that is being made slips through.
ALTER TABLE users
    ALTER COLUMN password_hash DROP NOT NULL,
    ADD COLUMN epoch integer NOT NULL DEFAULT 0,
    ADD COLUMN oidc_issuer text,
    ADD COLUMN oidc_subject text,
    ADD CONSTRAINT users_oidc UNIQUE (oidc_issuer, oidc_subject);

-- Of a session only the SHA-256 of its token is stored.
CREATE TABLE sessions (
    hash         bytea PRIMARY KEY,
    user_id      uuid NOT NULL,
    epoch        integer NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    seen_at      timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    CONSTRAINT sessions_user FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE
);
CREATE INDEX sessions_of_user ON sessions (user_id, created_at);

-- Links with which the first administrator is made.
CREATE TABLE setup_tokens (
    hash         bytea PRIMARY KEY,
    expires_at   timestamptz NOT NULL
);

-- How much of its limit an account, an address or a browser has used up: `free_at` is when nothing of it counts any
-- longer. A slot is 20 bits of a keyed hash, so the table has at most a million rows, and neither emails nor addresses.
CREATE TABLE sign_in_attempts (
    slot         integer PRIMARY KEY,
    free_at      timestamptz NOT NULL
) WITH (fillfactor = 50);

-- `workflow:<id>` and `execute` narrow what a key may do; an empty list leaves it at its role.
ALTER TABLE tokens
    ADD COLUMN scopes text[] NOT NULL DEFAULT '{}',
    ADD COLUMN last_used_at timestamptz;

-- Who did what from where. An id is made when the row is, so its order is that of time.
CREATE TABLE audit (
    id           uuid PRIMARY KEY,
    at           timestamptz NOT NULL,
    actor_kind   text NOT NULL,
    actor_id     text,
    actor_name   text,
    action       text NOT NULL,
    ids          jsonb NOT NULL,
    status       smallint NOT NULL,
    address      text NOT NULL,
    request_id   text NOT NULL,
    times        integer NOT NULL
);
CREATE INDEX audit_of_actor ON audit (actor_id, id);
