-- Webhooks whose token is kept as a hash only cannot be called afterwards: they get a new address when they are deployed.
DROP TABLE budgets;
DROP TABLE webhook_tests;
DROP TABLE deliveries;
DROP INDEX triggers_plain_token;
ALTER TABLE triggers DROP CONSTRAINT triggers_token_hash, DROP COLUMN token_sealed, DROP COLUMN token_hash;
