-- Edits: a draft becomes the numbered sequence of its edits, with a snapshot up to which they need not be read.

-- `definition` is the draft at `snapshot_seq`; the edits after it lead to `seq`.
ALTER TABLE drafts ADD COLUMN snapshot_seq bigint NOT NULL DEFAULT 1;
UPDATE drafts SET snapshot_seq = seq;

-- A definition is only ever stored as the draft at `seq`; a program that knows no edits does not say so.
CREATE FUNCTION drafts_snapshot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.snapshot_seq := NEW.seq;
    RETURN NEW;
END
$$;
CREATE TRIGGER drafts_snapshot BEFORE UPDATE OF definition ON drafts FOR EACH ROW EXECUTE FUNCTION drafts_snapshot();

-- `(client, client_edit_id)` names an edit for its author, who may send it again. Operations are json, not jsonb, so that
-- what is shown is what was stored. The draft's row is locked by whoever inserts, and never deleted: no foreign key.
CREATE TABLE edits (
    workflow_id    uuid NOT NULL,
    seq            bigint NOT NULL,
    client         text NOT NULL,
    client_edit_id bigint NOT NULL,
    by_id          text,
    by_name        text NOT NULL,
    at             timestamptz NOT NULL,
    ops            json NOT NULL,
    inverse        json NOT NULL,
    reverts        bigint[],
    PRIMARY KEY (workflow_id, seq),
    CONSTRAINT edits_of_client UNIQUE (workflow_id, client, client_edit_id)
);
CREATE INDEX edits_by_age ON edits USING brin (at);
