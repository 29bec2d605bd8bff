-- Test data that somebody pinned to a node of a draft. It is no part of the draft: versions and runs never see it.

-- `value` is json, not jsonb: jsonb cannot hold \u0000, and nothing searches in it. A node that is taken out of the draft keeps
-- its row until the next value of the workflow is pinned.
CREATE TABLE pinned (
    workflow_id uuid NOT NULL CONSTRAINT pinned_workflow REFERENCES workflows (id) ON DELETE CASCADE,
    node_id     text NOT NULL,
    value       json NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pinned_pkey PRIMARY KEY (workflow_id, node_id)
);
