-- Why: the names of the database are those of the manual. What is owed to the Seed Scheduler are calls,
-- what it holds are its schedules, a tick is unbalanced, and a subscription has an expected path.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

-- In the order in which a change of a subscription or schedule locks them.
LOCK TABLE schedules, subscriptions, ticks, chores, remote_schedules, scheduler_crons, remote_listing
    IN ACCESS EXCLUSIVE MODE;

ALTER TABLE chores RENAME TO scheduler_calls;
ALTER SEQUENCE chores_id_seq RENAME TO scheduler_calls_id_seq;
ALTER TABLE remote_schedules RENAME TO scheduler_schedules;
ALTER TABLE remote_listing RENAME TO scheduler_listing;
ALTER TABLE scheduler_crons RENAME chore_id TO call_id;
ALTER VIEW chore_steps RENAME TO scheduler_call_steps;
ALTER TABLE schedules RENAME wound_at TO next_tick_set_at;
ALTER INDEX ticks_broken RENAME TO ticks_unbalanced;

-- Constraints and indexes go by the names of their tables. In PostgreSQL 18, NOT NULL has one, too.
DO $$
DECLARE
    renamed record;
BEGIN
    FOR renamed IN
        SELECT conrelid::regclass AS place, conname AS was,
               regexp_replace(regexp_replace(conname, '^chores_', 'scheduler_calls_'),
                              '^remote_', 'scheduler_') AS becomes
          FROM pg_constraint
         WHERE conrelid IN ('scheduler_calls'::regclass, 'scheduler_schedules'::regclass,
                            'scheduler_listing'::regclass, 'scheduler_crons'::regclass)
           AND conname ~ '^(chores|remote)_'
    LOOP
        EXECUTE format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I',
                       renamed.place, renamed.was, renamed.becomes);
    END LOOP;
END
$$;
ALTER INDEX chores_claimed RENAME TO scheduler_calls_claimed;
ALTER INDEX chores_failing RENAME TO scheduler_calls_failing;
ALTER INDEX chores_owed RENAME TO scheduler_calls_owed;
ALTER INDEX chores_refused RENAME TO scheduler_calls_refused;
ALTER INDEX chores_waiting RENAME TO scheduler_calls_waiting;
ALTER INDEX remote_listing_target RENAME TO scheduler_listing_target;
ALTER INDEX remote_schedules_remote_id RENAME TO scheduler_schedules_remote_id;

COMMENT ON TABLE scheduler_calls IS
    'Calls to the Seed Scheduler that are owed: a row goes when its call is done.';
COMMENT ON COLUMN scheduler_calls.kind IS
    'subscription, schedule: tell of that one; members: look at who has that schedule, and owe a call '
    'for each that it matters to; leftover: disable what is at the Scheduler for nobody.';
COMMENT ON COLUMN scheduler_calls.waits_for IS
    'The cron that another call is having its first schedule made with.';
COMMENT ON COLUMN scheduler_calls.fault IS
    'The last answer that was counted as a fault of this call.';
COMMENT ON VIEW scheduler_call_steps IS 'What there is to do next for each call.';
COMMENT ON COLUMN scheduler_callbacks.target IS
    'The id of the subscription or schedule, as in scheduler_schedules.';
COMMENT ON COLUMN scheduler_crons.call_id IS
    'The call whose POST may be under way, or may have been done; null: there is none.';
COMMENT ON COLUMN scheduler_crons.attempt IS 'The attempt of that call. It fences.';
COMMENT ON COLUMN scheduler_crons.taken_until IS 'After that, another call may try.';
COMMENT ON TABLE recent_registrations IS
    'What the webhook was asked for without a key, while its duplicates are refused.';
COMMENT ON COLUMN ticks.checked_at IS 'When a daemon last began to check its balance.';
COMMENT ON COLUMN ticks.is_checked_off IS
    'It was closed when it was checked, and balanced: it is not checked again.';
COMMENT ON COLUMN ticks.missing IS
    'Triggers that were neither in the ledger nor live when it was last checked; negative: so many '
    'were there twice. 0: it was balanced.';

DROP FUNCTION owe_chore(text, text);
CREATE FUNCTION owe_scheduler_call(call_kind text, call_target text)
RETURNS void LANGUAGE sql AS $$
-- One that is owed or being done already is owed again; one that was refused gets another chance,
-- and one that waits may have nothing to wait for any more.
INSERT INTO scheduler_calls AS calls (kind, target) VALUES (call_kind, call_target)
    ON CONFLICT (kind, target) DO UPDATE
   SET revision = calls.revision + 1, faults = 0, fault = '',
       up_to = '00000000-0000-0000-0000-000000000000', waits_for = NULL,
       state = CASE WHEN calls.state IN ('refused', 'waiting') THEN 'owed' ELSE calls.state END,
       due_at = CASE WHEN calls.state = 'refused' THEN now() ELSE calls.due_at END
$$;

ALTER FUNCTION owe_chore_of_schedule() RENAME TO owe_scheduler_call_of_schedule;
CREATE OR REPLACE FUNCTION owe_scheduler_call_of_schedule() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    mode text := scheduling_mode();
BEGIN
    IF mode = 'schedule' THEN
        PERFORM owe_scheduler_call('schedule', COALESCE(NEW.id, OLD.id)::text);
    ELSIF mode = 'subscription' AND TG_OP = 'UPDATE' THEN
        PERFORM owe_scheduler_call('members', NEW.id::text);
    END IF;
    RETURN NULL;
END
$$;

ALTER FUNCTION owe_chore_of_subscription() RENAME TO owe_scheduler_call_of_subscription;
CREATE OR REPLACE FUNCTION owe_scheduler_call_of_subscription() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- Not one that is known to be another's.
        INSERT INTO scheduler_schedules (kind, target, remote_id)
        SELECT 'subscription', OLD.id::text, OLD.metadata ->> 'scheduler_schedule_id'
         WHERE OLD.metadata ->> 'scheduler_schedule_id' <> ''
           AND NOT EXISTS (SELECT FROM scheduler_schedules
                            WHERE remote_id = OLD.metadata ->> 'scheduler_schedule_id')
            ON CONFLICT DO NOTHING;
    END IF;
    IF scheduling_mode() = 'subscription' THEN
        PERFORM owe_scheduler_call('subscription', COALESCE(NEW.id, OLD.id)::text);
    END IF;
    RETURN NULL;
END
$$;

ALTER TRIGGER owe_chore_of_changed ON schedules RENAME TO owe_scheduler_call_of_changed;
ALTER TRIGGER owe_chore_of_gone_or_new ON schedules RENAME TO owe_scheduler_call_of_gone_or_new;
ALTER TRIGGER owe_chore_of_changed ON subscriptions RENAME TO owe_scheduler_call_of_changed;
ALTER TRIGGER owe_chore_of_deleted ON subscriptions RENAME TO owe_scheduler_call_of_deleted;
ALTER TRIGGER owe_chore_of_new ON subscriptions RENAME TO owe_scheduler_call_of_new;

DROP FUNCTION walk(bigint, uuid[]);
CREATE FUNCTION expected_path(of_search bigint, ids uuid[]) RETURNS TABLE (
    subscription_id uuid,
    step integer,
    messageset_id integer,
    schedule_id integer,
    since timestamptz,
    number integer,
    finishes boolean,
    missed bigint
) LANGUAGE sql STABLE AS $$
-- The path of each of these subscriptions that is under way, a row for each set on it: a run of the
-- schedule after it began sends one message, from its initial number on; a set that is finished
-- is followed by the next one, on its own schedule, from the run that sent the last message.
-- number is where the runs have brought it in the set, and finishes that its last message was
-- sent; missed, how many messages of it were not sent. A subscription beyond the end of its
-- content is finished by the run after the last message, one at least, and goes on only if
-- the ledger has a send of its set to it. A path that goes in circles is followed through 100 sets,
-- and the last of them is left unfinished.
WITH RECURSIVE path AS (
    SELECT s.id, 1 AS step, s.lang, s.messageset_id, s.schedule_id, s.created_at AS since,
           s.initial_sequence_number AS initial, s.next_sequence_number AS stands_at,
           leg.runs_before, leg.runs, stand.ends, stand.goes_on,
           CASE WHEN stand.ends AND stand.goes_on THEN GREATEST(leg.messages, 1)
                ELSE leg.messages END AS messages
      FROM unnest(ids) AS given (id)
      JOIN subscriptions s ON s.id = given.id AND s.active AND NOT s.completed
     CROSS JOIN LATERAL (
           SELECT (SELECT count(*)::integer FROM messages m
                    WHERE m.messageset_id = s.messageset_id AND m.lang = s.lang
                      AND m.sequence_number >= s.initial_sequence_number) AS messages,
                  before.number AS runs_before, COALESCE((
                      SELECT r.number FROM schedule_runs r
                       WHERE r.search_id = of_search AND r.schedule_id = s.schedule_id
                       ORDER BY r.number DESC LIMIT 1), 0) - before.number AS runs
             FROM (SELECT COALESCE((
                      SELECT r.number FROM schedule_runs r
                       WHERE r.search_id = of_search AND r.schedule_id = s.schedule_id
                         AND r.run_at <= s.created_at
                       ORDER BY r.run_at DESC LIMIT 1), 0) AS number) before) leg
     CROSS JOIN LATERAL (
           SELECT COALESCE((SELECT m.sequence_number FROM messages m
                             WHERE m.messageset_id = s.messageset_id AND m.lang = s.lang
                             ORDER BY m.sequence_number DESC LIMIT 1)
                           < s.next_sequence_number, false) AS ends) beyond
     CROSS JOIN LATERAL (
           SELECT beyond.ends, CASE WHEN beyond.ends THEN EXISTS (
                      SELECT FROM ledger
                       WHERE ledger.subscription_id = s.id
                         AND ledger.messageset_id = s.messageset_id AND ledger.kind = 'next'
                         AND (ledger.outcome IN ('sent', 'adopted', 'dry-run')
                              OR ledger.is_assumed)
                      OFFSET 0) ELSE true END AS goes_on) stand
    UNION ALL
    SELECT path.id, path.step + 1, path.lang, following.id, following.default_schedule_id,
           finish.run_at, 1, 1, leg.runs_before, leg.runs, false, true, leg.messages
      FROM path
      JOIN schedule_runs finish ON finish.search_id = of_search
                               AND finish.schedule_id = path.schedule_id
                               AND finish.number = path.runs_before + path.messages
      JOIN messagesets finished ON finished.id = path.messageset_id
      JOIN messagesets following ON following.id = finished.next_set_id
     CROSS JOIN LATERAL (
           SELECT (SELECT count(*)::integer FROM messages m
                    WHERE m.messageset_id = following.id AND m.lang = path.lang
                      AND m.sequence_number >= 1) AS messages,
                  before.number AS runs_before, COALESCE((
                      SELECT r.number FROM schedule_runs r
                       WHERE r.search_id = of_search
                         AND r.schedule_id = following.default_schedule_id
                       ORDER BY r.number DESC LIMIT 1), 0) - before.number AS runs
             FROM (SELECT COALESCE((
                      SELECT r.number FROM schedule_runs r
                       WHERE r.search_id = of_search
                         AND r.schedule_id = following.default_schedule_id
                         AND r.run_at <= finish.run_at
                       ORDER BY r.run_at DESC LIMIT 1), 0) AS number) before) leg
     WHERE path.messages > 0 AND path.runs >= path.messages AND path.step < 100 AND path.goes_on
)
SELECT path.id, path.step, path.messageset_id, path.schedule_id, path.since,
       GREATEST(path.stands_at,
                CASE WHEN last.sequence_number IS NULL THEN path.initial
                     WHEN path.runs >= path.messages THEN last.sequence_number
                     ELSE last.sequence_number + 1 END),
       (last.sequence_number IS NOT NULL OR path.ends) AND path.runs >= path.messages
           AND (path.step < 100 OR current.next_set_id IS NULL),
       CASE WHEN last.sequence_number IS NULL OR last.sequence_number < path.stands_at THEN 0
            ELSE (SELECT count(*) FROM messages m
                   WHERE m.messageset_id = path.messageset_id AND m.lang = path.lang
                     AND m.sequence_number BETWEEN path.stands_at AND last.sequence_number) END
  FROM path
  JOIN messagesets current ON current.id = path.messageset_id
  LEFT JOIN LATERAL (
       -- The last message that the runs of this step have sent; none: they have sent none yet.
       SELECT m.sequence_number FROM messages m
        WHERE m.messageset_id = path.messageset_id AND m.lang = path.lang
          AND m.sequence_number >= path.initial AND path.runs > 0 AND path.messages > 0
        ORDER BY m.sequence_number
        LIMIT 1 OFFSET GREATEST(LEAST(path.runs, path.messages) - 1, 0)) last ON true
$$;

INSERT INTO schema_migrations (name) VALUES ('0031_use_standard_terms');
COMMIT;
