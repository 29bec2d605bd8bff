-- Edits that no snapshot holds would be lost. A maintenance pass writes the snapshots of drafts that rest.
DO $$
BEGIN
    IF EXISTS (SELECT FROM drafts WHERE seq > snapshot_seq) THEN
        RAISE EXCEPTION 'Some drafts have edits that are in no snapshot yet; an instance writes them ten minutes after the last edit.';
    END IF;
END
$$;
DROP TABLE edits;
DROP TRIGGER drafts_snapshot ON drafts;
DROP FUNCTION drafts_snapshot();
ALTER TABLE drafts DROP COLUMN snapshot_seq;
