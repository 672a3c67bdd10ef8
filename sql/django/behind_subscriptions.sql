-- Subscriptions that were found to be behind.

-- name: stage :exec
-- A copy of the old table.
CREATE TEMPORARY TABLE subscriptions_behindsubscription (
    id integer, messages_behind integer, current_sequence_number integer,
    expected_sequence_number integer, created_at timestamptz, current_messageset_id integer,
    expected_messageset_id integer, subscription_id uuid
) ON COMMIT DROP;
CREATE INDEX ON subscriptions_behindsubscription (subscription_id)

-- name: read :many
-- The rows, unchanged.
SELECT id, subscription_id, messages_behind, current_messageset_id, current_sequence_number,
       expected_messageset_id, expected_sequence_number, created_at
  FROM subscriptions_behindsubscription

-- name: note :exec
-- Left behind: rows that refer to missing rows, and rows that a later one replaces.
INSERT INTO import_notes (noun, id, fate, reason, is_apart, was)
SELECT 'behind_subscriptions', s.id, 'left behind', why.reason, true, to_jsonb(s)
  FROM subscriptions_behindsubscription s
 CROSS JOIN LATERAL (
       SELECT CASE WHEN NOT EXISTS (SELECT FROM subscriptions WHERE id = s.subscription_id)
                   THEN 'there is no subscription ' || s.subscription_id
                   WHEN NOT EXISTS (SELECT FROM messagesets WHERE id = s.current_messageset_id)
                   THEN 'there is no message set ' || s.current_messageset_id
                   WHEN NOT EXISTS (SELECT FROM messagesets WHERE id = s.expected_messageset_id)
                   THEN 'there is no message set ' || s.expected_messageset_id
                   WHEN EXISTS (SELECT FROM subscriptions_behindsubscription o
                                 WHERE o.subscription_id = s.subscription_id AND o.id > s.id)
                   THEN 'a later one is of the same subscription' END AS reason) why
 WHERE why.reason IS NOT NULL

-- name: take :exec
-- Import the rows that are not left behind.
INSERT INTO behind_subscriptions (id, subscription_id, messages_behind, current_messageset_id,
                                  current_sequence_number, expected_messageset_id,
                                  expected_sequence_number, created_at)
SELECT id, subscription_id, messages_behind, current_messageset_id, current_sequence_number,
       expected_messageset_id, expected_sequence_number, created_at
  FROM old_behind_subscriptions m
 WHERE NOT EXISTS (SELECT FROM import_notes n
                    WHERE n.noun = 'behind_subscriptions' AND n.id = m.id::text)

-- name: ours :many
-- The rows as they are now, for the checksum.
SELECT id, subscription_id, messages_behind, current_messageset_id, current_sequence_number,
       expected_messageset_id, expected_sequence_number, created_at
  FROM behind_subscriptions
