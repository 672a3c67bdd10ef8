-- Send estimates.

-- name: stage :exec
-- A copy of the old table.
CREATE TEMPORARY TABLE subscriptions_estimatedsend (
    id integer, send_date date, estimate_subscriptions integer, estimate_identities integer,
    messageset_id integer
) ON COMMIT DROP;
CREATE INDEX ON subscriptions_estimatedsend (send_date, messageset_id)

-- name: read :many
-- The rows, unchanged.
SELECT id, send_date, messageset_id, estimate_subscriptions, estimate_identities
  FROM subscriptions_estimatedsend

-- name: note :exec
-- Left behind: rows of a missing message set, and rows that a later one replaces.
INSERT INTO import_notes (noun, id, fate, reason, is_apart, was)
SELECT 'estimated_sends', s.id, 'left behind', why.reason, true, to_jsonb(s)
  FROM subscriptions_estimatedsend s
 CROSS JOIN LATERAL (
       SELECT CASE WHEN NOT EXISTS (SELECT FROM messagesets WHERE id = s.messageset_id)
                   THEN 'there is no message set ' || s.messageset_id
                   WHEN EXISTS (SELECT FROM subscriptions_estimatedsend o
                                 WHERE o.send_date = s.send_date
                                   AND o.messageset_id = s.messageset_id AND o.id > s.id)
                   THEN 'a later one is of the same day and set' END AS reason) why
 WHERE why.reason IS NOT NULL

-- name: take :exec
-- Import the rows that are not left behind.
INSERT INTO estimated_sends (id, send_date, messageset_id, estimate_subscriptions,
                             estimate_identities)
SELECT id, send_date, messageset_id, estimate_subscriptions, estimate_identities
  FROM old_estimated_sends m
 WHERE NOT EXISTS (SELECT FROM import_notes n
                    WHERE n.noun = 'estimated_sends' AND n.id = m.id::text)

-- name: ours :many
-- The rows as they are now, for the checksum.
SELECT id, send_date, messageset_id, estimate_subscriptions, estimate_identities
  FROM estimated_sends
