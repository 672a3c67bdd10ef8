-- Changes that operators make to many subscriptions. Each statement is about a few of them, so that
-- none is slow or keeps a lock for long; the caller goes on after the last one.

-- name: count_subscriptions :one
-- reads
-- How many there are.
SELECT count(*) AS count FROM subscriptions;

-- name: count_stuck :many
-- reads
-- How many of those that match are in error, by message set and status. A null parameter is no
-- filter.
SELECT short_name, process_status, count(*) AS count
  FROM subscriptions JOIN messagesets ON messagesets.id = messageset_id
 WHERE process_status = ANY (%(statuses)s) AND process_status <> 0 AND NOT completed
   AND (%(messageset_id)s IS NULL OR messageset_id = %(messageset_id)s)
   AND (%(lang)s IS NULL OR lang = %(lang)s)
   AND (%(schedule_id)s IS NULL OR schedule_id = %(schedule_id)s)
 GROUP BY short_name, process_status ORDER BY short_name, process_status;

-- name: reset_stuck :many
-- fires: subscriptions_join
-- Make the next subscriptions that match and have this status ready again, in the order of the
-- index. They are locked before they are changed: one that was reset, or completed, meanwhile is
-- left unchanged, and so is one that another transaction has locked. One that gets an error again
-- meanwhile is not reset again. A null parameter is no filter.
WITH chosen AS MATERIALIZED (
    SELECT id, created_at FROM subscriptions
     WHERE process_status = %(status)s AND process_status <> 0 AND NOT completed
       AND (%(messageset_id)s IS NULL OR messageset_id = %(messageset_id)s)
       AND (%(lang)s IS NULL OR lang = %(lang)s)
       AND (%(schedule_id)s IS NULL OR schedule_id = %(schedule_id)s)
       AND (created_at, id) < (coalesce(%(from_time)s::timestamptz, 'infinity'),
                               coalesce(%(from_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
     ORDER BY created_at DESC, id DESC LIMIT %(limit)s
), held AS MATERIALIZED (
    SELECT id FROM subscriptions
     WHERE id = ANY (ARRAY(SELECT id FROM chosen)) AND process_status = %(status)s
       AND NOT completed
     ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), reset AS (
    UPDATE subscriptions SET process_status = 0, updated_at = now()
     WHERE id = ANY (ARRAY(SELECT id FROM held)) RETURNING id
)
SELECT chosen.id, chosen.created_at, reset.id IS NOT NULL AS is_reset
  FROM chosen LEFT JOIN reset ON reset.id = chosen.id
 ORDER BY chosen.created_at DESC, chosen.id DESC;

-- name: reach_place :maybe
-- reads
-- The last of the next %(limit)s subscriptions, from the newest on, which is about their order on
-- the disk; no row: there are no more.
SELECT created_at, id, count(*) OVER () AS rows
  FROM (SELECT created_at, id FROM subscriptions
         WHERE (created_at, id) < (coalesce(%(from_time)s::timestamptz, 'infinity'),
                                   coalesce(%(from_id)s::uuid,
                                            'ffffffff-ffff-ffff-ffff-ffffffffffff'))
         ORDER BY created_at DESC, id DESC LIMIT %(limit)s) AS next
 ORDER BY created_at, id LIMIT 1;

-- name: list_under_way :many
-- reads
-- The subscriptions up to there that match and are under way. A null parameter is no filter.
SELECT id FROM subscriptions
 WHERE (created_at, id) < (coalesce(%(from_time)s::timestamptz, 'infinity'),
                           coalesce(%(from_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
   AND (created_at, id) >= (%(to_time)s::timestamptz, %(to_id)s::uuid)
   AND active AND NOT completed AND messageset_id = ANY (%(messageset_ids)s)
   AND (%(lang)s IS NULL OR lang = %(lang)s)
   AND (%(schedule_id)s IS NULL OR schedule_id = %(schedule_id)s);

-- name: hold_subscriptions :many
-- Lock those of these subscriptions that no other transaction has locked, before they are judged.
SELECT id FROM subscriptions
 WHERE id = ANY (%(ids)s::uuid[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED;

-- name: decide_prepends :many
-- reads
-- Why a prepend cannot be set: the metadata are not an object, it would have more than %(limit)s
-- characters together with the next message, the metadata would have more than %(metadata_limit)s
-- bytes or %(value_limit)s values, or another prepend waits. A subscription that is no longer under
-- way, or has changed its set, is left out.
SELECT s.id, waiting, CASE WHEN jsonb_typeof(s.metadata) NOT IN ('object', 'null') THEN 'odd'
                           WHEN waiting = wanted THEN 'same'
                           WHEN content_type = 'text'
                            AND char_length(concat_ws(E'\n', wanted, NULLIF(next.text, '')))
                                > %(limit)s THEN 'long'
                           WHEN octet_length(changed::text) > %(metadata_limit)s
                             OR (SELECT count(*) FROM jsonb_path_query(changed, 'strict $.**'))
                                - 1 > %(value_limit)s THEN 'large'
                           WHEN waiting IS NOT NULL THEN 'other'
                           ELSE 'free' END AS verdict
  FROM subscriptions s
  JOIN messagesets ON messagesets.id = s.messageset_id
 CROSS JOIN LATERAL (
       SELECT CASE WHEN jsonb_typeof(s.metadata) = 'object'
                   THEN NULLIF(s.metadata ->> 'prepend_next_delivery', '') END AS waiting,
              replace(%(prepend)s::text, %(language)s::text, s.lang) AS wanted) AS prepend
 CROSS JOIN LATERAL (
       SELECT CASE WHEN jsonb_typeof(s.metadata) = 'object' THEN s.metadata ELSE '{}' END
              || jsonb_build_object('prepend_next_delivery', wanted) AS changed) AS following
  LEFT JOIN LATERAL (
       SELECT text_content AS text
         FROM next_place(s.messageset_id, s.lang, s.next_sequence_number) place
         JOIN messages ON messages.id = message_id) next ON true
 WHERE s.id = ANY (%(ids)s::uuid[]) AND s.active AND NOT s.completed
   AND s.messageset_id = ANY (%(messageset_ids)s)
 ORDER BY s.id;

-- name: set_prepends :exec
-- A prepend for the next delivery of each of these, which are locked.
UPDATE subscriptions
   SET metadata = CASE WHEN jsonb_typeof(metadata) = 'object' THEN metadata ELSE '{}' END
                  || jsonb_build_object('prepend_next_delivery',
                                        replace(%(prepend)s::text, %(language)s::text, lang)),
       updated_at = now()
 WHERE id = ANY (%(ids)s::uuid[]);
