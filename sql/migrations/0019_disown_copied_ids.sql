-- Why: clients copy the metadata of one subscription to another, and with it the id of a schedule
-- at the Scheduler. When the copy was deleted, the schedule of the other one was disabled.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE OR REPLACE FUNCTION owe_chore_of_subscription() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- Not one that is known to be another's.
        INSERT INTO remote_schedules (kind, target, remote_id)
        SELECT 'subscription', OLD.id::text, OLD.metadata ->> 'scheduler_schedule_id'
         WHERE OLD.metadata ->> 'scheduler_schedule_id' <> ''
           AND NOT EXISTS (SELECT FROM remote_schedules
                            WHERE remote_id = OLD.metadata ->> 'scheduler_schedule_id')
            ON CONFLICT DO NOTHING;
    END IF;
    IF scheduling_mode() = 'subscription' THEN
        PERFORM owe_chore('subscription', COALESCE(NEW.id, OLD.id)::text);
    END IF;
    RETURN NULL;
END
$$;

INSERT INTO schema_migrations (name) VALUES ('0019_disown_copied_ids');
COMMIT;
