-- columns:
id, short_name, label, content_type, channel, notes, next_set_id, default_schedule_id, created_at,
updated_at, send_hours, max_age, updated_by, on_missing_translation

-- name: insert_messageset :maybe
-- A new message set; no row if its short name is taken.
INSERT INTO messagesets
       (short_name, label, content_type, channel, notes, next_set_id, default_schedule_id,
        send_hours, max_age, updated_by, on_missing_translation)
VALUES (%(short_name)s, %(label)s, %(content_type)s, %(channel)s, %(notes)s, %(next_set_id)s,
        %(default_schedule_id)s, %(send_hours)s, %(max_age)s, author_id(),
        %(on_missing_translation)s)
ON CONFLICT (short_name) DO NOTHING
RETURNING {columns};

-- name: find_messageset :maybe
-- reads
-- One message set.
SELECT {columns} FROM messagesets WHERE id = %(id)s;

-- name: find_short_name :maybe
-- reads
-- Which message set has this name.
SELECT id FROM messagesets WHERE short_name = %(short_name)s;

-- name: hold_messageset :maybe
-- Whether there is this message set. If so, it cannot be deleted before this transaction ends:
-- another row will refer to it.
SELECT id FROM messagesets WHERE id = %(id)s FOR KEY SHARE;

-- name: list_messagesets :many
-- reads
-- page: id
-- A page of message sets, in the order in which they were made.
SELECT {columns} FROM messagesets
 WHERE true
  [AND short_name = %(short_name)s]
  [AND content_type = %(content_type)s]
;

-- name: find_messagesets_containing :many
-- reads
-- Message sets whose name contains a text, as it is written.
SELECT id FROM messagesets WHERE strpos(short_name, %(text)s) > 0 ORDER BY id;

-- name: take_turn_at_messagesets :exec
-- reads
-- Message sets are changed one at a time: they refer to each other. If two were changed at once,
-- each to follow the other, each would wait for the other's lock.
SELECT pg_advisory_xact_lock(736266, 3);

-- name: lock_messageset :maybe
-- Lock one message set before it is changed or deleted: no other transaction can change it, or make
-- a reference to it.
SELECT {columns} FROM messagesets WHERE id = %(id)s FOR UPDATE;

-- name: update_messageset :one
-- New fields for a message set.
UPDATE messagesets
   SET short_name = %(short_name)s, label = %(label)s, content_type = %(content_type)s,
       channel = %(channel)s, notes = %(notes)s, next_set_id = %(next_set_id)s,
       default_schedule_id = %(default_schedule_id)s, send_hours = %(send_hours)s,
       max_age = %(max_age)s, on_missing_translation = %(on_missing_translation)s,
       updated_at = now(), updated_by = author_id()
 WHERE id = %(id)s
RETURNING {columns};

-- name: find_users_of_messageset :one
-- reads
-- The tables that keep a message set from being deleted. Its messages do not: they are deleted,
-- too.
SELECT EXISTS (SELECT 1 FROM subscriptions WHERE messageset_id = %(id)s) AS subscriptions;

-- name: leave_next_set :exec
-- Sets lose the next set that they have. The database would do it, too, but after the set is gone:
-- the audit would then not have the changes in an order in which they can be undone.
UPDATE messagesets SET next_set_id = NULL WHERE next_set_id = %(id)s AND id <> %(id)s;

-- name: delete_messageset :exec
-- fires: messages_deleted
-- A message set without subscriptions, messages, or sets that have it as next set.
DELETE FROM messagesets WHERE id = %(id)s;

-- name: list_languages :many
-- reads
-- The languages of the messages of each message set; none if it has no messages.
SELECT messagesets.id AS messageset_id,
       COALESCE(array_agg(DISTINCT lang ORDER BY lang) FILTER (WHERE lang IS NOT NULL), '{}')
           AS languages
  FROM messagesets LEFT JOIN messages ON messageset_id = messagesets.id
 GROUP BY messagesets.id ORDER BY messagesets.id;

-- name: list_names :many
-- reads
-- The texts that the names of metrics are made of.
SELECT content_type, short_name FROM messagesets ORDER BY id;

-- name: list_all_messagesets :many
-- reads
-- All message sets.
SELECT {columns} FROM messagesets ORDER BY id;

-- name: is_messageset_under_way :one
-- reads
-- Whether people get messages of this set, or will get them after another set.
SELECT are_under_way(ARRAY[%(id)s::integer]);

-- name: describe_messagesets :many
-- reads
-- Of each of these sets: how many messages and numbers it has, its languages, and how many people are
-- under way in it. The indexes of messages and subscriptions by set have all that is counted.
SELECT s.id AS messageset_id, content.messages, content.numbers, content.languages,
       (SELECT count(*) FROM subscriptions
         WHERE messageset_id = s.id AND active AND NOT completed) AS people
  FROM messagesets s
 CROSS JOIN LATERAL (
       SELECT count(*) AS messages, count(DISTINCT sequence_number) AS numbers,
              COALESCE(array_agg(DISTINCT lang ORDER BY lang), '{}') AS languages
         FROM messages WHERE messageset_id = s.id) content
 WHERE s.id = ANY(%(ids)s) ORDER BY s.id;

-- name: list_standing :many
-- reads
-- long
-- How many people stand at each number of a set, by language, and what they get next: the number, null
-- at the end of the set; and the language of its message, null if they wait for a translation.
SELECT s.lang, s.next_sequence_number, s.count, place.sequence_number AS number,
       place.lang AS message_lang
  FROM (SELECT lang, next_sequence_number, count(*) AS count FROM subscriptions
         WHERE messageset_id = %(messageset_id)s AND active AND NOT completed
           AND process_status >= 0
         GROUP BY lang, next_sequence_number) s
  LEFT JOIN LATERAL next_place(%(messageset_id)s, s.lang, s.next_sequence_number) place ON true
 ORDER BY s.next_sequence_number, s.lang;
