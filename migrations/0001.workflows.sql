-- Workflows, their drafts and their immutable versions, and the triggers that follow the deployed version.

CREATE TABLE workflows (
    id              uuid PRIMARY KEY,
    name            text NOT NULL,
    description     text NOT NULL DEFAULT '',
    current_version integer,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    deleted_at      timestamptz,
    CONSTRAINT workflows_name_not_blank CHECK (btrim(name) <> '')
);
CREATE INDEX workflows_listed ON workflows (id DESC) WHERE deleted_at IS NULL;

-- `seq` is the draft's revision. Definitions are json, not jsonb: jsonb cannot hold \u0000, and nothing searches in them.
CREATE TABLE drafts (
    workflow_id uuid PRIMARY KEY CONSTRAINT drafts_workflow REFERENCES workflows (id) ON DELETE CASCADE,
    seq         bigint NOT NULL DEFAULT 1,
    definition  json NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now()
);

-- An unlisted version (workflow_id null) belongs to runs of a file; the same definition is stored once.
CREATE TABLE versions (
    id              uuid PRIMARY KEY,
    workflow_id     uuid CONSTRAINT versions_workflow REFERENCES workflows (id),
    version_number  integer,
    name            text NOT NULL,
    description     text NOT NULL DEFAULT '',
    definition      json NOT NULL,
    definition_hash bytea NOT NULL,
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT versions_listed_are_numbered CHECK ((workflow_id IS NULL) = (version_number IS NULL)),
    CONSTRAINT versions_number UNIQUE (workflow_id, version_number)
);
CREATE UNIQUE INDEX versions_unlisted ON versions (definition_hash) WHERE workflow_id IS NULL;

-- Identity is (workflow, node): id and token survive deploy and rollback. `active` is false while the deployed version
-- lacks the node.
CREATE TABLE triggers (
    id          uuid PRIMARY KEY,
    workflow_id uuid NOT NULL CONSTRAINT triggers_workflow REFERENCES workflows (id),
    node_id     text NOT NULL,
    type        text NOT NULL,
    name        text NOT NULL,
    config      json NOT NULL,
    token       text,
    version_id  uuid NOT NULL CONSTRAINT triggers_version REFERENCES versions (id),
    active      boolean NOT NULL DEFAULT true,
    enabled     boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT triggers_node UNIQUE (workflow_id, node_id),
    CONSTRAINT triggers_token UNIQUE (token)
);
