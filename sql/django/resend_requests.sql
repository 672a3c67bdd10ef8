-- Requests to resend.

-- name: stage :exec
-- A copy of the old table.
CREATE TEMPORARY TABLE subscriptions_resendrequest (
    id integer, received_at timestamptz, outbound uuid, message_id integer, subscription_id uuid
) ON COMMIT DROP;
CREATE INDEX ON subscriptions_resendrequest (subscription_id) WHERE outbound IS NULL

-- name: read :many
-- It is not known which send answered the request, so it gets an id that no other send has.
SELECT id, received_at, subscription_id, message_id, md5('resend ' || id)::uuid AS send_id,
       outbound::text AS outbound_id
  FROM subscriptions_resendrequest

-- name: note :exec
-- Left behind: requests of a missing subscription. Changed: requests of a missing message.
INSERT INTO import_notes (noun, id, fate, reason, is_apart, was)
SELECT 'resend_requests', s.id, 'left behind', 'there is no subscription ' || s.subscription_id,
       true, to_jsonb(s)
  FROM subscriptions_resendrequest s
 WHERE NOT EXISTS (SELECT FROM subscriptions WHERE id = s.subscription_id);
INSERT INTO import_notes (noun, id, fate, reason, is_apart, was)
SELECT 'resend_requests', s.id, 'changed', 'there is no message ' || s.message_id, true,
       jsonb_build_object('message_id', s.message_id)
  FROM subscriptions_resendrequest s
 WHERE s.message_id IS NOT NULL AND NOT EXISTS (SELECT FROM messages WHERE id = s.message_id)

-- name: take :exec
-- Import the rows that are not left behind.
INSERT INTO resend_requests (id, received_at, subscription_id, message_id, send_id, outbound_id)
SELECT m.id, m.received_at, m.subscription_id, messages.id, m.send_id, m.outbound_id
  FROM old_resend_requests m
  JOIN subscriptions s ON s.id = m.subscription_id
  LEFT JOIN messages ON messages.id = m.message_id

-- name: ours :many
-- The rows as they are now, for the checksum.
SELECT id, received_at, subscription_id, message_id, send_id, outbound_id FROM resend_requests
