-- What a tick would do. The statements that open a tick, take its members, and find their messages
-- have their parts in common with these.

-- name: group_members :many
-- reads
-- long
-- The members of a tick by set, language, number, and why they would be skipped. Those with a prepend
-- are groups of their own. (The planner knows that a boolean has two values, and so how few groups
-- there are. If they were grouped by the reason, they would be sorted.)
WITH {simulated_tick}
SELECT %(schedule_id)s::integer AS schedule_id, messageset_id, lang, next_sequence_number,
       is_prepended, CASE WHEN {is_skipped} THEN {why_skipped} END AS reason, count
  FROM (SELECT messageset_id, lang, next_sequence_number, is_prepended, is_settled, is_paused,
               is_spared, is_too_old, is_live, count(*) AS count
          FROM members
         GROUP BY messageset_id, lang, next_sequence_number, is_prepended, is_settled, is_paused,
                  is_spared, is_too_old, is_live) grouped;

-- name: list_prepended_members :many
-- reads
-- long
-- The next members of a tick that have a prepend and would not be skipped, by their ids. An index
-- finds those who have, or had, one.
WITH {simulated_tick}
SELECT s.id, s.identity, %(schedule_id)s::integer AS schedule_id, s.messageset_id, s.lang,
       s.next_sequence_number, {prepend}
  FROM judged s CROSS JOIN LATERAL (SELECT {given_prepend} AS type) given
 WHERE s.metadata ? 'prepend_next_delivery' AND s.is_prepended AND reason IS NULL
   AND s.id > %(after)s
 ORDER BY s.id LIMIT %(limit)s;

-- name: find_tick_to_follow :one
-- reads
-- The tick that is still being sent, and whose members would be skipped; null: there is none.
WITH {opening}
SELECT follows FROM opening;

-- name: find_examples :many
-- reads
-- long
-- Up to five members for each of these groups, which are large: the search ends early. A group has
-- a number, "n", its positions, the reason for which it would be skipped, and whether those are meant
-- who stay at the end of their set (null: all).
WITH {simulated_tick}
SELECT wanted.n, found.id, found.identity
  FROM jsonb_to_recordset(%(wanted)s) AS wanted (n integer, places jsonb, reason text, stay boolean)
 CROSS JOIN LATERAL (
       SELECT id, identity FROM judged s
        WHERE reason IS NOT DISTINCT FROM wanted.reason
          AND (wanted.reason IS NOT NULL OR wanted.stay IS NOT NULL OR NOT is_prepended)
          AND (wanted.stay IS NULL OR wanted.stay <> was_sent_of(s.id, s.messageset_id))
          AND wanted.places ? concat_ws(' ', messageset_id, lang, next_sequence_number)
        LIMIT 5) found;

-- name: find_rare_examples :many
-- reads
-- long
-- The same for groups of a few members: all of them are found in one pass.
WITH {simulated_tick}
SELECT n, id, identity
  FROM (SELECT wanted.n, s.id, s.identity, row_number() OVER (PARTITION BY wanted.n) AS place
          FROM judged s
          JOIN (SELECT n, reason AS why, stay, p.*
                  FROM jsonb_to_recordset(%(wanted)s)
                    AS w (n integer, positions jsonb, reason text, stay boolean)
                 CROSS JOIN LATERAL jsonb_to_recordset(w.positions)
                         AS p (messageset_id integer, lang text, next_sequence_number integer)
               ) wanted USING (messageset_id, lang, next_sequence_number)
         WHERE messageset_id = ANY(%(messagesets)s) AND reason IS NOT DISTINCT FROM wanted.why
           AND (wanted.why IS NOT NULL OR wanted.stay IS NOT NULL OR NOT is_prepended)
           AND (wanted.stay IS NULL OR wanted.stay <> was_sent_of(s.id, s.messageset_id))) ranked
 WHERE place <= 5;

-- name: find_examples_of_set :many
-- reads
-- long
-- The same of all active subscriptions of a set.
SELECT n, id, identity
  FROM (SELECT wanted.n, s.id, s.identity, row_number() OVER (PARTITION BY wanted.n) AS place
          FROM subscriptions s
          JOIN (SELECT n, stay, p.*
                  FROM jsonb_to_recordset(%(wanted)s)
                    AS w (n integer, positions jsonb, stay boolean)
                 CROSS JOIN LATERAL jsonb_to_recordset(w.positions)
                         AS p (messageset_id integer, lang text, next_sequence_number integer)
               ) wanted USING (messageset_id, lang, next_sequence_number)
         WHERE messageset_id = %(messageset_id)s AND s.active AND NOT s.completed
           AND s.process_status >= 0
           AND (wanted.stay IS NULL OR wanted.stay <> was_sent_of(s.id, s.messageset_id))) ranked
 WHERE place <= 5;

-- name: find_contents :many
-- reads
-- What is sent to a subscription in each of these positions, and whether its set ends with that.
SELECT {content}, m.text_content, b.content AS file_name, s.messageset_id AS of_set, s.lang AS of_lang, NOT ({has_more}) AS finishes
  FROM jsonb_to_recordset(%(positions)s)
    AS s (messageset_id integer, lang text, next_sequence_number integer)
 CROSS JOIN (SELECT 'next' AS kind, NULL::integer AS message_id, NULL::integer AS sequence_number,
                    now() AS owed_at) due
 CROSS JOIN LATERAL (SELECT s.messageset_id, s.lang) which
{content_of_due}
  LEFT JOIN binary_contents b ON b.id = m.binary_content_id
 CROSS JOIN LATERAL (SELECT COALESCE(m.sequence_number, place.number) AS sequence_number) settled;

-- name: count_members_who_stay :many
-- reads
-- long
-- Of the members of a tick that are at the end of their content in these places: how many do not go
-- on to the next set, and what the ledger adds to the reason then. The ledger is read only for them.
WITH {simulated_tick}, at_end AS MATERIALIZED (
    SELECT id, messageset_id, lang, next_sequence_number FROM judged
     WHERE reason IS NULL AND next_sequence_number = ANY(%(numbers)s)
       AND %(places)s::jsonb ? concat_ws(' ', messageset_id, lang, next_sequence_number)
)
SELECT messageset_id, lang, next_sequence_number, {no_next_set} AS added, count(*) AS count
  FROM at_end s WHERE NOT was_sent_of(s.id, s.messageset_id)
 GROUP BY messageset_id, lang, next_sequence_number;

-- name: count_those_who_stay :many
-- reads
-- long
-- The same of all active subscriptions on these schedules, whatever ticks they are members of.
WITH waiting AS MATERIALIZED (
    {waiting_ticks} AND is_too_old(waiting) IS NOT TRUE
), at_end AS MATERIALIZED (
    SELECT * FROM subscriptions
     WHERE active AND NOT completed AND process_status >= 0
       AND next_sequence_number = ANY(%(numbers)s)
       AND %(places)s::jsonb
           ? concat_ws(' ', schedule_id, messageset_id, lang, next_sequence_number)
)
SELECT s.schedule_id, s.messageset_id, s.lang, s.next_sequence_number, {no_next_set} AS added,
       {is_live}, count(*) AS count
  FROM at_end s
  LEFT JOIN sends live ON live.subscription_id = s.id AND live.kind = 'next'
 WHERE NOT was_sent_of(s.id, s.messageset_id)
 GROUP BY 1, 2, 3, 4, 5, 6;

-- name: group_subscriptions :many
-- reads
-- long
-- All active subscriptions, or those of a set, by schedule, set, language and number. Those of a
-- tick that is under way are live.
WITH waiting AS MATERIALIZED (
    {waiting_ticks} AND is_too_old(waiting) IS NOT TRUE
)
SELECT s.schedule_id, s.messageset_id, s.lang, s.next_sequence_number,
       COALESCE(s.metadata ->> 'prepend_next_delivery' <> '', false) AS is_prepended,
       {is_live},
       count(*) AS count
  FROM subscriptions s LEFT JOIN sends live ON live.subscription_id = s.id AND live.kind = 'next'
 WHERE s.active AND NOT s.completed AND s.process_status >= 0
  [AND s.messageset_id = %(messageset_id)s]
 GROUP BY 1, 2, 3, 4, 5, 6;

-- name: list_prepended :many
-- reads
-- long
-- The next active subscriptions that have a prepend, by their ids.
WITH waiting AS MATERIALIZED (
    {waiting_ticks} AND is_too_old(waiting) IS NOT TRUE
)
SELECT s.id, s.identity, s.schedule_id, s.messageset_id, s.lang, s.next_sequence_number, {prepend},
       {is_live}
  FROM subscriptions s
  LEFT JOIN sends live ON live.subscription_id = s.id AND live.kind = 'next'
 CROSS JOIN LATERAL (SELECT {given_prepend} AS type) given
 WHERE s.active AND NOT s.completed AND s.process_status >= 0
   AND s.metadata ? 'prepend_next_delivery' AND s.metadata ->> 'prepend_next_delivery' <> ''
   AND s.id > %(after)s
  [AND s.messageset_id = %(messageset_id)s]
 ORDER BY s.id LIMIT %(limit)s;

-- name: list_following_sets :many
-- reads
-- The set that follows each set that has one, and the schedule on which it begins.
SELECT current.id AS messageset_id, following.id AS next_set_id,
       following.default_schedule_id AS schedule_id
  FROM messagesets current JOIN messagesets following ON following.id = current.next_set_id;

-- name: find_pause_reason :one
-- reads
-- What the ledger says of members whom a pause skips.
SELECT {was_paused} AS reason;

-- name: find_holds :many
-- reads
-- Why a tick of the schedule could not leave now, for each of these sets of which it could not.
SELECT id AS messageset_id, hold_of(9223372036854775807, %(schedule_id)s, id) AS hold
  FROM messagesets
 WHERE id = ANY(%(messagesets)s)
   AND hold_of(9223372036854775807, %(schedule_id)s, id) IS NOT NULL
 ORDER BY id;

-- name: find_last_tick :maybe
-- reads
-- Of the last tick of the schedule whose members were all taken: how many of them had no address,
-- and how many were refused by the Message Sender.
SELECT tick.id, tick.due_at, tick.triggers AS members,
       (SELECT count(*) FROM ledger
         WHERE tick_id = tick.id AND outcome = 'failed' AND stage = 'address'
           AND settled_at >= tick.opened_at) AS without_address,
       (SELECT count(*) FROM ledger
         WHERE tick_id = tick.id AND outcome = 'refused' AND settled_at >= tick.opened_at)
           AS refused
  FROM (SELECT id, due_at, triggers, created_at - interval '1 day' AS opened_at FROM ticks
         WHERE schedule_id = %(schedule_id)s AND source <> 'single' AND state = 'expanded'
           AND triggers > 0
         ORDER BY id DESC LIMIT 1) tick;

-- name: find_rate :one
-- reads
-- How many messages a second were posted, by the last thousand of a day; null: there were few. And
-- how many sends are waiting.
SELECT (SELECT count(*) / NULLIF(EXTRACT(epoch FROM max(settled_at) - min(settled_at)), 0)::float8
          FROM (SELECT settled_at FROM ledger
                 WHERE settled_at >= now() - interval '1 day' AND stage = 'post'
                 ORDER BY settled_at DESC LIMIT 1000) latest
        HAVING count(*) >= 10) AS per_second,
       (SELECT count(*) FROM sends WHERE lane = 'tick' AND state <> 'unknown') AS waiting,
       now() AS now;

-- name: keep_simulation :one
-- For whoever opens a tick with the token.
INSERT INTO simulations (schedule_id, made_by, allowed_change, counts)
VALUES (%(schedule_id)s, %(made_by)s, %(allowed_change)s, %(counts)s) RETURNING token;

-- name: find_simulation :maybe
-- reads
-- A simulation that is not too old.
SELECT schedule_id, made_at, allowed_change, counts FROM simulations
 WHERE token = %(token)s AND made_at > now() - %(kept)s::interval;

-- name: forget_simulations :exec
-- Those that are too old.
DELETE FROM simulations WHERE made_at <= now() - %(kept)s::interval;
