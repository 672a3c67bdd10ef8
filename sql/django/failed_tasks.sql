-- Failures. The old service does not say what it was that failed, the next message or a resend.

-- name: stage :exec
-- The old table.
CREATE TEMPORARY TABLE subscriptions_subscriptionsendfailure (
    id integer, task_id uuid, initiated_at timestamptz, reason text, subscription_id uuid
) ON COMMIT DROP

-- name: read :many
-- Each is a send of its own here, also where one task failed several times: the last one has its id.
SELECT id, CASE WHEN number = 1 AND task_id IS NOT NULL THEN task_id
                ELSE md5('failure ' || id)::uuid END AS send_id,
       COALESCE(reason, '') AS reason, subscription_id, initiated_at
  FROM (SELECT *, row_number() OVER (PARTITION BY task_id ORDER BY id DESC) AS number
          FROM subscriptions_subscriptionsendfailure) AS numbered

-- name: note :exec
-- Those of a subscription that is not there.
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
-- As failures of the next message. One can be requeued, once, only if nothing has happened to its
-- subscription since, and if it cannot have been a resend: where it stood is not known of others,
-- and without that a requeue skips them.
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
-- What there is of them now.
SELECT id, send_id, reason, subscription_id, initiated_at FROM failed_tasks
