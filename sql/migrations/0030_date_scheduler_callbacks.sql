-- Why: when the database's clock jumps between a call of the Seed Scheduler and its repetition, the
-- call seems to be of another day, and the repetition was a second tick. So the clock of the daemon
-- is kept as well.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE scheduler_callbacks ADD COLUMN received_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN scheduler_callbacks.received_at IS
    'By the clock of the daemon that received it.';

INSERT INTO schema_migrations (name) VALUES ('0030_date_scheduler_callbacks');
COMMIT;
