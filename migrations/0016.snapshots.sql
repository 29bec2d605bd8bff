-- Snapshots: one is written of a draft as it was, without holding up those who edit it meanwhile.

-- A program that knows no edits says nothing of `snapshot_seq` when it stores a definition, which is then that at `seq`.
CREATE OR REPLACE FUNCTION drafts_snapshot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.snapshot_seq = OLD.snapshot_seq THEN
        NEW.snapshot_seq := NEW.seq;
    END IF;
    RETURN NEW;
END
$$;
