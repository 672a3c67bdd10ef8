-- Why: the ticks of the last day are counted twice a minute by each daemon. Without an index, that
-- would read all ticks that are kept.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE INDEX ticks_created_at ON ticks (created_at) WHERE source <> 'single';

INSERT INTO schema_migrations (name) VALUES ('0038_find_recent_ticks');
COMMIT;
