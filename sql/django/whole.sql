-- The statements that the import of the old service's data runs once: before, between and after the
-- tables. In a statement with {braces}, a table's own statement is inserted there.

-- name: set_reading :exec
-- Both sides write times in the same way, in UTC, and only the operator can end an import. The
-- Scheduler is not told about imported rows: it knows them already, or is synchronised afterwards.
-- Settings that an old server does not know are left out. Tables that are not on the search path
-- are looked for in public. All of this is set for one transaction, because behind a pooler, others
-- would get the settings of a session.
SELECT set_config(name, value, true)
  FROM (VALUES ('timezone', 'UTC'), ('datestyle', 'ISO, YMD'), ('intervalstyle', 'postgres'),
               ('bytea_output', 'hex'), ('extra_float_digits', '1'),
               ('standard_conforming_strings', 'on'), ('backslash_quote', 'safe_encoding'),
               ('array_nulls', 'on'), ('transform_null_equals', 'off'),
               ('statement_timeout', '0'), ('lock_timeout', '0'), ('transaction_timeout', '0'),
               ('search_path', concat_ws(', ', NULLIF(current_setting('search_path'), ''), 'public')),
               ('sbm.scheduling', 'builtin'),
               ('idle_in_transaction_session_timeout', '0')) AS settings (name, value)
 WHERE name = 'sbm.scheduling' OR name IN (SELECT lower(pg_settings.name) FROM pg_settings)

-- name: lock_target :exec
-- Until the import is complete, no other session writes, or reads half of it. If a daemon is at
-- work, the import does not wait for it.
SET LOCAL lock_timeout = '5s';
LOCK TABLE schedules, messagesets, binary_contents, messages, subscriptions, sends, ledger, ticks,
           failed_tasks, resend_requests, estimated_sends, behind_subscriptions, doubles, users,
           tokens, user_permissions, scheduler_calls, scheduler_schedules IN ACCESS EXCLUSIVE MODE;
SET LOCAL lock_timeout = 0;
SET LOCAL maintenance_work_mem = '256MB'

-- name: find_indexes :many
-- The indexes of a table that do not belong to a constraint, and the statements that make them. A
-- million rows are inserted twice as fast if these are made afterwards.
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
 WHERE indrelid = %(table)s::regclass
   AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)

-- name: find_filled :many
-- The tables that are not empty. Users and tokens do not count: operators make their own users
-- before anything else.
SELECT noun FROM (
    SELECT 'schedules' AS noun, EXISTS (SELECT FROM schedules) AS is_filled
    UNION ALL SELECT 'messagesets', EXISTS (SELECT FROM messagesets)
    UNION ALL SELECT 'binary_contents', EXISTS (SELECT FROM binary_contents)
    UNION ALL SELECT 'messages', EXISTS (SELECT FROM messages)
    UNION ALL SELECT 'subscriptions', EXISTS (SELECT FROM subscriptions)
    UNION ALL SELECT 'sends', EXISTS (SELECT FROM sends)
    UNION ALL SELECT 'ledger', EXISTS (SELECT FROM ledger)
    UNION ALL SELECT 'ticks', EXISTS (SELECT FROM ticks)
    UNION ALL SELECT 'failed_tasks', EXISTS (SELECT FROM failed_tasks)
    UNION ALL SELECT 'resend_requests', EXISTS (SELECT FROM resend_requests)
    UNION ALL SELECT 'estimated_sends', EXISTS (SELECT FROM estimated_sends)
    UNION ALL SELECT 'behind_subscriptions', EXISTS (SELECT FROM behind_subscriptions)
    UNION ALL SELECT 'doubles', EXISTS (SELECT FROM doubles)
    UNION ALL SELECT 'scheduler_schedules', EXISTS (SELECT FROM scheduler_schedules)) AS nouns
 WHERE is_filled

-- name: set_aside :exec
-- The operator's own users give up their ids to the users of the old service that had them. Stored
-- answers are deleted: they would be given to the new owners of the ids, and are about rows that no
-- longer exist.
DELETE FROM idempotency_keys;
DELETE FROM scheduler_callbacks;
CREATE TEMPORARY TABLE kept_users ON COMMIT DROP AS SELECT * FROM users;
CREATE TEMPORARY TABLE kept_tokens ON COMMIT DROP AS SELECT * FROM tokens;
CREATE TEMPORARY TABLE kept_permissions ON COMMIT DROP AS SELECT * FROM user_permissions;
CREATE TEMPORARY TABLE kept_requests ON COMMIT DROP AS
SELECT id, requested_by FROM tasks WHERE requested_by IS NOT NULL;
DELETE FROM users

-- name: give_back :exec
-- Insert the operator's own users when the ids of the others are known. If a user has the name of
-- an imported user, the two become one, with the permissions and tokens of both, and the password
-- given here, if there is one. A user that was inactive stays inactive, and one who is limited here
-- stays limited.
INSERT INTO users (username, email, is_admin, is_active, is_limited, created_at, password)
SELECT username, email, is_admin, is_active, is_limited, created_at, password FROM kept_users
    ON CONFLICT (username) DO UPDATE
       SET is_admin = users.is_admin OR EXCLUDED.is_admin, is_limited = EXCLUDED.is_limited,
           password = COALESCE(EXCLUDED.password, users.password);
INSERT INTO tokens (user_id, digest, name, created_at, expires_at, last_used_at, revoked_at,
                    uses_recorded_since)
SELECT users.id, digest, name, kept_tokens.created_at, expires_at, last_used_at, revoked_at,
       uses_recorded_since
  FROM kept_tokens JOIN kept_users ON kept_users.id = kept_tokens.user_id JOIN users USING (username)
 ORDER BY kept_tokens.id
    ON CONFLICT (digest) DO NOTHING;
INSERT INTO user_permissions (user_id, permission)
SELECT users.id, permission
  FROM kept_permissions JOIN kept_users ON kept_users.id = user_id JOIN users USING (username)
    ON CONFLICT DO NOTHING;
UPDATE tasks SET requested_by = users.id
  FROM kept_requests JOIN kept_users ON kept_users.id = requested_by JOIN users USING (username)
 WHERE tasks.id = kept_requests.id

-- name: find_next_id :one
-- The first id of the widest gap, from which new ids are given out: nearly always this is after the
-- highest id. If a row has the last possible id, new rows must still be possible.
SELECT id + 1 FROM (SELECT id, lead(id, 1, 2147483648) OVER (ORDER BY id) - id AS room
                      FROM (SELECT id::bigint FROM {table} WHERE id > 0 UNION ALL SELECT 0) AS taken
                   ) AS gaps
 ORDER BY room DESC LIMIT 1

-- name: find_merged :many
-- The operator's users that have the name of an imported user.
SELECT username FROM kept_users JOIN users USING (username) ORDER BY username

-- name: make_notes :exec
-- The notes about single rows: fate is "left behind" or "changed". A row is apart if its content
-- here differs from the result of reading it in the old database.
CREATE TEMPORARY TABLE import_notes (
    number integer GENERATED ALWAYS AS IDENTITY,
    noun text NOT NULL,
    id text NOT NULL,
    fate text NOT NULL CHECK (fate IN ('left behind', 'changed')),
    reason text NOT NULL,
    is_apart boolean NOT NULL DEFAULT false,
    was jsonb
) ON COMMIT DROP

-- name: note_odd_time :exec
-- Note that a time of a row was changed, and what it was.
INSERT INTO import_notes (noun, id, fate, reason, was)
VALUES (%(noun)s, %(id)s, 'changed', 'a time beyond the years 1 to 9999 is at their end', %(was)s)

-- name: find_staged :many
-- The columns of the copies, in the order in which they are filled, and their types.
SELECT relname, attname, format_type(atttypid, atttypmod) AS type
  FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
 WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r' AND attnum > 0
   AND relname ~ '^(auth|authtoken|contentstore|subscriptions)_'
 ORDER BY relname, attnum

-- name: find_columns :many
-- The columns that a table of the old service has, if there is such a table.
SELECT attname FROM pg_attribute
 WHERE attrelid = to_regclass(%(relation)s) AND attnum > 0 AND NOT attisdropped

-- name: find_release :many
-- The migrations that distinguish the releases of the old service.
SELECT name FROM django_migrations WHERE app = 'contentstore'

-- name: find_domain :maybe
-- The host in the URLs that the old service gave to its files.
SELECT domain FROM django_site WHERE id = 1

-- name: sum_rows :one
-- The number of rows, and a checksum that does not depend on their order: the sum of both halves of
-- the MD5 of each row. It runs in the old database as well as in ours.
SELECT count(*), COALESCE(sum(('x' || substr(digest, 1, 16))::bit(64)::bigint), 0) AS high,
       COALESCE(sum(('x' || substr(digest, 17, 16))::bit(64)::bigint), 0) AS low
  FROM (SELECT md5(convert_to(one::text, 'UTF8')) AS digest FROM ({rows}) AS one {where}) AS digests

-- name: are_apart :many
-- A part of sum_rows: only rows that were left behind, or that differ from the result of reading
-- them.
WHERE EXISTS (SELECT FROM import_notes
               WHERE noun = {noun} AND (is_apart OR fate = 'left behind')
                 AND import_notes.id = one.id::text)

-- name: are_taken :many
-- A part of sum_rows: only rows that are here as they were read.
WHERE NOT EXISTS (SELECT FROM import_notes
                   WHERE noun = {noun} AND (is_apart OR fate = 'left behind')
                     AND import_notes.id = one.id::text)

-- name: count_notes :one
-- How many rows of a table were left behind, and how many were changed.
SELECT count(DISTINCT id) FILTER (WHERE fate = 'left behind') AS left_behind,
       count(DISTINCT id) FILTER (WHERE fate = 'changed') AS changed
  FROM import_notes WHERE noun = %(noun)s

-- name: list_notes :many
-- All notes about single rows, in order. The old values stay JSON text, because some values of
-- jsonb, such as numbers of thousands of digits, cannot be read everywhere.
SELECT noun, id, fate, reason, was::text FROM import_notes ORDER BY number

-- name: count_called :one
-- How many schedules the Scheduler was told to call.
SELECT count(*) FROM scheduler_schedules

-- name: list_files :many
-- The files of messages: their names in the old service, and their names here.
SELECT binary_contents.id, contentstore_binarycontent.content AS old_name, binary_contents.content
  FROM binary_contents JOIN contentstore_binarycontent USING (id) ORDER BY id

-- name: list_contents :many
-- The content of every message, and how it is sent.
SELECT m.id, m.messageset_id, s.short_name AS messageset, m.sequence_number, m.lang,
       m.text_content AS text, b.content AS file_name, s.content_type, s.channel
  FROM messages m
  JOIN messagesets s ON s.id = m.messageset_id
  LEFT JOIN binary_contents b ON b.id = m.binary_content_id
 ORDER BY m.id

-- name: list_waiting_prepends :many
-- The prepends of active subscriptions, and the text of their next message. If a prepend is not a
-- text, only its JSON type is returned.
SELECT s.id, CASE WHEN type = 'string' THEN s.metadata ->> 'prepend_next_delivery' END AS prepend,
       type, messagesets.content_type, messagesets.channel, next.text
  FROM subscriptions s
  JOIN messagesets ON messagesets.id = s.messageset_id
 CROSS JOIN LATERAL (
       SELECT CASE WHEN jsonb_typeof(s.metadata) = 'object'
                   THEN jsonb_typeof(s.metadata -> 'prepend_next_delivery') END AS type) given
  LEFT JOIN LATERAL (
       SELECT COALESCE(text_content, '') AS text FROM messages m
        WHERE m.messageset_id = s.messageset_id AND m.lang = s.lang
          AND m.sequence_number >= s.next_sequence_number
        ORDER BY m.sequence_number LIMIT 1) next ON true
 WHERE s.active AND NOT s.completed AND type <> 'null'
   AND s.metadata ->> 'prepend_next_delivery' <> ''
 ORDER BY s.id

-- name: list_large_metadata :many
-- The metadata with more than %(bytes)s bytes, or more than %(values)s values in them. A value has
-- three bytes at least, so that the values of small ones need not be counted.
SELECT name AS table_name, id, bytes, value_count
  FROM (SELECT 'messages' AS name, id::text, metadata FROM messages
        UNION ALL
        SELECT 'subscriptions', id::text, metadata FROM subscriptions) found
 CROSS JOIN LATERAL (SELECT octet_length(metadata::text) AS bytes OFFSET 0) size
 CROSS JOIN LATERAL (
       SELECT CASE WHEN bytes > 2 * %(values)s
                   THEN (SELECT count(*) - 1 FROM jsonb_path_query(metadata, 'strict $.**'))
                   ELSE 0 END AS value_count OFFSET 0) counted
 WHERE bytes > %(bytes)s OR value_count > %(values)s
 ORDER BY name, id

-- name: find_ended :exec
-- Active subscriptions that are beyond the end of their content, and their next sets. They complete
-- at a tick. Since no message of their set was sent from here, they do not go on to the next set.
CREATE TEMPORARY TABLE ended_subscriptions ON COMMIT DROP AS
SELECT s.id, s.identity, s.lang, s.next_sequence_number, s.process_status < 0 AS is_in_error,
       current.short_name AS messageset, following.id AS following_id,
       following.short_name AS following, following.default_schedule_id,
       NULL::uuid AS successor
  FROM subscriptions s
  JOIN (SELECT messageset_id, lang, max(sequence_number) AS last_number
          FROM messages GROUP BY messageset_id, lang) content USING (messageset_id, lang)
  JOIN messagesets current ON current.id = s.messageset_id
  LEFT JOIN messagesets following ON following.id = current.next_set_id
 WHERE s.active AND NOT s.completed AND s.next_sequence_number > last_number

-- name: go_on :exec
-- Complete those of them that have a next set, and begin that set, as settling their last message
-- would have done. Subscriptions in error are left alone.
WITH chained AS (
    INSERT INTO subscriptions (identity, lang, messageset_id, schedule_id, chained_from)
    SELECT identity, lang, following_id, default_schedule_id, id FROM ended_subscriptions
     WHERE following_id IS NOT NULL AND NOT is_in_error ORDER BY id
    RETURNING id, chained_from
), completed AS (
    UPDATE subscriptions
       SET completed = true, active = false, process_status = 2, updated_at = now()
      FROM chained WHERE subscriptions.id = chained.chained_from
)
UPDATE ended_subscriptions SET successor = chained.id
  FROM chained WHERE ended_subscriptions.id = chained.chained_from

-- name: list_ended :many
-- These subscriptions, and their next sets.
SELECT id, lang, next_sequence_number, is_in_error, messageset, following, successor
  FROM ended_subscriptions ORDER BY id
