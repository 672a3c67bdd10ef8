-- columns:
id, messageset_id, sequence_number, lang, metadata::text AS metadata, text_content,
binary_content_id, created_at, updated_at, updated_by

-- name: insert_message :maybe
-- fires: messages_inserted, messages_versions_of_inserted
-- A new message; no row if its set has one of this number in this language.
INSERT INTO messages
       (messageset_id, sequence_number, lang, metadata, text_content, binary_content_id,
        updated_by)
VALUES (%(messageset_id)s, %(sequence_number)s, %(lang)s, %(metadata)s, %(text_content)s,
        %(binary_content_id)s, author_id())
ON CONFLICT (messageset_id, lang, sequence_number) DO NOTHING
RETURNING {columns};

-- name: find_message :maybe
-- reads
-- One message.
SELECT {columns} FROM messages WHERE id = %(id)s;

-- name: find_message_in_place :maybe
-- reads
-- The message of this set with this number and language.
SELECT id FROM messages
 WHERE messageset_id = %(messageset_id)s AND lang = %(lang)s
   AND sequence_number = %(sequence_number)s;

-- name: list_messages_of_set :many
-- reads
-- All messages of one set, in the order in which they are sent.
SELECT id, messageset_id, sequence_number, lang, text_content, binary_content_id, created_at,
       updated_at, updated_by
  FROM messages WHERE messageset_id = %(messageset_id)s ORDER BY sequence_number, id;

-- name: list_messages :many
-- reads
-- page: id
-- sized: metadata, text_content
-- A page of messages, in the order in which they were made.
SELECT id FROM messages
 WHERE true
  [AND messageset_id = %(messageset_id)s]
  [AND sequence_number = %(sequence_number)s]
  [AND lang = %(lang)s]
-- shown:
SELECT {columns} FROM page JOIN messages USING (id);

-- name: lock_message :maybe
-- One message, which is about to be changed.
SELECT {columns} FROM messages WHERE id = %(id)s FOR UPDATE;

-- name: update_message :one
-- fires: messages_renumber, messages_updated, messages_versions_of_updated
-- New fields for a message.
UPDATE messages
   SET messageset_id = %(messageset_id)s, sequence_number = %(sequence_number)s,
       lang = %(lang)s, metadata = %(metadata)s, text_content = %(text_content)s,
       binary_content_id = %(binary_content_id)s, updated_at = now(),
       updated_by = author_id()
 WHERE id = %(id)s
RETURNING {columns};

-- name: have_messages :one
-- reads
-- Whether there are messages in a set, or with a file.
SELECT EXISTS (SELECT FROM messages WHERE messageset_id = %(messageset_id)s::integer)
       OR EXISTS (SELECT FROM messages WHERE binary_content_id = %(binary_content_id)s::integer)
       AS found;

-- name: delete_messages_of_set :exec
-- fires: messages_deleted
-- All messages of a set, which is about to be deleted.
DELETE FROM messages WHERE messageset_id = %(messageset_id)s;

-- name: delete_messages_of_file :exec
-- fires: messages_deleted
-- All messages that use a file, which is about to be deleted.
DELETE FROM messages WHERE binary_content_id = %(binary_content_id)s;

-- name: delete_message :exec
-- fires: messages_deleted
-- A message.
DELETE FROM messages WHERE id = %(id)s;

-- name: summarize_messages :many
-- reads
-- How many messages a set has in each language.
SELECT lang, count(*) AS count FROM messages WHERE messageset_id = %(messageset_id)s
 GROUP BY lang ORDER BY lang;

-- name: list_files_of_set :many
-- reads
-- The files that a set's messages use, each once.
SELECT DISTINCT b.id, b.content, b.created_at, b.updated_at
  FROM messages JOIN binary_contents b ON b.id = binary_content_id
 WHERE messageset_id = %(messageset_id)s ORDER BY b.id;

-- name: copy_messages :exec
-- fires: messages_inserted, messages_versions_of_inserted
-- Copy the messages of one set into another, which has none, in the order in which they were made.
-- The copies use the new files where files are replaced.
INSERT INTO messages
       (messageset_id, sequence_number, lang, text_content, binary_content_id, metadata)
SELECT %(clone_id)s, sequence_number, lang, text_content,
       coalesce((%(files)s::jsonb ->> binary_content_id::text)::integer, binary_content_id), metadata
  FROM messages WHERE messageset_id = %(source_id)s ORDER BY id;

-- name: list_contents :many
-- reads
-- The contents of the next %(limit)s messages of a set after this place, in the order of its index.
SELECT m.id, m.messageset_id, s.short_name AS messageset, m.sequence_number, m.lang,
       m.text_content AS text, b.content AS file_name, s.content_type, s.channel
  FROM messages m
  JOIN messagesets s ON s.id = m.messageset_id
  LEFT JOIN binary_contents b ON b.id = m.binary_content_id
 WHERE m.messageset_id = %(messageset_id)s
   AND (m.lang, m.sequence_number) > (%(after_lang)s::text, %(after_number)s::bigint)
 ORDER BY m.lang, m.sequence_number LIMIT %(limit)s;

-- name: list_contents_of_file :many
-- reads
-- The contents of the first %(limit)s messages that use a file.
SELECT m.id, m.messageset_id, s.short_name AS messageset, m.sequence_number, m.lang,
       m.text_content AS text, b.content AS file_name, s.content_type, s.channel
  FROM messages m
  JOIN messagesets s ON s.id = m.messageset_id
  JOIN binary_contents b ON b.id = m.binary_content_id
 WHERE m.binary_content_id = %(file_id)s ORDER BY m.id LIMIT %(limit)s;

-- name: find_next_text :maybe
-- reads
-- The text of the next message of a subscription that is at this number.
SELECT COALESCE(text_content, '') AS text
  FROM next_place(%(messageset_id)s, %(lang)s, %(next_sequence_number)s) place
  JOIN messages ON messages.id = message_id;

-- name: find_coming_message :maybe
-- reads
-- The next message of a subscription that is at this number: without a language, it would wait for
-- the translation. No row: the set ends before this number.
SELECT place.sequence_number, place.lang, text_content AS text
  FROM next_place(%(messageset_id)s, %(lang)s, %(next_sequence_number)s) place
  LEFT JOIN messages ON messages.id = message_id;

-- name: is_message_under_way :maybe
-- reads
-- Whether people who are under way get messages of this message's set.
SELECT are_under_way(ARRAY[messageset_id]) FROM messages WHERE id = %(id)s;
