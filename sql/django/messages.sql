-- Messages.

-- name: stage :exec
-- A copy of the old table, with the columns of the newest release.
CREATE TEMPORARY TABLE contentstore_message (
    id integer, sequence_number integer, lang text, text_content text, created_at timestamptz,
    updated_at timestamptz, binary_content_id integer, messageset_id integer, metadata jsonb
) ON COMMIT DROP;
CREATE INDEX ON contentstore_message (messageset_id, lang, sequence_number)

-- name: read :many
-- The rows, unchanged, except that metadata is never null.
SELECT id, messageset_id, sequence_number, lang, text_content, binary_content_id,
       COALESCE(metadata, '{}'::jsonb) AS metadata, created_at, updated_at
  FROM contentstore_message

-- name: note :exec
-- Left behind: messages without a set or a language, and messages that can never be sent, because
-- another one has the same place. Changed: messages whose file is missing.
INSERT INTO import_notes (noun, id, fate, reason, is_apart, was)
SELECT 'messages', s.id, 'left behind', why.reason, true, to_jsonb(s)
  FROM contentstore_message s
 CROSS JOIN LATERAL (
       SELECT CASE WHEN NOT EXISTS (SELECT FROM messagesets WHERE id = s.messageset_id)
                   THEN 'there is no message set ' || s.messageset_id
                   WHEN s.lang = '' THEN 'it has no language'
                   WHEN EXISTS (SELECT FROM contentstore_message o
                                 WHERE o.messageset_id = s.messageset_id AND o.lang = s.lang
                                   AND o.sequence_number = s.sequence_number AND o.id < s.id)
                   THEN 'an older one has the same set, number and language'
              END AS reason) why
 WHERE why.reason IS NOT NULL;
INSERT INTO import_notes (noun, id, fate, reason, is_apart, was)
SELECT 'messages', m.id, 'changed', 'there is no file ' || m.binary_content_id, true,
       jsonb_build_object('binary_content_id', m.binary_content_id)
  FROM old_messages m
 WHERE m.binary_content_id IS NOT NULL
   AND NOT EXISTS (SELECT FROM binary_contents WHERE id = m.binary_content_id)

-- name: take :exec
-- Import the rows that are not left behind.
INSERT INTO messages (id, messageset_id, sequence_number, lang, text_content, binary_content_id,
                      metadata, created_at, updated_at)
SELECT m.id, m.messageset_id, m.sequence_number, m.lang, m.text_content, b.id, m.metadata,
       m.created_at, m.updated_at
  FROM old_messages m LEFT JOIN binary_contents b ON b.id = m.binary_content_id
 WHERE NOT EXISTS (SELECT FROM import_notes n
                    WHERE n.noun = 'messages' AND n.fate = 'left behind' AND n.id = m.id::text)

-- name: ours :many
-- The rows as they are now, for the checksum.
SELECT id, messageset_id, sequence_number, lang, text_content, binary_content_id, metadata,
       created_at, updated_at
  FROM messages
