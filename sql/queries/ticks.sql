-- Ticks: "now", said for a schedule, and the sends that are then owed to its members.

-- name: lock_schedule_to_tick :maybe
-- Lock a schedule before a tick is opened, so that each tick sees the one before it.
SELECT id FROM schedules WHERE id = %(schedule_id)s FOR NO KEY UPDATE;

-- name: open_tick :maybe
-- Open a tick for a schedule that is locked: by a POST-back, or by the built-in clock, once for
-- every moment (no row: that one exists). Later, expand_tick owes a send to each of its members.
-- The snapshot of this statement decides who the members are.
WITH {opening}, tick AS (
    INSERT INTO ticks (source, state, schedule_id, due_at, opened_by, snapshot, follows,
                       follows_beyond, repetition, skipped_by)
    SELECT %(source)s, 'expanding', schedule_id, due_at, %(opened_by)s, snapshot, follows,
           follows_beyond, repetition, skipped_by
      FROM opening
        ON CONFLICT (schedule_id, due_at) WHERE source = 'clock' DO NOTHING
    RETURNING id
)
SELECT id AS tick_id, pg_notify('sbm_ticks', '') FROM tick;

-- name: watch_tick :exec
-- Count the results of a tick that was opened just now, if its schedule has a brake or a canary.
INSERT INTO watched_ticks (tick_id, canary, brake_percent, brake_after)
SELECT %(tick_id)s, canary, brake_percent, brake_after FROM schedules
 WHERE id = %(schedule_id)s AND (canary IS NOT NULL OR brake_after IS NOT NULL);

-- name: record_missed_ticks :exec
-- Moments that passed too long ago, or that a later one made up for: nothing is sent for them.
INSERT INTO ticks (source, state, schedule_id, due_at)
SELECT 'clock', 'missed', %(schedule_id)s, moment
  FROM unnest(%(moments)s::timestamptz[]) moment ORDER BY moment
    ON CONFLICT (schedule_id, due_at) WHERE source = 'clock' DO NOTHING;

-- name: has_room :one
-- reads
-- Whether a tick may be expanded, and fewer than %(most)s sends of ticks are due. Sends that wait for
-- a service, or for their next try, do not count, and neither do those that are held back or slowed.
SELECT EXISTS (SELECT FROM ticks WHERE state = 'expanding' AND may_expand(ticks)) AND (
           SELECT count(*) FROM (
               SELECT FROM owed_queues queue CROSS JOIN LATERAL (
                   SELECT FROM sends
                    WHERE state = 'owed' AND queue_tick_id = queue.tick_id
                      AND queue_schedule_id = queue.schedule_id
                      AND queue_messageset_id = queue.messageset_id AND due_at <= now()
                    ORDER BY due_at LIMIT %(most)s) due
                WHERE queue.tick_id > 0
                  AND hold_of(queue.tick_id, queue.schedule_id, queue.messageset_id) IS NULL
                  AND NOT is_slowed(queue.tick_id, queue.schedule_id)
                LIMIT %(most)s) waiting) < %(most)s AS has_room;

-- name: expand_tick :maybe
-- fires: sends_queue
-- Owe a send to the next %(limit)s members of an open tick: the first open tick after %(after)s,
-- which was expanded last, or else the first of all. The members are the active subscriptions of
-- its schedule that it covers, in the order of their ids. A member that is owed a send already is
-- skipped, and so is one that is a member of the tick that this one follows; the ledger says so. If
-- it said the same of an earlier tick, and nothing was asked for the member since, the tick only
-- counts it (skipped_again).
-- The progress of the expansion is stored in the same statement, so a crash neither repeats a chunk
-- nor leaves one out. The data of the tick are those of the row as it was locked: another daemon
-- may have expanded it further since this statement began. A tick that is held back is not
-- expanded, so its members wait here, unless all of them are skipped: a pause that skips ticks was
-- in force when the tick came, or a person has stopped it. Members of the tick that it follows that
-- were skipped in this way, or because it was too old, are not skipped again. If the database went
-- back after the tick was due (is_doubted), the Message Sender has to be asked about the sends
-- first; a member whose send of this tick is in the ledger already, because it was found at the
-- Message Sender, is skipped.
WITH behind_last AS MATERIALIZED (
    SELECT id, schedule_id, due_at, repetition, snapshot, created_at, expanded_up_to, follows,
           follows_beyond, skipped_by, stopped_by, COALESCE(is_too_old(ticks), false) AS is_too_old
      FROM ticks
     WHERE state = 'expanding' AND may_expand(ticks) AND id > %(after)s
     ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
), first_of_all AS MATERIALIZED (
    SELECT id, schedule_id, due_at, repetition, snapshot, created_at, expanded_up_to, follows,
           follows_beyond, skipped_by, stopped_by, COALESCE(is_too_old(ticks), false) AS is_too_old
      FROM ticks
     WHERE state = 'expanding' AND may_expand(ticks)
       AND NOT EXISTS (SELECT FROM behind_last)
     ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
), this AS (
    SELECT * FROM behind_last UNION ALL SELECT * FROM first_of_all
), tick AS MATERIALIZED (
    SELECT {tick_and_those_before}
), members AS MATERIALIZED (
    SELECT s.id, s.identity, s.schedule_id, s.messageset_id, s.lang, tick.id AS tick_id,
           member_send_id(tick.moment, s.id) AS send_id,
           CASE WHEN tick.is_doubted THEN EXISTS (
               SELECT FROM ledger
                WHERE ledger.identity = s.identity
                  AND ledger.send_id = member_send_id(tick.moment, s.id)
               OFFSET 0) ELSE false END AS is_settled,
           {is_spared}, tick.is_too_old
      FROM tick CROSS JOIN (
           SELECT * FROM subscriptions
            WHERE {is_member}
              AND id > (SELECT expanded_up_to FROM tick)
            ORDER BY id LIMIT %(limit)s) s
), owed AS (
    INSERT INTO sends (id, kind, lane, subscription_id, identity, tick_id, queue_schedule_id,
                       queue_messageset_id)
    SELECT send_id, 'next', 'tick', id, identity, tick_id, schedule_id, messageset_id
      FROM members
     WHERE NOT is_spared AND NOT is_settled AND NOT is_paused AND NOT is_too_old
       AND (SELECT stopped_by FROM tick) IS NULL
     ORDER BY id
        ON CONFLICT (subscription_id, kind) DO NOTHING
    RETURNING id, subscription_id
), unowed AS MATERIALIZED (
    SELECT *, CASE WHEN is_settled OR (SELECT stopped_by FROM tick) IS NULL THEN {why_skipped}
                   ELSE {why_stopped} || (SELECT stopped_by FROM tick) END AS reason
      FROM members WHERE NOT EXISTS (SELECT FROM owed WHERE subscription_id = members.id)
), again AS MATERIALIZED (
    SELECT member, since
      FROM skipped_before(ARRAY(SELECT id FROM unowed WHERE tells_unfinished(reason)),
                          (SELECT id FROM tick), (SELECT schedule_id FROM tick))
), skipped AS (
    INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,
                        messageset_id, lang)
    SELECT gen_random_uuid(), tick_id, 'next', 'skipped', 'trigger', reason, id, identity,
           messageset_id, lang
      FROM unowed WHERE id NOT IN (SELECT member FROM again)
), expansion AS (
    SELECT count(*) AS triggers, (array_agg(id ORDER BY id DESC))[1] AS last FROM members
), counted AS (
    SELECT count(*) AS count, min(since) AS since FROM again
)
UPDATE ticks
   SET triggers = ticks.triggers + expansion.triggers,
       skipped_again = ticks.skipped_again + counted.count,
       skipped_again_since = LEAST(ticks.skipped_again_since, counted.since),
       expanded_up_to = CASE WHEN expansion.triggers < %(limit)s
                             THEN '00000000-0000-0000-0000-000000000000'
                             ELSE COALESCE(expansion.last, ticks.expanded_up_to) END,
       state = CASE WHEN expansion.triggers < %(limit)s THEN 'expanded' ELSE 'expanding' END,
       expanded_at = CASE WHEN expansion.triggers < %(limit)s THEN now() END
  FROM tick, expansion, counted WHERE ticks.id = tick.id
RETURNING ticks.id AS tick_id, expansion.triggers, (SELECT count(*) FROM owed) AS owed,
          CASE WHEN tick.is_doubted THEN ARRAY(SELECT id FROM owed) ELSE '{}' END AS doubted,
          tick.schedule_id, tick.due_at, tick.expanded_up_to AS after, expansion.last AS up_to,
          tick.expanded_up_to = '00000000-0000-0000-0000-000000000000' AS is_first,
          pg_notify('sbm_sends', '');

-- name: stop_tick :maybe
-- A person stops a tick for good. From now on, nothing of it is claimed, and skip_stopped_sends and
-- expand_tick skip what is left. No row: it is stopped already.
WITH stopped AS (
    UPDATE ticks SET stopped_by = %(stopped_by)s, stopped_at = now()
     WHERE id = %(tick_id)s AND source <> 'single' AND stopped_by IS NULL
    RETURNING id
), held AS (
    INSERT INTO watched_ticks (tick_id, hold, held_at) SELECT id, 'stopped', now() FROM stopped
        ON CONFLICT (tick_id) DO UPDATE SET hold = 'stopped', held_at = now()
)
SELECT id, pg_notify('sbm_ticks', '') FROM stopped;

-- name: skip_stopped_sends :exec
-- Skip up to %(limit)s owed sends of a tick that a person has stopped, and say so in the ledger. Those
-- that a daemon is claiming are stepped over: they go on. A send of it that is given back later is
-- owed again, and so it is skipped then. (The sends are deleted by their ids, as the table has no
-- good statistics.)
WITH tick AS MATERIALIZED (
    SELECT ticks.id, stopped_by FROM watched_ticks w JOIN ticks ON ticks.id = w.tick_id
     WHERE w.hold = 'stopped'
       AND EXISTS (SELECT FROM sends WHERE sends.state = 'owed' AND queue_tick_id = ticks.id
                   OFFSET 0)
     ORDER BY ticks.id LIMIT 1
), owed AS MATERIALIZED (
    SELECT id FROM sends WHERE state = 'owed' AND queue_tick_id = (SELECT id FROM tick)
     LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), skipped AS (
    DELETE FROM sends WHERE id = ANY(ARRAY(SELECT id FROM owed)) RETURNING sends.*
)
INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,
                    messageset_id, lang, attempts, owed_at, first_attempt_at, actor)
SELECT skipped.id, tick_id, kind, 'skipped', 'trigger', {why_stopped} || tick.stopped_by,
       subscription_id, skipped.identity, s.messageset_id, s.lang, attempt, owed_at,
       first_attempt_at, actor
  FROM tick CROSS JOIN skipped
  LEFT JOIN LATERAL (
       SELECT messageset_id, lang FROM subscriptions WHERE id = subscription_id OFFSET 0) s ON true;

-- name: withdraw_sends :exec
-- Of the sends that this transaction has just owed to members of a tick, with subscriptions after
-- %(after)s and up to %(up_to)s: if a member was sent another tick since this one was opened, its
-- send is skipped after all, and the ledger says so. That happens if both ticks have waited for a
-- service, for example. It is a statement of its own, because it has to see all results that were
-- settled up to now. To the statement before, a send that was settled while it ran was neither live
-- nor in the ledger. Results that were settled since are found by the ids of the ledger, which grow
-- independently of the clock; the times only limit the search, by a day: a result has the time at
-- which its transaction began. If the ids are not known, a result may be a minute older than the
-- tick; one in the future was written by a wrong clock, and no send is skipped because of it.
WITH this AS MATERIALIZED (
    SELECT id, created_at - interval '1 minute' AS opened_at, after_ledger_id,
           LEAST(created_at + clock_reach(id), now()) - interval '1 day' AS since
      FROM ticks WHERE id = %(tick_id)s
), withdrawn AS (
    DELETE FROM sends USING this
     WHERE sends.subscription_id > %(after)s AND sends.subscription_id <= %(up_to)s
       AND sends.kind = 'next' AND sends.tick_id = this.id
       AND EXISTS (
               SELECT FROM ledger
                WHERE ledger.subscription_id = sends.subscription_id
                  AND settled_at >= this.since AND kind = 'next' AND outcome <> 'skipped'
                  AND CASE WHEN this.after_ledger_id IS NULL
                           THEN settled_at BETWEEN this.opened_at AND clock_timestamp()
                           ELSE ledger.id > this.after_ledger_id END
                  AND (SELECT source FROM ticks other WHERE other.id = ledger.tick_id) <> 'single'
               OFFSET 0)
    RETURNING sends.id, sends.tick_id, sends.subscription_id, sends.identity
)
INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,
                    messageset_id, lang)
SELECT withdrawn.id, tick_id, 'next', 'skipped', 'trigger',
       'another tick was sent to the subscription since it came', subscription_id,
       withdrawn.identity, messageset_id, lang
  FROM withdrawn
  LEFT JOIN LATERAL (
       SELECT messageset_id, lang FROM subscriptions WHERE id = subscription_id OFFSET 0) s ON true;

-- name: find_stale_schedules :many
-- Schedules whose next tick of the built-in clock is due, or was computed from other cron fields,
-- another time zone or another version of the rule, or while the database's clock was wrong. They
-- are locked against the clocks of other daemons, but not against references. (A row that another
-- daemon has set meanwhile may be younger than this transaction, but not than clock_timestamp().)
-- A rule without a version is of the first version, by which a day was due if either day field
-- matched it. The moments of the second version are among those of the first: the search for them
-- begins at the next moment by the first version, so none is lost.
SELECT id AS schedule_id, minute, hour, day_of_week, day_of_month, month_of_year, time_zone,
       now() AS now, next_tick_at,
       COALESCE(next_tick_rule IN (rule.text, rule_of_next_tick(schedules, NULL,
                                                                %(default_time_zone)s::text)),
                false) AS is_set,
       next_tick_set_at > clock_timestamp() AS is_ahead
  FROM schedules,
       LATERAL (SELECT rule_of_next_tick(schedules, %(version)s::text,
                                         %(default_time_zone)s::text) AS text) rule
 WHERE (next_tick_at <= now() OR next_tick_rule IS DISTINCT FROM rule.text
        OR next_tick_set_at > clock_timestamp())
   AND (%(only)s::integer[] IS NULL OR id = ANY(%(only)s::integer[])) AND id > %(after)s
 ORDER BY id LIMIT %(limit)s
   FOR NO KEY UPDATE OF schedules SKIP LOCKED;

-- name: set_next_tick :exec
-- Store when the built-in clock ticks next for this schedule (null: never), and by which rule.
UPDATE schedules
   SET next_tick_at = %(next_tick_at)s, next_tick_set_at = now(),
       next_tick_rule = rule_of_next_tick(schedules, %(version)s::text,
                                          %(default_time_zone)s::text)
 WHERE id = %(schedule_id)s;

-- name: clear_next_ticks :exec
-- Forget the next ticks of the built-in clock. It computes them again, now or when it makes the
-- ticks again: the Scheduler has made those that were due meanwhile.
UPDATE schedules SET next_tick_at = NULL, next_tick_rule = NULL, next_tick_set_at = NULL
 WHERE next_tick_rule IS NOT NULL;

-- name: list_waiting_schedules :many
-- reads
-- The next schedules that wait for a moment in the future, in the order of their ids; and those
-- that wait for none, and may have a time zone that no machine knew when it was looked up.
SELECT id AS schedule_id, minute, hour, day_of_week, day_of_month, month_of_year, time_zone,
       now() AS now, next_tick_at
  FROM schedules
 WHERE id > %(after)s
   AND (next_tick_at > now()
        OR next_tick_at IS NULL AND next_tick_rule IS NOT NULL AND time_zone IS NOT NULL)
 ORDER BY id LIMIT %(limit)s;

-- name: doubt_next_ticks :exec
-- These schedules wait for a moment that is not their next one, or for none. It is computed again,
-- like one that was computed while the clock was ahead.
UPDATE schedules SET next_tick_set_at = 'infinity'
 WHERE id = ANY(%(ids)s::integer[]) AND (next_tick_at > now() OR next_tick_at IS NULL);

-- name: find_last_moment :maybe
-- reads
-- The latest moment that the built-in clock has ticked for, or has recorded as missed, while the
-- database's clock was right as far as is known: not before the moment came, and not in the future.
SELECT due_at FROM (
    SELECT id, due_at, created_at FROM ticks
     WHERE schedule_id = %(schedule_id)s AND source = 'clock' AND due_at <= now()
     ORDER BY due_at DESC LIMIT 1000) latest
 WHERE created_at + clock_shift(id, created_at)
       BETWEEN due_at - interval '1 minute' AND clock_timestamp()
 ORDER BY due_at DESC LIMIT 1;

-- name: release_moment :one
-- This moment has come now. While the clock was wrong, a tick may have been made for it, or it may
-- have been recorded as missed. Then that tick gets the time when it was really made, and the row
-- that says missed is deleted. A tick that was made less than a minute early is that of the moment.
WITH early AS MATERIALIZED (
    SELECT ticks.id, state, LEAST(told.at, now()) AS made_at
      FROM ticks, LATERAL (SELECT created_at + clock_shift(id, created_at) AS at) told
     WHERE schedule_id = %(schedule_id)s AND source = 'clock' AND due_at = %(due_at)s
       AND (told.at < due_at - interval '1 minute' OR told.at > now() + interval '1 minute')
       FOR NO KEY UPDATE OF ticks
), forgotten AS (
    DELETE FROM ticks USING early WHERE ticks.id = early.id AND early.state = 'missed'
), moved AS (
    UPDATE ticks SET due_at = early.made_at FROM early
     WHERE ticks.id = early.id AND early.state <> 'missed'
)
SELECT count(*) AS released FROM early;

-- name: delete_old_ticks :exec
-- Ticks of months whose partitions of the ledger were dropped. A tick with live sends stays.
DELETE FROM ticks
 WHERE id IN (
           SELECT id FROM ticks
            WHERE state <> 'expanding'
              AND created_at < (date_trunc('month', now() AT TIME ZONE 'UTC')
                                - make_interval(months => %(months_kept)s)) AT TIME ZONE 'UTC'
              AND NOT EXISTS (SELECT FROM sends WHERE sends.tick_id = ticks.id)
            ORDER BY id LIMIT %(limit)s);

-- name: count_unsent :many
-- reads
-- What was not sent of each of these ticks, by outcome, stage and kind of reason. Of each tick,
-- %(most)s rows are counted at most (is_part: there may be more), and those that were skipped again.
SELECT ticks.id AS tick_id, outcome, stage, reason_kind, sum(count)::bigint AS count,
       sum(sum(rows)) OVER (PARTITION BY ticks.id) >= %(most)s AS is_part
  FROM ticks CROSS JOIN LATERAL (
       SELECT outcome, stage, reason_kind(kind, outcome, stage, reason) AS reason_kind,
              count(*) AS count, count(*) AS rows
         FROM (SELECT kind, outcome, stage, reason FROM ledger
                WHERE tick_id = ticks.id AND outcome NOT IN ('sent', 'adopted', 'dry-run')
                  AND settled_at >= (SELECT LEAST(ticks.created_at + clock_reach(ticks.id), now())
                                            - interval '1 day')
                LIMIT %(most)s) unsent
        GROUP BY 1, 2, 3
        UNION ALL
       SELECT 'skipped', 'trigger', 'already-owed', skipped_again, 0 WHERE skipped_again > 0) counted
 WHERE ticks.id = ANY(%(ids)s::bigint[])
 GROUP BY ticks.id, outcome, stage, reason_kind
 ORDER BY ticks.id, count DESC, outcome, stage, reason_kind;

-- name: sum_days :many
-- reads
-- How many sends the ticks of each day have asked for since a moment, and how many of them were sent
-- when the outcomes were last counted. Those of single subscriptions are only in the first number.
SELECT (at AT TIME ZONE %(time_zone)s)::date AS day, sum(triggers)::bigint AS asked_for,
       sum(sent)::bigint AS sent
  FROM (SELECT created_at AS at, triggers,
               COALESCE((outcomes ->> 'sent')::bigint, 0)
               + COALESCE((outcomes ->> 'adopted')::bigint, 0)
               + COALESCE((outcomes ->> 'dry-run')::bigint, 0) AS sent
          FROM ticks WHERE source <> 'single' AND created_at >= %(since)s
         UNION ALL
        SELECT due_at, triggers, 0 FROM ticks WHERE source = 'single' AND due_at >= %(since)s)
       ticks_of_days
 GROUP BY 1 ORDER BY 1;

-- name: list_schedule_ticks :many
-- reads
-- page: id DESC
-- A page of the ticks of whole schedules, newest first, with the numbers of their live sends: one
-- pass over the sends, which are few, serves the page.
SELECT id, source, state, schedule_id, due_at, follows, opened_by, triggers, expanded_up_to,
       created_at, expanded_at, outcomes, counted_at, stopped_by, stopped_at, skipped_again
  FROM ticks
 WHERE source <> 'single'
  [AND schedule_id = %(schedule_id)s]
  [AND source = %(source)s]
  [AND state = %(state)s]
  [AND created_at >= %(created_after)s]
  [AND created_at <= %(created_before)s]
-- shown:
WITH live AS MATERIALIZED (
    SELECT tick_id, count(*) AS count FROM sends WHERE tick_id = ANY(ARRAY(SELECT id FROM page))
     GROUP BY tick_id
)
SELECT page.*, COALESCE(live.count, 0) AS live,
       CASE WHEN page.state = 'expanding' OR live.count > 0
            THEN hold_of(page.id, page.schedule_id, NULL) END AS hold
  FROM page LEFT JOIN live ON live.tick_id = page.id;

-- name: find_tick :maybe
-- reads
-- One tick, with the numbers of its live sends, and, if it has %(most)s triggers at most, how many
-- members ended with each outcome, all at the same moment. For a larger tick, the numbers of outcomes
-- are those of the last check of its balance. So are those of a tick that is marked as checked,
-- which do not change any more.
WITH own AS (
    SELECT *, triggers <= %(most)s AND (outcomes IS NULL OR NOT is_checked_off) AS is_counted_now,
           LEAST(created_at + clock_reach(id), now()) - interval '1 day' AS since
      FROM ticks WHERE id = %(id)s
)
SELECT id, source, state, schedule_id, due_at, follows, opened_by, triggers, expanded_up_to,
       created_at, expanded_at, stopped_by, stopped_at, skipped_again,
       (SELECT count(*) FROM sends WHERE tick_id = own.id) AS live,
       CASE WHEN is_counted_now
            THEN (SELECT COALESCE(jsonb_object_agg(outcome, count), '{}') FROM ({ended}) ended)
            ELSE outcomes END AS outcomes,
       CASE WHEN is_counted_now THEN now() ELSE counted_at END AS counted_at,
       CASE WHEN state = 'expanding' OR EXISTS (SELECT FROM sends WHERE tick_id = own.id)
            THEN hold_of(id, schedule_id, NULL) END AS hold
  FROM own;
