-- Connections: credentials of third parties, their secrets encrypted (see melagent/vault.py).

-- `config` has what may be seen, `secret` a blob with the rest, whose fields are named in `secret_fields`. `tokens` is a blob
-- with what OAuth 2 has given: it changes by itself. A blob names its master key in its bytes 2 to 9.
CREATE TABLE connections (
    id              uuid NOT NULL,
    name            text NOT NULL,
    credential_type text NOT NULL,
    config          json NOT NULL,
    secret          bytea NOT NULL,
    secret_fields   text[] NOT NULL,
    tokens          bytea,
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT connections_pkey PRIMARY KEY (id),
    CONSTRAINT connections_name UNIQUE (name)
);
CREATE INDEX connections_type ON connections (credential_type, id);

-- Which nodes of the current version of a workflow name a connection. A deploy replaces the rows of its workflow; while there
-- is one, the connection cannot be deleted, whatever happens at the same moment.
CREATE TABLE connection_uses (
    workflow_id   uuid NOT NULL CONSTRAINT connection_uses_workflow REFERENCES workflows (id) ON DELETE CASCADE,
    node_id       text NOT NULL,
    connection_id uuid NOT NULL CONSTRAINT connection_uses_connection REFERENCES connections (id),
    CONSTRAINT connection_uses_pkey PRIMARY KEY (workflow_id, node_id, connection_id)
);
CREATE INDEX connection_uses_of ON connection_uses (connection_id);

-- An authorization that somebody has begun at a third party and that has not come back. `state` is the hash of what comes
-- back with it; `verifier` is a blob; `client` is the hash of what was agreed to, without secrets; `browser` is the hash of the
-- cookie of the browser that began it, null when none is known. The actor is who began it, as in the audit log.
CREATE TABLE oauth_states (
    id            uuid NOT NULL,
    state         bytea NOT NULL,
    connection_id uuid NOT NULL CONSTRAINT oauth_states_connection REFERENCES connections (id) ON DELETE CASCADE,
    verifier      bytea NOT NULL,
    client        bytea NOT NULL,
    browser       bytea,
    redirect_uri  text NOT NULL,
    actor_kind    text NOT NULL,
    actor_id      text,
    started_by    text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT oauth_states_pkey PRIMARY KEY (id),
    CONSTRAINT oauth_states_state UNIQUE (state)
);
CREATE INDEX oauth_states_age ON oauth_states (created_at);

-- The ids of the master keys that an instance can open with; the first is what it seals with. A key that one does not have yet
-- is sealed with by none.
ALTER TABLE instances ADD COLUMN key_ids text[] NOT NULL DEFAULT '{}';
