-- Subscriptions.

-- name: stage :exec
-- A copy of the old table.
CREATE TEMPORARY TABLE subscriptions_subscription (
    id uuid, identity text, version integer, next_sequence_number integer, lang text,
    active boolean, completed boolean, schedule_id integer, process_status integer, metadata jsonb,
    created_at timestamptz, updated_at timestamptz, created_by_id integer, updated_by_id integer,
    messageset_id integer, initial_sequence_number integer
) ON COMMIT DROP

-- name: read :many
-- A UUID of an identity is written in the usual form. process_status and completed agree: 2 is the
-- status of completed subscriptions only, and makes them inactive. A subscription in process (1) is
-- ready. Any other unknown status is ready, or an error if it is negative.
SELECT id,
       CASE WHEN identity ~* '^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$'
            THEN identity::uuid::text ELSE identity END AS identity,
       version, messageset_id, next_sequence_number,
       COALESCE(initial_sequence_number, 1) AS initial_sequence_number, lang,
       active AND (completed OR process_status <> 2) AS active,
       completed OR process_status = 2 AS completed, schedule_id,
       CASE WHEN completed OR process_status = 2 THEN 2
            WHEN process_status < 0 THEN GREATEST(process_status, -2) ELSE 0 END AS process_status,
       metadata, created_at, updated_at, created_by_id AS created_by, updated_by_id AS updated_by
  FROM subscriptions_subscription

-- name: note :exec
-- Left behind: subscriptions that refer to missing rows. Changed: those with values that are not
-- allowed.
INSERT INTO import_notes (noun, id, fate, reason, is_apart, was)
SELECT 'subscriptions', s.id, 'left behind', why.reason, true, to_jsonb(s)
  FROM subscriptions_subscription s
 CROSS JOIN LATERAL (
       SELECT CASE WHEN NOT EXISTS (SELECT FROM messagesets WHERE id = s.messageset_id)
                   THEN 'there is no message set ' || s.messageset_id
                   WHEN NOT EXISTS (SELECT FROM schedules WHERE id = s.schedule_id)
                   THEN 'there is no schedule ' || s.schedule_id
                   WHEN s.identity = '' THEN 'it has no identity'
                   WHEN s.lang = '' THEN 'it has no language' END AS reason) why
 WHERE why.reason IS NOT NULL;
INSERT INTO import_notes (noun, id, fate, reason, is_apart, was)
SELECT 'subscriptions', m.id, 'changed', 'there is no such user', true,
       jsonb_build_object('created_by', m.created_by, 'updated_by', m.updated_by)
  FROM old_subscriptions m
 WHERE m.created_by IS NOT NULL AND NOT EXISTS (SELECT FROM users WHERE id = m.created_by)
    OR m.updated_by IS NOT NULL AND NOT EXISTS (SELECT FROM users WHERE id = m.updated_by);
INSERT INTO import_notes (noun, id, fate, reason, was)
SELECT 'subscriptions', m.id, 'changed', 'its identity is written as UUIDs are',
       jsonb_build_object('identity', s.identity)
  FROM old_subscriptions m JOIN subscriptions_subscription s USING (id)
 WHERE m.identity <> s.identity
 UNION ALL
SELECT 'subscriptions', m.id, 'changed',
       CASE WHEN m.completed AND NOT s.completed THEN 'process_status 2: it is completed'
            WHEN m.completed THEN 'it is completed: process_status is 2'
            WHEN s.process_status = 1 THEN 'it is not in process any longer: process_status is 0'
            ELSE 'process_status ' || s.process_status || ' has no meaning: it is '
                 || m.process_status END,
       jsonb_build_object('process_status', s.process_status, 'completed', s.completed,
                          'active', s.active)
  FROM old_subscriptions m JOIN subscriptions_subscription s USING (id)
 WHERE m.process_status IS DISTINCT FROM s.process_status OR m.completed <> s.completed

-- name: take :exec
-- Import the rows that are not left behind.
INSERT INTO subscriptions (id, identity, version, messageset_id, next_sequence_number,
                           initial_sequence_number, lang, active, completed, schedule_id,
                           process_status, metadata, created_at, updated_at, created_by,
                           updated_by)
SELECT m.id, m.identity, m.version, m.messageset_id, m.next_sequence_number,
       m.initial_sequence_number, m.lang, m.active, m.completed, m.schedule_id, m.process_status,
       m.metadata, m.created_at, m.updated_at, maker.id, changer.id
  FROM old_subscriptions m
  LEFT JOIN users maker ON maker.id = m.created_by
  LEFT JOIN users changer ON changer.id = m.updated_by
 WHERE NOT EXISTS (SELECT FROM import_notes n
                    WHERE n.noun = 'subscriptions' AND n.fate = 'left behind'
                      AND n.id = m.id::text)

-- name: ours :many
-- The rows as they are now, for the checksum.
SELECT id, identity, version, messageset_id, next_sequence_number, initial_sequence_number, lang,
       active, completed, schedule_id, process_status, metadata, created_at, updated_at, created_by,
       updated_by
  FROM subscriptions
