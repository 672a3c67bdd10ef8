-- name: insert_schedule
-- A new schedule. When it is due next is worked out by whoever looks for due schedules.
INSERT INTO schedules (minute, hour, day_of_week, day_of_month, month_of_year)
VALUES (%(minute)s, %(hour)s, %(day_of_week)s, %(day_of_month)s, %(month_of_year)s)
RETURNING id, minute, hour, day_of_week, day_of_month, month_of_year;

-- name: find_schedule
-- One schedule.
SELECT id, minute, hour, day_of_week, day_of_month, month_of_year
  FROM schedules WHERE id = %(id)s;

-- name: hold_schedule
-- Whether there is this schedule, which then cannot be deleted before this transaction ends: it
-- is about to be referred to.
SELECT id FROM schedules WHERE id = %(id)s FOR KEY SHARE;

-- name: count_schedules
-- How many schedules a client can page through.
SELECT count(*) AS count FROM schedules;

-- name: list_schedules
-- A page of schedules, in the order in which they were made.
SELECT id, minute, hour, day_of_week, day_of_month, month_of_year
  FROM schedules ORDER BY id LIMIT %(limit)s OFFSET %(offset)s;

-- name: lock_schedule
-- One schedule, which is about to be changed or deleted: nobody else may, or may refer to it.
SELECT id, minute, hour, day_of_week, day_of_month, month_of_year
  FROM schedules WHERE id = %(id)s FOR UPDATE;

-- name: update_schedule
-- New fields for a schedule; the built-in clock notices by itself that they have changed.
UPDATE schedules
   SET minute = %(minute)s, hour = %(hour)s, day_of_week = %(day_of_week)s,
       day_of_month = %(day_of_month)s, month_of_year = %(month_of_year)s
 WHERE id = %(id)s;

-- name: find_users_of_schedule
-- What keeps a schedule from being deleted.
SELECT EXISTS (SELECT 1 FROM messagesets WHERE default_schedule_id = %(id)s) AS messagesets,
       EXISTS (SELECT 1 FROM subscriptions WHERE schedule_id = %(id)s) AS subscriptions;

-- name: delete_schedule
-- A schedule that nothing uses.
DELETE FROM schedules WHERE id = %(id)s;
