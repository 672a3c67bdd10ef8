-- Active subscriptions that no tick reaches. The function silence_of() (see the migrations) says why.

-- columns:
silent.id, silent.subscription_id, silent.cause, silent.found_at, s.identity, s.messageset_id,
messagesets.short_name AS messageset, s.lang, s.schedule_id, s.next_sequence_number

-- name: list_silent :many
-- reads
-- page: id
-- A page of those that the last search found.
SELECT id FROM silent_subscriptions
 WHERE true
  [AND cause = %(cause)s]
-- shown:
SELECT {columns} FROM page
  JOIN silent_subscriptions silent ON silent.id = page.id
  JOIN subscriptions s ON s.id = silent.subscription_id
  JOIN messagesets ON messagesets.id = s.messageset_id;

-- name: find_one_silent :maybe
-- reads
-- One of them.
SELECT {columns} FROM silent_subscriptions silent
  JOIN subscriptions s ON s.id = silent.subscription_id
  JOIN messagesets ON messagesets.id = s.messageset_id
 WHERE silent.id = %(id)s;

-- name: find_silent :maybe
-- Look at the next %(limit)s subscriptions after this id, and record which of them are silent; the
-- records of an earlier search about the others are deleted. Returns the last one that was looked
-- at, how many of them are active, and how many are silent for which cause; no row: there are no
-- more. A subscription that is deleted at this moment, or that another transaction has locked and
-- may delete, is not recorded; the next search finds it.
WITH members AS MATERIALIZED (
    SELECT id, messageset_id, lang, schedule_id
      FROM subscriptions WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
), judged AS MATERIALIZED (
    SELECT * FROM silence_of(ARRAY(SELECT id FROM members), %(never)s::integer[])
), held AS MATERIALIZED (
    SELECT s.id, judged.cause FROM judged JOIN subscriptions s ON s.id = judged.subscription_id
     WHERE judged.cause IS NOT NULL ORDER BY s.id FOR KEY SHARE OF s SKIP LOCKED
), forgotten AS (
    DELETE FROM silent_subscriptions old USING members
     WHERE old.subscription_id = members.id
       AND NOT EXISTS (SELECT FROM held WHERE held.id = members.id)
), noted AS (
    INSERT INTO silent_subscriptions AS old (subscription_id, cause)
    SELECT id, cause FROM held ORDER BY id
        ON CONFLICT (subscription_id) DO UPDATE
       SET cause = EXCLUDED.cause, found_at = EXCLUDED.found_at WHERE old.cause <> EXCLUDED.cause
), grouped AS (
    SELECT judged.cause, messageset_id, lang, schedule_id, count(*) AS count
      FROM judged JOIN members ON members.id = judged.subscription_id
     WHERE judged.cause IS NOT NULL GROUP BY judged.cause, messageset_id, lang, schedule_id
)
SELECT (SELECT id FROM members ORDER BY id DESC LIMIT 1) AS last,
       (SELECT count(*) FROM judged) AS active,
       (SELECT COALESCE(jsonb_agg(grouped), '[]') FROM grouped) AS counts
 WHERE EXISTS (SELECT FROM members);

-- name: look_for_silent :many
-- reads
-- Look at the next %(limit)s subscriptions after this id, and return those that are silent. Nothing
-- is recorded. If none is silent, there is a row of nulls; if there are no more subscriptions, there
-- is no row.
WITH members AS MATERIALIZED (
    SELECT id FROM subscriptions WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
), judged AS MATERIALIZED (
    SELECT * FROM silence_of(ARRAY(SELECT id FROM members), %(never)s::integer[])
)
SELECT looked_at.last, looked_at.active, silent.*
  FROM (SELECT (SELECT id FROM members ORDER BY id DESC LIMIT 1) AS last,
               (SELECT count(*) FROM judged) AS active) looked_at
  LEFT JOIN (
       SELECT judged.subscription_id, judged.cause, s.identity, s.messageset_id,
              messagesets.short_name AS messageset, s.lang, s.schedule_id, s.next_sequence_number
         FROM judged
         JOIN subscriptions s ON s.id = judged.subscription_id
         JOIN messagesets ON messagesets.id = s.messageset_id
        WHERE judged.cause IS NOT NULL) silent ON true
 WHERE looked_at.last IS NOT NULL ORDER BY silent.subscription_id;

-- name: keep_counts :exec
-- The result of a whole search; it replaces the one before.
INSERT INTO silent_counts (active, counts) VALUES (%(active)s, %(counts)s)
    ON CONFLICT (is_only_row) DO UPDATE
   SET searched_at = EXCLUDED.searched_at, active = EXCLUDED.active, counts = EXCLUDED.counts;

-- name: find_counts :maybe
-- reads
-- The result of the last search.
SELECT searched_at, active, counts FROM silent_counts;
