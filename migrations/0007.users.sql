-- People. Of a password only its argon2id hash is stored. Whoever is disabled keeps the row, and may not sign in. An email
-- is stored in lower case, so that one person is one row however the address is written.

CREATE TABLE users (
    id             uuid PRIMARY KEY,
    email          text NOT NULL,
    name           text NOT NULL,
    role           text NOT NULL,
    password_hash  text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    disabled_at    timestamptz,
    CONSTRAINT users_email UNIQUE (email),
    CONSTRAINT users_role CHECK (role IN ('admin', 'editor', 'viewer'))
);
