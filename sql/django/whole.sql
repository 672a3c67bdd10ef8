-- What the import of the old service's data does once, before, between and after the tables.
-- Where a statement has {braces}, a table's own statement is put in.

-- name: set_reading :exec
-- Both sides write times in the same way, in UTC; nothing but the operator ends an import. Of what is
-- imported the Scheduler is not told: it knows already, or is brought in line afterwards. What an
-- old server does not know is left out. Tables that the search path does not show are looked for in
-- public. All of it is for one transaction: the old database may be
-- behind a pooler, where others would get what is set for a session.
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
-- Nobody writes, or reads half of it, before it is whole. A daemon that is at work is not waited for.
SET LOCAL lock_timeout = '5s';
LOCK TABLE schedules, messagesets, binary_contents, messages, subscriptions, sends, ledger, ticks,
           failed_tasks, resend_requests, estimated_sends, behind_subscriptions, doubles, users,
           tokens, user_permissions, scheduler_calls, scheduler_schedules IN ACCESS EXCLUSIVE MODE;
SET LOCAL lock_timeout = 0;
SET LOCAL maintenance_work_mem = '256MB'

-- name: find_indexes :many
-- The indexes of a table that are no part of a constraint, and how each is made. A million rows come
-- in twice as fast when these are made after them.
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
 WHERE indrelid = %(table)s::regclass
   AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)

-- name: find_filled :many
-- What keeps a database from being an empty one. Users and tokens do not: an operator makes her own
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
-- The operator's own users leave their ids to those who had them in the old service. Answers that
-- were kept for them would be given to those, and speak of rows that are gone.
DELETE FROM idempotency_keys;
DELETE FROM scheduler_callbacks;
CREATE TEMPORARY TABLE kept_users ON COMMIT DROP AS SELECT * FROM users;
CREATE TEMPORARY TABLE kept_tokens ON COMMIT DROP AS SELECT * FROM tokens;
CREATE TEMPORARY TABLE kept_permissions ON COMMIT DROP AS SELECT * FROM user_permissions;
CREATE TEMPORARY TABLE kept_requests ON COMMIT DROP AS
SELECT id, requested_by FROM tasks WHERE requested_by IS NOT NULL;
DELETE FROM users

-- name: give_back :exec
-- The operator's own users, once the ids are given out. One who has the name of an imported user is
-- that user, with the rights and tokens of both, and the password given here, if there is one.
-- Whoever was inactive stays so.
INSERT INTO users (username, email, is_admin, is_active, created_at, password)
SELECT username, email, is_admin, is_active, created_at, password FROM kept_users
    ON CONFLICT (username) DO UPDATE
       SET is_admin = users.is_admin OR EXCLUDED.is_admin,
           password = COALESCE(EXCLUDED.password, users.password);
INSERT INTO tokens (user_id, digest, created_at, revoked_at)
SELECT users.id, digest, kept_tokens.created_at, revoked_at
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

-- name: find_room :one
-- The first id of the widest gap, where the numbering goes on: nearly always that is behind the
-- highest. A row that was given the last id there is must not keep others from being made.
SELECT id + 1 FROM (SELECT id, lead(id, 1, 2147483648) OVER (ORDER BY id) - id AS room
                      FROM (SELECT id::bigint FROM {table} WHERE id > 0 UNION ALL SELECT 0) AS taken
                   ) AS gaps
 ORDER BY room DESC LIMIT 1

-- name: find_merged :many
-- The operator's users who have the name of an imported one.
SELECT username FROM kept_users JOIN users USING (username) ORDER BY username

-- name: make_notes :exec
-- What is to be reported of single rows: fate is "left behind" or "changed". A row is apart where
-- its content here is not what reading it there makes of it.
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
-- That a time of a row is another one, and what it was.
INSERT INTO import_notes (noun, id, fate, reason, was)
VALUES (%(noun)s, %(id)s, 'changed', 'a time beyond the years 1 to 9999 is at their end', %(was)s)

-- name: find_staged :many
-- The columns of the copies, as they are to be filled, and their types.
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
-- The migrations that tell one release of the old service from another.
SELECT name FROM django_migrations WHERE app = 'contentstore'

-- name: find_domain :maybe
-- The host under which the old service gave out the addresses of its files.
SELECT domain FROM django_site WHERE id = 1

-- name: sum_rows :one
-- How many rows there are, and a checksum over them that does not depend on their order: both
-- halves of the MD5 of each, added up. It runs in the old database as well as in ours.
SELECT count(*), COALESCE(sum(('x' || substr(digest, 1, 16))::bit(64)::bigint), 0) AS high,
       COALESCE(sum(('x' || substr(digest, 17, 16))::bit(64)::bigint), 0) AS low
  FROM (SELECT md5(convert_to(one::text, 'UTF8')) AS digest FROM ({rows}) AS one {where}) AS digests

-- name: are_apart :many
-- A part of sum_rows: only rows that were left behind, or mended beyond what reading them makes of them.
WHERE EXISTS (SELECT FROM import_notes
               WHERE noun = {noun} AND (is_apart OR fate = 'left behind')
                 AND import_notes.id = one.id::text)

-- name: are_taken :many
-- A part of sum_rows: only those that are here as they were read.
WHERE NOT EXISTS (SELECT FROM import_notes
                   WHERE noun = {noun} AND (is_apart OR fate = 'left behind')
                     AND import_notes.id = one.id::text)

-- name: count_notes :one
-- How many rows of a table were left behind, and how many were changed on the way.
SELECT count(DISTINCT id) FILTER (WHERE fate = 'left behind') AS left_behind,
       count(DISTINCT id) FILTER (WHERE fate = 'changed') AS changed
  FROM import_notes WHERE noun = %(noun)s

-- name: list_notes :many
-- All that is to be reported of single rows, in order. What was there stays JSON text: not all that
-- jsonb holds, such as numbers of thousands of digits, can be read everywhere.
SELECT noun, id, fate, reason, was::text FROM import_notes ORDER BY number

-- name: count_called :one
-- How many schedules the Scheduler has been told to call.
SELECT count(*) FROM scheduler_schedules

-- name: list_files :many
-- The files of messages: as the old service called them, and as they are called here.
SELECT binary_contents.id, contentstore_binarycontent.content AS old_name, binary_contents.content
  FROM binary_contents JOIN contentstore_binarycontent USING (id) ORDER BY id

-- name: list_contents :many
-- What every message carries, and how it goes out.
SELECT m.id, m.messageset_id, s.short_name AS messageset, m.sequence_number, m.lang,
       m.text_content AS text, b.content AS file_name, s.content_type, s.channel
  FROM messages m
  JOIN messagesets s ON s.id = m.messageset_id
  LEFT JOIN binary_contents b ON b.id = m.binary_content_id
 ORDER BY m.id

-- name: list_waiting_prepends :many
-- What is to go out before the next message of those under way, and the text of that message. What
-- is not a text has no value here, only its JSON type.
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

-- name: find_ended :exec
-- Those under way that are beyond the end of their content, and what follows their set. They
-- complete at a tick; without a send of their set from here they do not go on.
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
-- Complete those of them whose set is followed by another one, and begin that: as settling their
-- last message would have. Whoever is in error is left alone.
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
-- Those of them, and what follows them.
SELECT id, lang, next_sequence_number, is_in_error, messageset, following, successor
  FROM ended_subscriptions ORDER BY id
