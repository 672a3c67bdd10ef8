-- columns:
id, minute, hour, day_of_week, day_of_month, month_of_year, time_zone, send_hours, max_age,
max_rate, canary, brake_percent, brake_after

-- name: insert_schedule :one
-- fires: owe_scheduler_call_of_gone_or_new
-- A new schedule. The built-in clock computes later when it is due next.
INSERT INTO schedules (minute, hour, day_of_week, day_of_month, month_of_year, time_zone,
                       send_hours, max_age, max_rate, canary, brake_percent, brake_after)
VALUES (%(minute)s, %(hour)s, %(day_of_week)s, %(day_of_month)s, %(month_of_year)s, %(time_zone)s,
        %(send_hours)s, %(max_age)s, %(max_rate)s, %(canary)s, %(brake_percent)s, %(brake_after)s)
RETURNING {columns};

-- name: find_schedule :maybe
-- reads
-- One schedule.
SELECT {columns} FROM schedules WHERE id = %(id)s;

-- name: hold_schedule :maybe
-- Whether there is this schedule. If so, it cannot be deleted before this transaction ends: another
-- row will refer to it.
SELECT id FROM schedules WHERE id = %(id)s FOR KEY SHARE;

-- name: list_schedules :many
-- reads
-- page: id
-- A page of schedules, in the order in which they were made.
SELECT {columns} FROM schedules;

-- name: lock_schedule :maybe
-- Lock one schedule before it is changed or deleted: no other transaction can change it, or make a
-- reference to it.
SELECT {columns} FROM schedules WHERE id = %(id)s FOR UPDATE;

-- name: update_schedule :exec
-- fires: owe_scheduler_call_of_changed
-- New fields for a schedule; the built-in clock notices by itself that they have changed.
UPDATE schedules
   SET minute = %(minute)s, hour = %(hour)s, day_of_week = %(day_of_week)s,
       day_of_month = %(day_of_month)s, month_of_year = %(month_of_year)s,
       time_zone = %(time_zone)s, send_hours = %(send_hours)s, max_age = %(max_age)s,
       max_rate = %(max_rate)s, canary = %(canary)s, brake_percent = %(brake_percent)s,
       brake_after = %(brake_after)s
 WHERE id = %(id)s;

-- name: find_untold_fields :many
-- reads
-- Which of these fields cannot be written in any form that the Scheduler understands.
SELECT name
  FROM (VALUES ('minute', %(minute)s), ('hour', %(hour)s), ('day_of_week', %(day_of_week)s),
               ('day_of_month', %(day_of_month)s), ('month_of_year', %(month_of_year)s)
       ) AS given (name, field)
 WHERE told_cron_field(name, field) IS NULL;

-- name: look_up_time_zone :one
-- reads
-- Whether the server knows this time zone. If the name is also an abbreviation, AT TIME ZONE takes
-- it for that: always the same time ahead of UTC, without daylight saving.
SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = %(time_zone)s::text) AS is_known,
       (SELECT utc_offset FROM pg_timezone_abbrevs WHERE abbrev = upper(%(time_zone)s::text)
         LIMIT 1) AS as_abbreviation,
       now() AS now;

-- name: list_other_zones :many
-- reads
-- The schedules with a time zone that is not this one, and how many there are.
SELECT id AS schedule_id, count(*) OVER () AS count FROM schedules
 WHERE time_zone <> %(time_zone)s ORDER BY id LIMIT %(limit)s;

-- name: list_told :many
-- reads
-- All schedules, their crons as the Scheduler gets them (null: it gets none), and the time.
SELECT id, minute, hour, day_of_week, day_of_month, month_of_year, time_zone,
       cron_definition(schedules), now() AS now
  FROM schedules ORDER BY id;

-- name: find_users_of_schedule :one
-- reads
-- The tables that keep a schedule from being deleted.
SELECT EXISTS (SELECT 1 FROM messagesets WHERE default_schedule_id = %(id)s) AS messagesets,
       EXISTS (SELECT 1 FROM subscriptions WHERE schedule_id = %(id)s) AS subscriptions;

-- name: delete_schedule :exec
-- fires: owe_scheduler_call_of_gone_or_new
-- A schedule that nothing uses.
DELETE FROM schedules WHERE id = %(id)s;

-- name: set_zones :exec
-- The time zone of schedules without one, and that of the Scheduler if it makes the ticks, for the
-- hours in which messages may leave.
UPDATE scheduling SET time_zone = %(time_zone)s, scheduler_time_zone = %(scheduler_time_zone)s
 WHERE (time_zone, scheduler_time_zone)
       IS DISTINCT FROM (%(time_zone)s::text, %(scheduler_time_zone)s::text);

-- name: is_schedule_under_way :one
-- reads
-- Whether people get their messages on this schedule, or get those of a set whose default it is.
SELECT EXISTS (SELECT FROM subscriptions
                WHERE schedule_id = %(id)s AND active AND NOT completed)
    OR are_under_way(ARRAY(SELECT id FROM messagesets WHERE default_schedule_id = %(id)s));

-- name: list_told_of :many
-- reads
-- The same of some schedules.
SELECT id, minute, hour, day_of_week, day_of_month, month_of_year, time_zone,
       cron_definition(schedules), now() AS now
  FROM schedules WHERE id = ANY(%(ids)s) ORDER BY id;

-- name: describe_schedules :many
-- reads
-- Of each of these schedules: how many people get messages on it, and the sets whose default it is.
SELECT s.id AS schedule_id,
       (SELECT count(*) FROM subscriptions
         WHERE schedule_id = s.id AND active AND NOT completed) AS people,
       ARRAY(SELECT short_name FROM messagesets
              WHERE default_schedule_id = s.id ORDER BY short_name) AS messagesets
  FROM schedules s WHERE s.id = ANY(%(ids)s) ORDER BY s.id;
