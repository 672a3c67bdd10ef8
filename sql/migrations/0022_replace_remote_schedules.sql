-- Why: the Seed Scheduler fixes when a schedule fires at the moment when the schedule is made. A
-- PATCH of its cron changes the text and nothing else, so a changed cron needs a new schedule, made
-- after the old one was disabled. And when several schedules with a cron that is new to it are made
-- at the same time, it refuses that cron for ever after: the first POST with a cron goes alone.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE remote_schedules
    ADD COLUMN made_with text,
    ADD COLUMN is_addressed boolean NOT NULL DEFAULT true,
    ADD COLUMN silent_since timestamptz;
COMMENT ON COLUMN remote_schedules.cron_definition IS
    'What the Scheduler shows as its cron; null: not known, or it may fire at other times.';
COMMENT ON COLUMN remote_schedules.made_with IS
    'The cron that it was made with, which is when it fires; null: not known.';
COMMENT ON COLUMN remote_schedules.is_addressed IS
    'False: its endpoint or its token is not ours any more.';
COMMENT ON COLUMN remote_schedules.silent_since IS
    'Since when, by the Scheduler''s clock, it calls nobody because the schedule that is to take the '
    'place of this one is not made yet; null: that is not so.';

ALTER TABLE remote_listing
    ADD COLUMN made_with text,
    ADD COLUMN is_addressed boolean NOT NULL DEFAULT true;

CREATE TABLE scheduler_crons (
    cron_definition text PRIMARY KEY,
    known_at timestamptz,
    chore_id bigint,
    attempt integer,
    taken_until timestamptz
);
COMMENT ON TABLE scheduler_crons IS
    'The crons that the Scheduler knows, or that one schedule is being made with.';
COMMENT ON COLUMN scheduler_crons.known_at IS
    'When a schedule was first known to have been made with it; null: none is known.';
COMMENT ON COLUMN scheduler_crons.chore_id IS
    'The chore whose POST may be under way, or may have been done; null: there is none.';
COMMENT ON COLUMN scheduler_crons.attempt IS 'The attempt of that chore. It fences.';
COMMENT ON COLUMN scheduler_crons.taken_until IS 'After that, another chore may try.';

ALTER TABLE chores
    ADD COLUMN waits_for text,
    ADD COLUMN fault text NOT NULL DEFAULT '',
    DROP CONSTRAINT chores_state_check,
    ADD CONSTRAINT chores_state_check
        CHECK (state IN ('owed', 'waiting', 'claimed', 'refused')),
    ADD CONSTRAINT chores_waits_for_check CHECK ((state = 'waiting') = (waits_for IS NOT NULL));
COMMENT ON COLUMN chores.waits_for IS
    'The cron that another chore is having its first schedule made with.';
COMMENT ON COLUMN chores.fault IS 'The last answer that was counted as a fault of this chore.';
CREATE INDEX chores_waiting ON chores (waits_for, id) WHERE state = 'waiting';
CREATE INDEX chores_failing ON chores (id) WHERE faults > 0;

CREATE OR REPLACE FUNCTION owe_chore(chore_kind text, chore_target text)
RETURNS void LANGUAGE sql AS $$
-- One that is owed or being done already is owed again; one that was refused gets another chance,
-- and one that waits may have nothing to wait for any more.
INSERT INTO chores (kind, target) VALUES (chore_kind, chore_target)
    ON CONFLICT (kind, target) DO UPDATE
   SET revision = chores.revision + 1, faults = 0, fault = '',
       up_to = '00000000-0000-0000-0000-000000000000', waits_for = NULL,
       state = CASE WHEN chores.state IN ('refused', 'waiting') THEN 'owed' ELSE chores.state END,
       due_at = CASE WHEN chores.state = 'refused' THEN now() ELSE chores.due_at END
$$;

CREATE VIEW chore_steps AS
-- What there is to do next for each chore. A step makes one call at most, and what it came to is
-- written down before the next one. "look": a POST may have made a schedule that is not known.
-- "replace": disable the schedule; a new one is made when that is surely done. "change": enable
-- it, or tell it our address and token, if need be. "none": nothing should call, and nothing does.
-- An id that the metadata alone has is believed only where it is not that of another's, from whom
-- it was copied. A schedule that is enabled and of which it is not known what it was made with is
-- taken for what it shows, until "sbm scheduler sync" has looked at it.
SELECT id, kind, target, state, attempt, revision, unknown_since, schedule_id, wanted, remote_id,
       cron_definition, made_with, enabled, is_addressed,
       CASE WHEN kind = 'members' THEN 'members'
            WHEN unknown_since IS NOT NULL THEN 'look'
            WHEN wanted IS NULL AND remote_id IS NULL THEN 'none'
            WHEN wanted IS NULL THEN 'disable'
            WHEN remote_id IS NULL THEN 'create'
            WHEN cron_definition = wanted
                 AND (made_with = wanted OR made_with IS NULL AND enabled) THEN 'change'
            WHEN NOT enabled THEN 'create'
            ELSE 'replace' END AS step
  FROM (SELECT c.id, c.kind, c.target, c.state, c.attempt, c.revision, c.unknown_since,
               s.of_schedule AS schedule_id,
               told.wanted, known.cron_definition, known.made_with, known.enabled,
               COALESCE(known.is_addressed, false) AS is_addressed,
               CASE WHEN c.kind = 'leftover' THEN c.target
                    ELSE COALESCE(known.remote_id,
                                  CASE WHEN s.in_metadata <> ''
                                        AND NOT EXISTS (SELECT FROM remote_schedules others
                                                         WHERE others.remote_id = s.in_metadata)
                                       THEN s.in_metadata END) END AS remote_id
          FROM chores c
         CROSS JOIN (SELECT scheduling_mode() AS mode) scheduling
          LEFT JOIN remote_schedules known ON known.kind = c.kind AND known.target = c.target
         CROSS JOIN LATERAL (
               SELECT CASE WHEN c.kind = 'schedule' THEN c.target::integer ELSE found.schedule_id
                      END AS of_schedule, found.is_under_way, found.in_metadata
                 FROM (SELECT) one
                 LEFT JOIN LATERAL (
                      SELECT schedule_id, active AND NOT completed AS is_under_way,
                             CASE WHEN jsonb_typeof(metadata) = 'object'
                                  THEN metadata ->> 'scheduler_schedule_id' END AS in_metadata
                        FROM subscriptions
                       WHERE id = CASE WHEN c.kind = 'subscription' THEN c.target::uuid END
                       OFFSET 0) found ON true) s
          LEFT JOIN LATERAL (
               SELECT cron_definition(schedules) AS wanted FROM schedules
                WHERE id = CASE WHEN c.kind = 'subscription' AND scheduling.mode = 'subscription'
                                 AND s.is_under_way THEN s.of_schedule
                                WHEN c.kind = 'schedule' AND scheduling.mode = 'schedule'
                                THEN s.of_schedule END
               OFFSET 0) told ON true) things;
COMMENT ON VIEW chore_steps IS 'What there is to do next for each chore.';

INSERT INTO schema_migrations (name) VALUES ('0022_replace_remote_schedules');
COMMIT;
