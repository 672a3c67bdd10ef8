-- name: insert_messageset
-- A new message set; no row when its short name is taken.
INSERT INTO messagesets
       (short_name, label, content_type, channel, notes, next_set_id, default_schedule_id)
VALUES (%(short_name)s, %(label)s, %(content_type)s, %(channel)s, %(notes)s, %(next_set_id)s,
        %(default_schedule_id)s)
ON CONFLICT (short_name) DO NOTHING
RETURNING id, short_name, label, content_type, channel, notes, next_set_id, default_schedule_id,
          created_at, updated_at;

-- name: find_messageset
-- One message set.
SELECT id, short_name, label, content_type, channel, notes, next_set_id, default_schedule_id,
       created_at, updated_at
  FROM messagesets WHERE id = %(id)s;

-- name: find_short_name
-- Which message set has this name.
SELECT id FROM messagesets WHERE short_name = %(short_name)s;

-- name: hold_messageset
-- Whether there is this message set, which then cannot be deleted before this transaction ends: it
-- is about to be referred to.
SELECT id FROM messagesets WHERE id = %(id)s FOR KEY SHARE;

-- name: count_messagesets
-- How many message sets a client can page through. A null parameter is no filter.
SELECT count(*) AS count FROM messagesets
 WHERE (%(short_name)s IS NULL OR short_name = %(short_name)s)
   AND (%(content_type)s IS NULL OR content_type = %(content_type)s);

-- name: list_messagesets
-- A page of message sets, in the order in which they were made. A null parameter is no filter.
SELECT id, short_name, label, content_type, channel, notes, next_set_id, default_schedule_id,
       created_at, updated_at
  FROM messagesets
 WHERE (%(short_name)s IS NULL OR short_name = %(short_name)s)
   AND (%(content_type)s IS NULL OR content_type = %(content_type)s)
 ORDER BY id LIMIT %(limit)s OFFSET %(offset)s;

-- name: lock_messageset
-- One message set, which is about to be changed or deleted: nobody else may, or may refer to it.
SELECT id, short_name, label, content_type, channel, notes, next_set_id, default_schedule_id,
       created_at, updated_at
  FROM messagesets WHERE id = %(id)s FOR UPDATE;

-- name: update_messageset
-- New fields for a message set.
UPDATE messagesets
   SET short_name = %(short_name)s, label = %(label)s, content_type = %(content_type)s,
       channel = %(channel)s, notes = %(notes)s, next_set_id = %(next_set_id)s,
       default_schedule_id = %(default_schedule_id)s, updated_at = now()
 WHERE id = %(id)s
RETURNING id, short_name, label, content_type, channel, notes, next_set_id, default_schedule_id,
          created_at, updated_at;

-- name: find_users_of_messageset
-- What keeps a message set from being deleted. Its messages go with it.
SELECT EXISTS (SELECT 1 FROM subscriptions WHERE messageset_id = %(id)s) AS subscriptions;

-- name: delete_messageset
-- A message set that nobody is subscribed to, with its messages; sets that it follows lose it.
DELETE FROM messagesets WHERE id = %(id)s;
