-- Failed tasks. The old service does not tell whether the next message failed, or a resend.

-- name: stage :exec
-- A copy of the old table.
CREATE TEMPORARY TABLE subscriptions_subscriptionsendfailure (
    id integer, task_id uuid, initiated_at timestamptz, reason text, subscription_id uuid
) ON COMMIT DROP

-- name: read :many
-- Each row is a send of its own here. If one task failed several times, the last row has its id.
SELECT id, CASE WHEN number = 1 AND task_id IS NOT NULL THEN task_id
                ELSE md5('failure ' || id)::uuid END AS send_id,
       COALESCE(reason, '') AS reason, subscription_id, initiated_at
  FROM (SELECT *, row_number() OVER (PARTITION BY task_id ORDER BY id DESC) AS number
          FROM subscriptions_subscriptionsendfailure) AS numbered

-- name: note :exec
-- Left behind: rows of a missing subscription.
INSERT INTO import_notes (noun, id, fate, reason, is_apart, was)
SELECT 'failed_tasks', s.id, 'left behind', 'there is no subscription ' || s.subscription_id, true,
       to_jsonb(s)
  FROM subscriptions_subscriptionsendfailure s
 WHERE NOT EXISTS (SELECT FROM subscriptions WHERE id = s.subscription_id);
INSERT INTO import_notes (noun, id, fate, reason, was)
SELECT 'failed_tasks', m.id, 'changed', 'its task failed again later: it has an id of its own',
       jsonb_build_object('task_id', s.task_id)
  FROM old_failed_tasks m JOIN subscriptions_subscriptionsendfailure s USING (id)
 WHERE m.send_id IS DISTINCT FROM s.task_id

-- name: take :exec
-- Import them as failures of the next message. A failure can be requeued once, but only if nothing
-- has happened to its subscription since, and if it cannot have been a resend. For all others, the
-- place of the subscription at that time is not known, so a requeue skips them.
INSERT INTO failed_tasks (id, send_id, kind, stage, reason, subscription_id, identity, initiated_at,
                          failed_at, attempt, messageset_id, next_sequence_number, lang)
SELECT m.id, m.send_id, 'next', 'trigger', m.reason, s.id, s.identity, m.initiated_at,
       m.initiated_at, 0, CASE WHEN stands THEN s.messageset_id END,
       CASE WHEN stands THEN s.next_sequence_number END, s.lang
  FROM old_failed_tasks m
  JOIN subscriptions s ON s.id = m.subscription_id
 CROSS JOIN LATERAL (
       SELECT s.updated_at <= m.initiated_at
              AND NOT EXISTS (SELECT FROM subscriptions_resendrequest r
                               WHERE r.subscription_id = s.id AND r.outbound IS NULL
                                 AND r.received_at <= m.initiated_at) AS stands) AS since

-- name: ours :many
-- The rows as they are now, for the checksum.
SELECT id, send_id, reason, subscription_id, initiated_at FROM failed_tasks
