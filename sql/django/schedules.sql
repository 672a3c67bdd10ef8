-- Schedules. If fields cannot be read, sbm/model/old_cron.py corrects them.

-- name: stage :exec
-- A copy of the old table, with the columns of the newest release.
CREATE TEMPORARY TABLE contentstore_schedule (
    id integer, minute text, hour text, day_of_week text, day_of_month text, month_of_year text,
    scheduler_schedule_id uuid
) ON COMMIT DROP;
CREATE TEMPORARY TABLE mended_schedules (
    id integer PRIMARY KEY, minute text NOT NULL, hour text NOT NULL, day_of_week text NOT NULL,
    day_of_month text NOT NULL, month_of_year text NOT NULL
) ON COMMIT DROP

-- name: read :many
-- Blanks in a field are removed, and an empty field means any value.
SELECT id, COALESCE(NULLIF(regexp_replace(minute, '\s', '', 'g'), ''), '*') AS minute,
       COALESCE(NULLIF(regexp_replace(hour, '\s', '', 'g'), ''), '*') AS hour,
       COALESCE(NULLIF(regexp_replace(day_of_week, '\s', '', 'g'), ''), '*') AS day_of_week,
       COALESCE(NULLIF(regexp_replace(day_of_month, '\s', '', 'g'), ''), '*') AS day_of_month,
       COALESCE(NULLIF(regexp_replace(month_of_year, '\s', '', 'g'), ''), '*') AS month_of_year
  FROM contentstore_schedule

-- name: note :exec
-- Changed: schedules with blanks.
INSERT INTO import_notes (noun, id, fate, reason, was)
SELECT 'schedules', id, 'changed', 'blanks in its fields are left out, and an empty field is *',
       to_jsonb(contentstore_schedule) - 'id' - 'scheduler_schedule_id'
  FROM old_schedules JOIN contentstore_schedule USING (id)
 WHERE ROW(old_schedules.minute, old_schedules.hour, old_schedules.day_of_week,
           old_schedules.day_of_month, old_schedules.month_of_year)
       IS DISTINCT FROM
       ROW(contentstore_schedule.minute, contentstore_schedule.hour,
           contentstore_schedule.day_of_week, contentstore_schedule.day_of_month,
           contentstore_schedule.month_of_year)

-- name: list_read :many
-- The fields of all schedules, to check them.
SELECT id, minute, hour, day_of_week, day_of_month, month_of_year FROM old_schedules ORDER BY id

-- name: mend :exec
-- Store corrected fields of one schedule.
INSERT INTO mended_schedules
VALUES (%(id)s, %(minute)s, %(hour)s, %(day_of_week)s, %(day_of_month)s, %(month_of_year)s)

-- name: note_mended :exec
-- Note the old fields of a schedule that was corrected.
INSERT INTO import_notes (noun, id, fate, reason, is_apart, was)
SELECT 'schedules', id, 'changed', %(reason)s, true,
       to_jsonb(contentstore_schedule) - 'id' - 'scheduler_schedule_id'
  FROM contentstore_schedule WHERE id = %(id)s

-- name: take :exec
-- Import the schedules as they were read or corrected.
INSERT INTO schedules (id, minute, hour, day_of_week, day_of_month, month_of_year)
SELECT s.id, COALESCE(m.minute, s.minute), COALESCE(m.hour, s.hour),
       COALESCE(m.day_of_week, s.day_of_week), COALESCE(m.day_of_month, s.day_of_month),
       COALESCE(m.month_of_year, s.month_of_year)
  FROM old_schedules s LEFT JOIN mended_schedules m ON m.id = s.id

-- name: ours :many
-- The rows as they are now, for the checksum.
SELECT id, minute, hour, day_of_week, day_of_month, month_of_year FROM schedules

-- name: take_remote :exec
-- The ids of the schedules at the Scheduler. Nothing else is known about them there.
INSERT INTO scheduler_schedules (kind, target, remote_id)
SELECT 'schedule', id::text, scheduler_schedule_id::text
  FROM contentstore_schedule WHERE scheduler_schedule_id IS NOT NULL
