-- When the schedules ticked last, and whether ticks are missing.

-- name: list_schedule_times :many
-- reads
-- Each schedule, with the last tick that was opened for it, and the cron with which the Scheduler
-- calls for it, if it does, since when.
SELECT schedules.id AS schedule_id, schedules.next_tick_at, last.due_at AS last_tick_at,
       last.created_at AS last_opened_at, known.made_with AS told, known.told_at, now() AS now
  FROM schedules
  LEFT JOIN LATERAL (
       SELECT due_at, created_at FROM ticks
        WHERE schedule_id = schedules.id AND source <> 'single' AND state <> 'missed'
        ORDER BY id DESC LIMIT 1) last ON true
  LEFT JOIN scheduler_schedules known
         ON known.kind = 'schedule' AND known.target = schedules.id::text AND known.enabled
 ORDER BY schedules.id;

-- name: count_ticks_of_day :one
-- reads
-- The ticks of schedules in the last day: those that were opened, those of them that the built-in
-- clock opened more than a minute after they were due, and those that were missed.
SELECT count(*) FILTER (WHERE state <> 'missed') AS opened,
       count(*) FILTER (WHERE state <> 'missed' AND source = 'clock'
                          AND created_at > due_at + interval '1 minute') AS late,
       count(*) FILTER (WHERE state = 'missed') AS missed
  FROM ticks WHERE source <> 'single' AND created_at > now() - interval '1 day';

-- name: list_call_crons :many
-- reads
-- How many subscriptions the Scheduler calls for with each cron, and has for a day or longer.
SELECT made_with AS told, count(*) AS schedules, now() AS now
  FROM scheduler_schedules
 WHERE kind = 'subscription' AND enabled AND made_with IS NOT NULL
   AND told_at <= now() - interval '1 day'
 GROUP BY made_with;

-- name: count_triggers_of_day :one
-- reads
-- How often a single subscription was triggered in the last day.
SELECT COALESCE(sum(triggers), 0)::bigint AS triggers FROM ticks
 WHERE source = 'single' AND due_at > now() - interval '1 day';
