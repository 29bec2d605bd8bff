CREATE OR REPLACE FUNCTION drafts_snapshot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.snapshot_seq := NEW.seq;
    RETURN NEW;
END
$$;
