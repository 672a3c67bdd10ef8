-- Why: a token has a name by which its owner knows it, can expire, and shows when it was used, so
-- that those that nobody needs can be found.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE tokens
    ADD COLUMN name text NOT NULL DEFAULT '' CHECK (char_length(name) <= 100),
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN last_used_at timestamptz,
    ADD COLUMN uses_recorded_since timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN tokens.expires_at IS 'From then on, it is refused. Null: it never expires.';
COMMENT ON COLUMN tokens.last_used_at IS
    'Written at most once an hour. Null: it was not used since this is recorded.';
COMMENT ON COLUMN tokens.uses_recorded_since IS
    'Uses before this moment are unknown: those before the upgrade, or in the old service.';

INSERT INTO schema_migrations (name) VALUES ('0046_date_tokens');
COMMIT;
