-- Why: people in two countries want their messages at eight o'clock, each by their own clock. So
-- each schedule can have a time zone of its own. The rule by which the next tick was computed has
-- the time zone in it, and three statements compare it: it is written once, here. It is the same
-- text as before for a schedule without a time zone, so that no next tick is computed again.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE schedules ADD COLUMN time_zone text
    CONSTRAINT schedules_time_zone_check CHECK (char_length(time_zone) <= 64);

COMMENT ON COLUMN schedules.time_zone IS
    'The IANA name of the time zone in which the fields are read. Null: that of SBM_TIMEZONE.';

COMMENT ON COLUMN estimated_sends.send_date IS 'For each schedule, the day in its own time zone.';

CREATE FUNCTION rule_of_next_tick(schedule schedules, version text, default_time_zone text)
RETURNS text LANGUAGE sql STABLE AS $$
-- The rule by which the next tick of the built-in clock is computed. The first version has no name.
SELECT concat_ws(' ', version, schedule.minute, schedule.hour, schedule.day_of_month,
                 schedule.month_of_year, schedule.day_of_week,
                 COALESCE(schedule.time_zone, default_time_zone))
$$;

INSERT INTO schema_migrations (name) VALUES ('0042_give_schedules_time_zones');
COMMIT;
