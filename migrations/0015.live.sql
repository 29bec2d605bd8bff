-- Live editing: tickets that open one socket each, and who has a seat in which room through which instance.

-- Of a ticket only the SHA-256 is stored. It stands for a session or an API key, named by the hash of its own.
CREATE TABLE tickets (
    hash         bytea PRIMARY KEY,
    kind         text NOT NULL,
    credential   bytea NOT NULL,
    expires_at   timestamptz NOT NULL
);

-- Where there is Redis, this lies there. A crash of the server empties both tables; the instances then write them anew.
-- The seats of an instance go with its row, so that nobody has a seat through an instance that is gone.
CREATE UNLOGGED TABLE hubs (
    instance     text PRIMARY KEY,
    seen_at      timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- `owner` is the socket; a seat is taken over by the newest one of the same client.
CREATE UNLOGGED TABLE seats (
    workflow_id  uuid NOT NULL,
    peer         text NOT NULL,
    owner        text NOT NULL,
    instance     text NOT NULL,
    person_id    text NOT NULL,
    name         text NOT NULL,
    color        text NOT NULL,
    joined_at    timestamptz NOT NULL,
    PRIMARY KEY (workflow_id, peer),
    CONSTRAINT seats_instance FOREIGN KEY (instance) REFERENCES hubs ON DELETE CASCADE
);
CREATE INDEX seats_of_instance ON seats (instance);
