-- How many subscriptions and identities will be sent to, by day and message set.

-- name: find_cron_fields :many
-- reads
-- The cron fields of each schedule, its time zone, and the time.
SELECT id AS schedule_id, minute, hour, day_of_week, day_of_month, month_of_year, time_zone,
       now() AS now
  FROM schedules ORDER BY id;

-- name: estimate_sends :exec
-- Store, for one day on which these schedules are due, how many subscriptions and identities of
-- each message set are sent to: none if none of its schedules is due. Subscriptions beyond the end
-- of the content in their language do not count, and neither do those that wait for a translation:
-- there is nothing to send to them. That is looked up once for each set, language and number.
WITH reached AS MATERIALIZED (
    SELECT messageset_id, s.lang, next_sequence_number
      FROM (SELECT DISTINCT messageset_id, lang, next_sequence_number FROM subscriptions
             WHERE active AND NOT completed AND process_status >= 0
               AND schedule_id = ANY(%(schedules)s)) s
     WHERE (SELECT message_id IS NOT NULL
              FROM next_place(messageset_id, s.lang, next_sequence_number))
)
INSERT INTO estimated_sends
       (send_date, messageset_id, estimate_subscriptions, estimate_identities)
SELECT %(send_date)s, messagesets.id, COALESCE(due.subscriptions, 0), COALESCE(due.identities, 0)
  FROM messagesets LEFT JOIN (
       SELECT messageset_id, count(*) AS subscriptions,
              count(DISTINCT identity COLLATE "C") AS identities
         FROM subscriptions
         JOIN reached USING (messageset_id, lang, next_sequence_number)
        WHERE active AND NOT completed AND process_status >= 0
          AND schedule_id = ANY(%(schedules)s)
        GROUP BY messageset_id) due ON due.messageset_id = messagesets.id
    ON CONFLICT (send_date, messageset_id) DO UPDATE
   SET estimate_subscriptions = EXCLUDED.estimate_subscriptions,
       estimate_identities = EXCLUDED.estimate_identities;

-- name: sum_estimates :many
-- reads
-- How many subscriptions of all message sets are sent to on each of these days. A day that was not
-- estimated has no row.
SELECT send_date, sum(estimate_subscriptions) AS subscriptions FROM estimated_sends
 WHERE send_date = ANY(%(days)s) GROUP BY send_date;

-- name: count_estimates :one
-- reads
-- How many estimates match.
SELECT count(*) AS count FROM estimated_sends
 WHERE true
  [AND send_date = %(send_date)s]
  [AND messageset_id = %(messageset_id)s]
;

-- name: list_estimates :many
-- reads
-- A page of them, by day.
SELECT id, send_date, messageset_id, estimate_subscriptions, estimate_identities
  FROM estimated_sends
 WHERE true
  [AND send_date = %(send_date)s]
  [AND messageset_id = %(messageset_id)s]
 ORDER BY send_date, messageset_id LIMIT %(limit)s OFFSET %(offset)s;
