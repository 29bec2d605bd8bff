DROP TABLE audit;
-- A key that was narrowed must not become one with all the rights of its role.
DELETE FROM tokens WHERE scopes <> '{}';
ALTER TABLE tokens DROP COLUMN last_used_at, DROP COLUMN scopes;
DROP TABLE sign_in_attempts;
DROP TABLE setup_tokens;
DROP TABLE sessions;
-- The hash of nothing: nobody signs in with it.
UPDATE users SET password_hash = '' WHERE password_hash IS NULL;
ALTER TABLE users
    DROP CONSTRAINT users_oidc,
    DROP COLUMN oidc_subject,
    DROP COLUMN oidc_issuer,
    DROP COLUMN epoch,
    ALTER COLUMN password_hash SET NOT NULL;
