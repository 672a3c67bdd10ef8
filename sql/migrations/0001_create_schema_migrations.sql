-- Why: the daemon refuses to work on a schema that it does not know, so the schema has to say
-- which migrations made it.
--
-- Every migration is one file that records itself in its own transaction, and holds the same
-- advisory lock meanwhile. So it makes no difference whether `sbm migrate` or `psql -f` applies
-- it, and applying it a second time changes nothing and fails.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE TABLE schema_migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE schema_migrations IS 'The files of sql/migrations that made this schema.';

INSERT INTO schema_migrations (name) VALUES ('0001_create_schema_migrations');
COMMIT;
