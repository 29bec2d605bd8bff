ALTER TABLE instances DROP COLUMN key_ids;
DROP TABLE oauth_states;
DROP TABLE connection_uses;
DROP TABLE connections;
