-- name: insert_message
-- A new message; no row when its set has one of this number in this language.
INSERT INTO messages
       (messageset_id, sequence_number, lang, metadata, text_content, binary_content_id)
VALUES (%(messageset_id)s, %(sequence_number)s, %(lang)s, %(metadata)s, %(text_content)s,
        %(binary_content_id)s)
ON CONFLICT (messageset_id, lang, sequence_number) DO NOTHING
RETURNING id, messageset_id, sequence_number, lang, metadata, text_content, binary_content_id,
          created_at, updated_at;

-- name: find_message
-- One message.
SELECT id, messageset_id, sequence_number, lang, metadata, text_content, binary_content_id,
       created_at, updated_at
  FROM messages WHERE id = %(id)s;

-- name: find_message_in_place
-- Which message stands at this place of a set.
SELECT id FROM messages
 WHERE messageset_id = %(messageset_id)s AND lang = %(lang)s
   AND sequence_number = %(sequence_number)s;

-- name: list_messages_of_set
-- All messages of one set, as they are sent.
SELECT id, messageset_id, sequence_number, lang, metadata, text_content, binary_content_id,
       created_at, updated_at
  FROM messages WHERE messageset_id = %(messageset_id)s ORDER BY sequence_number, id;

-- name: count_messages
-- How many messages a client can page through. A null parameter is no filter.
SELECT count(*) AS count FROM messages
 WHERE (%(messageset_id)s IS NULL OR messageset_id = %(messageset_id)s)
   AND (%(sequence_number)s IS NULL OR sequence_number = %(sequence_number)s)
   AND (%(lang)s IS NULL OR lang = %(lang)s);

-- name: list_messages
-- A page of messages, in the order in which they were made. A null parameter is no filter.
SELECT id, messageset_id, sequence_number, lang, metadata, text_content, binary_content_id,
       created_at, updated_at
  FROM messages
 WHERE (%(messageset_id)s IS NULL OR messageset_id = %(messageset_id)s)
   AND (%(sequence_number)s IS NULL OR sequence_number = %(sequence_number)s)
   AND (%(lang)s IS NULL OR lang = %(lang)s)
 ORDER BY id LIMIT %(limit)s OFFSET %(offset)s;

-- name: lock_message
-- One message, which is about to be changed.
SELECT id, messageset_id, sequence_number, lang, metadata, text_content, binary_content_id,
       created_at, updated_at
  FROM messages WHERE id = %(id)s FOR UPDATE;

-- name: update_message
-- New fields for a message.
UPDATE messages
   SET messageset_id = %(messageset_id)s, sequence_number = %(sequence_number)s,
       lang = %(lang)s, metadata = %(metadata)s, text_content = %(text_content)s,
       binary_content_id = %(binary_content_id)s, updated_at = now()
 WHERE id = %(id)s
RETURNING id, messageset_id, sequence_number, lang, metadata, text_content, binary_content_id,
          created_at, updated_at;

-- name: delete_message
-- A message.
DELETE FROM messages WHERE id = %(id)s;
