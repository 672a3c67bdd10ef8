-- Why: a tick could be held back, but nobody could end it: the only way was to take its members off
-- the schedule. A tick that a person stops sends nothing more: its owed sends and the members that
-- were not expanded yet are skipped, and the ledger says who stopped it.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE ticks ADD COLUMN stopped_by text, ADD COLUMN stopped_at timestamptz,
    ADD CHECK ((stopped_by IS NULL) = (stopped_at IS NULL));
COMMENT ON COLUMN ticks.stopped_by IS 'The user who stopped it for good; null: nobody has.';

ALTER TABLE watched_ticks DROP CONSTRAINT watched_ticks_hold_check;
ALTER TABLE watched_ticks ADD CONSTRAINT watched_ticks_hold_check
    CHECK (hold IN ('braked', 'canary', 'stopped'));

CREATE FUNCTION was_stopped(of_tick bigint, stopper text, opened_at timestamptz, member uuid)
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE SET enable_seqscan = off AS $$
-- Whether a member of a tick got nothing because this person stopped the tick.
BEGIN
    RETURN EXISTS (
        SELECT FROM ledger
         WHERE ledger.subscription_id = member AND settled_at >= opened_at - interval '1 day'
           AND tick_id = of_tick AND outcome = 'skipped' AND reason = 'stopped by ' || stopper);
END
$$;

CREATE OR REPLACE FUNCTION may_expand(tick ticks) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- Whether members of an open tick may be taken now: it is not held back, or all are skipped. A tick
-- that is slowed is expanded a little ahead only, and takes no room from others. If an earlier tick
-- of the schedule was stopped, this one waits until its sends are skipped: then those people are
-- free.
SELECT tick.stopped_by IS NOT NULL
    OR NOT EXISTS (
           SELECT FROM watched_ticks w JOIN ticks before ON before.id = w.tick_id
            WHERE w.hold = 'stopped' AND before.schedule_id = tick.schedule_id
              AND before.id < tick.id
              AND (before.state = 'expanding'
                   OR EXISTS (SELECT FROM sends
                               WHERE sends.state = 'owed' AND queue_tick_id = before.id)))
       AND (was_skipped(tick.skipped_by, NULL)
            OR hold_of(tick.id, tick.schedule_id, NULL) IS NULL
               AND (NOT is_slowed(tick.id, tick.schedule_id)
                    OR (SELECT count(*) FROM (SELECT FROM sends
                                               WHERE state = 'owed' AND queue_tick_id = tick.id
                                               LIMIT 2000) waiting) < 2000))
$$;

-- There are no rows with the new reason yet, so the indexes that are built with it stay right.
CREATE OR REPLACE FUNCTION reason_kind(kind text, outcome text, stage text, reason text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
-- Why a message was not sent, as one of a few kinds; null: it was sent. Indexes are built with it: if
-- it changes, they have to be built again.
SELECT CASE
       WHEN outcome IN ('sent', 'adopted', 'dry-run') THEN NULL
       WHEN kind = 'move' THEN 'moved'
       WHEN reason = 'it was paused when the tick came' THEN 'paused'
       WHEN reason = 'it is older than max_age' THEN 'too-old'
       WHEN outcome = 'skipped' AND reason LIKE 'stopped by %' THEN 'stopped'
       WHEN reason IN ('the tick before it was still being sent',
                       'a message is already owed to the subscription',
                       'a resend is already owed to the subscription',
                       'the Message Sender had the message of this tick already') THEN 'already-owed'
       WHEN reason LIKE 'the subscription is completed%' THEN 'completed'
       WHEN reason LIKE 'the subscription is not active%' THEN 'inactive'
       WHEN reason LIKE 'the subscription is in error%' THEN 'in-error'
       WHEN reason LIKE 'the subscription was deleted%' THEN 'deleted'
       WHEN stage = 'content' AND reason LIKE 'message % is missing in %: the subscription waits for it'
       THEN 'no-translation'
       WHEN stage = 'content' AND reason LIKE '% has no message in %' THEN 'no-language'
       WHEN stage = 'content' AND reason LIKE '% has no further message in %' THEN 'at-end'
       WHEN stage = 'content' THEN 'content'
       WHEN stage = 'address' THEN 'no-address'
       WHEN stage = 'post' AND outcome = 'refused' THEN 'refused'
       WHEN stage = 'post' THEN 'failed'
       ELSE 'other' END
$$;

INSERT INTO schema_migrations (name) VALUES ('0058_stop_ticks');
COMMIT;
