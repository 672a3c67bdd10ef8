-- How many will be sent to, by day and message set.

-- name: find_cron_fields :many
-- reads
-- When each schedule is due, and what time it is.
SELECT id AS schedule_id, minute, hour, day_of_week, day_of_month, month_of_year, now() AS now
  FROM schedules ORDER BY id;

-- name: estimate_sends :exec
-- Write down, for one day on which these schedules are due, how many subscriptions of each message
-- set are sent to, and to how many identities: nobody, where none of its schedules is due. There is
-- nothing to send to a subscription beyond the end of the content in its language.
INSERT INTO estimated_sends
       (send_date, messageset_id, estimate_subscriptions, estimate_identities)
SELECT %(send_date)s, messagesets.id, COALESCE(due.subscriptions, 0), COALESCE(due.identities, 0)
  FROM messagesets LEFT JOIN (
       SELECT messageset_id, count(*) AS subscriptions,
              count(DISTINCT identity COLLATE "C") AS identities
         FROM subscriptions
         JOIN (SELECT messageset_id, lang, max(sequence_number) AS last_number
                 FROM messages GROUP BY messageset_id, lang) content USING (messageset_id, lang)
        WHERE next_sequence_number <= last_number AND active AND NOT completed AND process_status >= 0
          AND schedule_id = ANY(%(schedules)s)
        GROUP BY messageset_id) due ON due.messageset_id = messagesets.id
    ON CONFLICT (send_date, messageset_id) DO UPDATE
   SET estimate_subscriptions = EXCLUDED.estimate_subscriptions,
       estimate_identities = EXCLUDED.estimate_identities;

-- name: sum_estimates :many
-- reads
-- How many subscriptions are sent to on each of these days, whatever their message set. A day that
-- was not estimated has no row.
SELECT send_date, sum(estimate_subscriptions) AS subscriptions FROM estimated_sends
 WHERE send_date = ANY(%(days)s) GROUP BY send_date;

-- name: count_estimates :one
-- reads
-- How many there are to page through. A null parameter is no filter.
SELECT count(*) AS count FROM estimated_sends
 WHERE (%(send_date)s IS NULL OR send_date = %(send_date)s)
   AND (%(messageset_id)s IS NULL OR messageset_id = %(messageset_id)s);

-- name: list_estimates :many
-- reads
-- A page of them, by day. A null parameter is no filter.
SELECT id, send_date, messageset_id, estimate_subscriptions, estimate_identities
  FROM estimated_sends
 WHERE (%(send_date)s IS NULL OR send_date = %(send_date)s)
   AND (%(messageset_id)s IS NULL OR messageset_id = %(messageset_id)s)
 ORDER BY send_date, messageset_id LIMIT %(limit)s OFFSET %(offset)s;
