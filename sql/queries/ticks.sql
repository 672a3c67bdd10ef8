-- "Now", for a schedule: who says it, and who is then owed a send.

-- name: open_tick
-- A POST-back for a whole schedule. Its members are owed their sends by expand_tick, afterwards.
-- No row: there is no such schedule.
WITH tick AS (
    INSERT INTO ticks (source, state, schedule_id)
    SELECT 'post-back', 'expanding', id FROM schedules WHERE id = %(schedule_id)s
    RETURNING id
)
SELECT id, pg_notify('sbm_work', '') FROM tick;

-- name: read_in_order
-- For the rest of the transaction: no sorting where an index has the order. Whenever the planner
-- takes the members of a tick for few, it would read and sort all of them, again for every chunk.
SELECT set_config('enable_sort', 'off', true);

-- name: expand_tick
-- Owe a send to the next %(limit)s members of the oldest tick that still has some: the active
-- subscriptions of its schedule that are older than the tick, in the order of their ids. Whoever
-- is owed one already is skipped, and the ledger says so. Where the expansion stands is written in
-- the same statement, so a crash neither repeats a chunk nor leaves one out.
WITH tick AS MATERIALIZED (
    SELECT id, schedule_id, created_at, expanded_up_to FROM ticks
     WHERE state = 'expanding' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
), members AS MATERIALIZED (
    SELECT s.id, s.identity, s.messageset_id, s.lang, tick.id AS tick_id
      FROM tick CROSS JOIN LATERAL (
           SELECT * FROM subscriptions
            WHERE schedule_id = tick.schedule_id AND active AND NOT completed
              AND process_status >= 0 AND created_at <= tick.created_at
              AND id > tick.expanded_up_to
            ORDER BY id LIMIT %(limit)s) s
), owed AS (
    INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)
    SELECT 'next', 'tick', id, identity, tick_id FROM members ORDER BY id
        ON CONFLICT (subscription_id, kind) DO NOTHING
    RETURNING subscription_id
), skipped AS (
    INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,
                        messageset_id, lang)
    SELECT gen_random_uuid(), tick_id, 'next', 'skipped', 'trigger',
           'a message is already owed to the subscription', id, identity, messageset_id, lang
      FROM members WHERE NOT EXISTS (SELECT FROM owed WHERE subscription_id = members.id)
), expansion AS (
    SELECT count(*) AS triggers, (array_agg(id ORDER BY id DESC))[1] AS last FROM members
)
UPDATE ticks
   SET triggers = ticks.triggers + expansion.triggers,
       expanded_up_to = COALESCE(expansion.last, ticks.expanded_up_to),
       state = CASE WHEN expansion.triggers < %(limit)s THEN 'expanded' ELSE 'expanding' END,
       expanded_at = CASE WHEN expansion.triggers < %(limit)s THEN now() END
  FROM tick, expansion WHERE ticks.id = tick.id
RETURNING ticks.id, expansion.triggers, ticks.state, pg_notify('sbm_work', '');

-- name: find_schedules_to_wind
-- Schedules whose next tick of the built-in clock is due, or was worked out from other cron fields
-- or another time zone. Locked against other daemons' clocks, but not against references.
SELECT id, minute, hour, day_of_week, day_of_month, month_of_year, now() AS now, next_tick_at,
       next_tick_rule IS NOT DISTINCT FROM rule.text AS is_wound
  FROM schedules,
       LATERAL (SELECT concat_ws(' ', minute, hour, day_of_month, month_of_year, day_of_week,
                                 %(time_zone)s::text) AS text) rule
 WHERE next_tick_at <= now() OR next_tick_rule IS DISTINCT FROM rule.text
 ORDER BY id LIMIT %(limit)s
   FOR NO KEY UPDATE OF schedules SKIP LOCKED;

-- name: wind_schedule
-- Remember when the built-in clock ticks next for this schedule (null: never), and by which rule.
UPDATE schedules
   SET next_tick_at = %(next_tick_at)s,
       next_tick_rule = concat_ws(' ', minute, hour, day_of_month, month_of_year, day_of_week,
                                  %(time_zone)s::text)
 WHERE id = %(schedule_id)s;

-- name: open_clock_tick
-- The built-in clock ticks, once for every moment, whatever the number of daemons. A moment that
-- passed too long ago is recorded as missed, and nobody is sent anything for it.
INSERT INTO ticks (source, state, schedule_id, due_at)
VALUES ('clock', CASE WHEN %(missed)s THEN 'missed' ELSE 'expanding' END,
        %(schedule_id)s, %(due_at)s)
    ON CONFLICT (schedule_id, due_at) WHERE source = 'clock' DO NOTHING
RETURNING id;

-- name: delete_old_ticks
-- Ticks of months whose partitions of the ledger were dropped. What is owed keeps its tick.
DELETE FROM ticks
 WHERE id IN (
           SELECT id FROM ticks
            WHERE state <> 'expanding'
              AND created_at < (date_trunc('month', now() AT TIME ZONE 'UTC')
                                - make_interval(months => %(months_kept)s)) AT TIME ZONE 'UTC'
              AND NOT EXISTS (SELECT FROM sends WHERE sends.tick_id = ticks.id)
            ORDER BY id LIMIT %(limit)s);
