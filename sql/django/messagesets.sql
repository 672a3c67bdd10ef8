-- Message sets. One statement imports all of them, so that sets may follow each other in a circle.

-- name: stage :exec
-- A copy of the old table, with the columns of the newest release.
CREATE TEMPORARY TABLE contentstore_messageset (
    id integer, short_name text, notes text, created_at timestamptz, updated_at timestamptz,
    default_schedule_id integer, next_set_id integer, content_type text, channel text, label text
) ON COMMIT DROP

-- name: read :many
-- Every set has a name. A set that is not audio was sent as text. An empty channel is no channel.
SELECT id, CASE WHEN short_name = '' THEN 'messageset-' || id ELSE short_name END AS short_name,
       COALESCE(label, '') AS label,
       CASE WHEN content_type = 'audio' THEN 'audio' ELSE 'text' END AS content_type,
       NULLIF(channel, '') AS channel, notes, next_set_id, default_schedule_id, created_at,
       updated_at
  FROM contentstore_messageset

-- name: note :exec
-- Left behind: sets without their schedule. Changed: sets whose next set is missing (they end
-- there), and sets with values that are not allowed.
INSERT INTO import_notes (noun, id, fate, reason, is_apart, was)
SELECT 'messagesets', m.id, 'left behind', 'there is no schedule ' || m.default_schedule_id, true,
       to_jsonb(s)
  FROM old_messagesets m JOIN contentstore_messageset s USING (id)
 WHERE NOT EXISTS (SELECT FROM schedules WHERE id = m.default_schedule_id);
INSERT INTO import_notes (noun, id, fate, reason, is_apart, was)
SELECT 'messagesets', m.id, 'changed', 'there is no set ' || m.next_set_id || ' to follow it', true,
       jsonb_build_object('next_set_id', m.next_set_id)
  FROM old_messagesets m
 WHERE NOT EXISTS (SELECT FROM old_messagesets f
                    WHERE f.id = m.next_set_id
                      AND EXISTS (SELECT FROM schedules WHERE id = f.default_schedule_id))
   AND m.next_set_id IS NOT NULL;
INSERT INTO import_notes (noun, id, fate, reason, was)
SELECT 'messagesets', m.id, 'changed', 'it had no short_name', '{"short_name": ""}'
  FROM old_messagesets m JOIN contentstore_messageset s USING (id)
 WHERE m.short_name IS DISTINCT FROM s.short_name
 UNION ALL
SELECT 'messagesets', m.id, 'changed', 'its content_type is neither text nor audio',
       jsonb_build_object('content_type', s.content_type)
  FROM old_messagesets m JOIN contentstore_messageset s USING (id)
 WHERE m.content_type IS DISTINCT FROM s.content_type

-- name: take :exec
-- Import the rows that are not left behind.
INSERT INTO messagesets (id, short_name, label, content_type, channel, notes, next_set_id,
                         default_schedule_id, created_at, updated_at)
SELECT m.id, m.short_name, m.label, m.content_type, m.channel, m.notes, f.id,
       m.default_schedule_id, m.created_at, m.updated_at
  FROM old_messagesets m
  LEFT JOIN old_messagesets f
         ON f.id = m.next_set_id
        AND EXISTS (SELECT FROM schedules WHERE id = f.default_schedule_id)
 WHERE EXISTS (SELECT FROM schedules WHERE id = m.default_schedule_id)

-- name: ours :many
-- The rows as they are now, for the checksum.
SELECT id, short_name, label, content_type, channel, notes, next_set_id, default_schedule_id,
       created_at, updated_at
  FROM messagesets
