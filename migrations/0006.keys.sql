-- Idempotency keys: whoever repeats a call gets the first answer again until the key expires.

-- `resource` is the id of what the call makes, settled before it is made, so that a repetition after a crash makes the
-- same. `answer` is null until the call has been answered. The scope of a call is its caller and its address.
CREATE TABLE run_keys (
    scope        text NOT NULL,
    key          text NOT NULL,
    request_hash bytea NOT NULL,
    resource     uuid NOT NULL,
    status       smallint,
    answer       bytea,
    expires_at   timestamptz NOT NULL,
    CONSTRAINT run_keys_pkey PRIMARY KEY (scope, key),
    CONSTRAINT run_keys_answer_is_whole CHECK ((status IS NULL) = (answer IS NULL))
);
CREATE INDEX run_keys_expiry ON run_keys (expires_at);
