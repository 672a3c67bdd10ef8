-- Why: any tick of a moment that another tick has gets a repetition now, whoever opened the two.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

COMMENT ON COLUMN ticks.repetition IS 'Of a moment for which the schedule was ticked before: makes the ids of its sends other ones.';

INSERT INTO schema_migrations (name) VALUES ('0041_repeat_moments');
COMMIT;
