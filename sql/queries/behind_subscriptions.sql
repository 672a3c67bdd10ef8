-- Subscriptions that have had fewer messages than their schedules have asked for since they began:
-- they are found, listed, and repaired. The function walk() (see the migrations) computes the
-- expected path of a subscription.

-- columns:
behind.id, subscription_id, s.identity, messages_behind, current_messageset_id,
reached.short_name AS current_messageset_name, current_sequence_number, expected_messageset_id,
expected.short_name AS expected_messageset_name, expected_sequence_number, behind.created_at

-- name: list_behind :many
-- reads
-- page: created_at DESC, id DESC
-- A page of them, newest first.
SELECT id, created_at FROM behind_subscriptions
 WHERE true
  [AND current_messageset_id = %(messageset_id)s]
  [AND messages_behind >= %(at_least)s]
-- shown:
SELECT {columns} FROM page
  JOIN behind_subscriptions behind ON behind.id = page.id
  JOIN subscriptions s ON s.id = subscription_id
  JOIN messagesets reached ON reached.id = current_messageset_id
  JOIN messagesets expected ON expected.id = expected_messageset_id;

-- name: find_one_behind :maybe
-- reads
-- One of them.
SELECT {columns} FROM behind_subscriptions behind
  JOIN subscriptions s ON s.id = subscription_id
  JOIN messagesets reached ON reached.id = current_messageset_id
  JOIN messagesets expected ON expected.id = expected_messageset_id
 WHERE behind.id = %(id)s;

-- name: forget_behind :exec
-- These were repaired: they leave the list before the next search.
DELETE FROM behind_subscriptions WHERE subscription_id = ANY(%(ids)s::uuid[]);

-- name: find_behind :maybe
-- Look at the next %(limit)s subscriptions after this id, active or not, and record which of those
-- under way are behind; the records of an earlier search about them are deleted. The expected
-- number is the end of the expected path now; a subscription is behind by the number of messages on
-- the path that it has not had. Returns the last one that was looked at; no row: there are no more.
WITH members AS MATERIALIZED (
    SELECT id, messageset_id, next_sequence_number
      FROM subscriptions WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
), legs AS MATERIALIZED (
    SELECT * FROM expected_path(%(search_id)s, ARRAY(SELECT id FROM members))
), behind AS MATERIALIZED (
    SELECT subscription_id AS id, sum(missed) AS messages, max(step) AS steps
      FROM legs GROUP BY subscription_id HAVING sum(missed) > 0
), held AS MATERIALIZED (
    -- A subscription that is deleted at this moment is not recorded. The same is true for
    -- one that another transaction has locked and may delete; the next search will find it.
    SELECT s.id FROM behind JOIN subscriptions s ON s.id = behind.id
     ORDER BY s.id FOR KEY SHARE OF s SKIP LOCKED
), forgotten AS (
    DELETE FROM behind_subscriptions old USING members
     WHERE old.subscription_id = members.id
       AND NOT EXISTS (SELECT FROM behind WHERE behind.id = members.id)
), noted AS (
    INSERT INTO behind_subscriptions (subscription_id, messages_behind, current_messageset_id,
                                      current_sequence_number, expected_messageset_id,
                                      expected_sequence_number)
    SELECT m.id, behind.messages, m.messageset_id, m.next_sequence_number, final.messageset_id,
           final.number
      FROM held
      JOIN behind ON behind.id = held.id
      JOIN members m ON m.id = held.id
      JOIN legs final ON final.subscription_id = held.id AND final.step = behind.steps
     ORDER BY m.id
        ON CONFLICT (subscription_id) DO UPDATE
       SET messages_behind = EXCLUDED.messages_behind,
           current_messageset_id = EXCLUDED.current_messageset_id,
           current_sequence_number = EXCLUDED.current_sequence_number,
           expected_messageset_id = EXCLUDED.expected_messageset_id,
           expected_sequence_number = EXCLUDED.expected_sequence_number,
           created_at = EXCLUDED.created_at
)
SELECT id AS last FROM members ORDER BY id DESC LIMIT 1;

-- name: look_for_behind :many
-- reads
-- Look at the next %(limit)s subscriptions after this id, and return those that are behind, with
-- the effect that a repair would have; a null parameter is no filter. Nothing is recorded.
-- held_back says why a subscription cannot be moved on now, unsendable why it cannot be sent to. If
-- none is behind, there is a row of nulls; if there are no more subscriptions, there is no row.
WITH members AS MATERIALIZED (
    SELECT id, messageset_id, schedule_id
      FROM subscriptions WHERE id > %(after)s
      [AND id = ANY(%(ids)s::uuid[])]
     ORDER BY id LIMIT %(limit)s
), legs AS MATERIALIZED (
    SELECT * FROM expected_path(%(search_id)s, ARRAY(
        SELECT id FROM members
         WHERE (%(messageset_id)s IS NULL OR messageset_id = %(messageset_id)s)
           AND (%(schedule_id)s IS NULL OR schedule_id = %(schedule_id)s)))
), behind AS MATERIALIZED (
    SELECT subscription_id AS id, sum(missed) AS messages, max(step) AS steps,
           sum(missed) FILTER (WHERE step = 1) AS missed_here,
           jsonb_agg(jsonb_build_object(
               'messageset_id', messageset_id, 'messageset_name', messagesets.short_name,
               'next_sequence_number', number, 'completed', finishes,
               'since', to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'))
               ORDER BY step) AS way
      FROM legs JOIN messagesets ON messagesets.id = messageset_id
     GROUP BY subscription_id HAVING sum(missed) > 0
), page AS (
    SELECT s.id, s.identity, s.lang, s.messageset_id, here.short_name AS messageset_name,
           s.next_sequence_number, behind.messages::integer AS messages_behind, behind.way,
           held_back,
           COALESCE(held_back_now, CASE WHEN behind.missed_here = 0
                                  THEN 'no message of its set is left to send' END) AS unsendable
      FROM behind
      JOIN subscriptions s ON s.id = behind.id
      JOIN messagesets here ON here.id = s.messageset_id,
           LATERAL (SELECT CASE WHEN s.process_status < 0 THEN 'the subscription is in error'
                                WHEN EXISTS (SELECT FROM sends
                                              WHERE sends.subscription_id = s.id
                                                AND sends.kind = 'next')
                                THEN 'a message is already owed to the subscription'
                           END AS held_back_now) now,
           LATERAL (SELECT COALESCE(held_back_now, CASE
                        WHEN behind.steps > 1 AND EXISTS (
                                 SELECT FROM subscriptions later WHERE later.chained_from = s.id)
                        THEN 'the next set was begun already' END) AS held_back) move
)
SELECT looked_at.last, looked_at.count AS looked_at, page.*
  FROM (SELECT (array_agg(id ORDER BY id DESC))[1] AS last, count(*) AS count FROM members)
       looked_at
  LEFT JOIN page ON true
 WHERE looked_at.count > 0 ORDER BY page.id;

-- name: lock_behind :many
-- Lock those of these subscriptions that no other transaction has locked, before they are judged
-- again: none of them steps meanwhile, and the next statement sees those that have stepped before.
SELECT id FROM subscriptions
 WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED;

-- name: fast_forward :one
-- fires: owe_scheduler_call_of_changed, owe_scheduler_call_of_new, subscriptions_join
-- Move those of these subscriptions that are behind to where they should be, and send nothing. A
-- subscription that is in error, or is owed a message, or has gone on already, is left unchanged.
-- Each set on the path that would be finished ends as if its last message had been settled:
-- completed, and followed by a subscription to the next set, which began when that message was due.
-- The ledger gets a row for each subscription on the path.
WITH legs AS MATERIALIZED (
    SELECT path.*, CASE WHEN step = 1 THEN subscription_id ELSE gen_random_uuid() END AS id
      FROM expected_path(%(search_id)s, %(ids)s::uuid[]) path
), behind AS MATERIALIZED (
    SELECT subscription_id AS id, sum(missed) AS messages, max(step) AS steps
      FROM legs GROUP BY subscription_id HAVING sum(missed) > 0
), judged AS MATERIALIZED (
    SELECT behind.*, s.identity, s.lang, s.next_sequence_number,
           s.process_status < 0
           OR EXISTS (SELECT FROM sends
                       WHERE sends.subscription_id = s.id AND sends.kind = 'next')
           OR behind.steps > 1 AND EXISTS (
                  SELECT FROM subscriptions later WHERE later.chained_from = s.id) AS is_held_back
      FROM behind JOIN subscriptions s ON s.id = behind.id
), walked AS MATERIALIZED (
    SELECT legs.*, judged.identity, judged.lang, judged.steps,
           CASE WHEN step = 1 THEN judged.next_sequence_number ELSE 1 END AS moved_from,
           lag(legs.id) OVER steps_in_order AS chained_from,
           format('from %%s %%s to %%s %%s, %%s behind',
                  first_value(set.short_name) OVER steps_in_order, judged.next_sequence_number,
                  last_value(set.short_name) OVER steps_in_order,
                  last_value(legs.number) OVER steps_in_order, judged.messages) AS move
      FROM judged
      JOIN legs ON legs.subscription_id = judged.id
      JOIN messagesets set ON set.id = legs.messageset_id
     WHERE NOT is_held_back
    WINDOW steps_in_order AS (PARTITION BY legs.subscription_id ORDER BY step
                              ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
), moved AS (
    UPDATE subscriptions s
       SET next_sequence_number = walked.number, completed = walked.finishes,
           active = NOT walked.finishes,
           process_status = CASE WHEN walked.finishes THEN 2 ELSE s.process_status END,
           updated_at = now()
      FROM walked WHERE step = 1 AND s.id = walked.id
), begun AS (
    INSERT INTO subscriptions (id, identity, lang, messageset_id, schedule_id,
                               next_sequence_number, completed, active, process_status,
                               chained_from, created_at)
    SELECT id, identity, lang, messageset_id, schedule_id, number, finishes, NOT finishes,
           CASE WHEN finishes THEN 2 ELSE 0 END, chained_from, LEAST(since, now())
      FROM walked WHERE step > 1 ORDER BY subscription_id, step
), recorded AS (
    INSERT INTO ledger (send_id, kind, outcome, stage, reason, subscription_id, identity,
                        messageset_id, sequence_number, lang, actor)
    SELECT gen_random_uuid(), 'move', 'moved', 'trigger',
           concat_ws(': ', move, NULLIF(%(reason)s, '')), id, identity, messageset_id, moved_from,
           lang, %(actor)s
      FROM walked ORDER BY subscription_id, step
)
SELECT count(*) FILTER (WHERE NOT is_held_back) AS done,
       count(*) FILTER (WHERE is_held_back) AS skipped,
       COALESCE(sum(steps - 1) FILTER (WHERE NOT is_held_back), 0)::integer AS begun
  FROM judged;

-- name: owe_to_behind :one
-- fires: sends_queue
-- Owe the next message to those of these subscriptions that are behind. A subscription that is in
-- error, has no message left in its set, or is owed one already, is left unchanged. The sends share
-- the tick of the single triggers of this minute, but do not delay those.
WITH legs AS MATERIALIZED (
    SELECT * FROM expected_path(%(search_id)s, %(ids)s::uuid[])
), behind AS MATERIALIZED (
    SELECT subscription_id AS id, sum(missed) FILTER (WHERE step = 1) AS missed_here
      FROM legs GROUP BY subscription_id HAVING sum(missed) > 0
), judged AS MATERIALIZED (
    SELECT s.id, s.identity, s.messageset_id, s.lang,
           s.process_status >= 0 AND missed_here > 0
           AND NOT EXISTS (SELECT FROM sends
                            WHERE sends.subscription_id = s.id AND sends.kind = 'next') AS is_meant
      FROM behind JOIN subscriptions s ON s.id = behind.id
), minute AS (
    INSERT INTO ticks (source, state, due_at, shard, triggers, expanded_at)
    SELECT 'single', 'expanded', date_trunc('minute', now()), pg_backend_pid() %% 16, count(*),
           now()
      FROM judged WHERE is_meant HAVING count(*) > 0
        ON CONFLICT (due_at, shard) WHERE source = 'single'
        DO UPDATE SET triggers = ticks.triggers + EXCLUDED.triggers
    RETURNING id
), owed AS (
    INSERT INTO sends (kind, lane, subscription_id, identity, tick_id, actor)
    SELECT 'next', 'tick', judged.id, identity, minute.id, %(actor)s
      FROM judged, minute WHERE is_meant ORDER BY judged.id
        ON CONFLICT (subscription_id, kind) DO NOTHING
    RETURNING subscription_id
), skipped AS (
    -- A tick came in between.
    INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,
                        messageset_id, lang, actor)
    SELECT gen_random_uuid(), minute.id, 'next', 'skipped', 'trigger',
           'a message is already owed to the subscription', judged.id, identity, messageset_id,
           lang, %(actor)s
      FROM judged, minute
     WHERE is_meant AND NOT EXISTS (SELECT FROM owed WHERE subscription_id = judged.id)
)
SELECT count(owed.subscription_id) AS done,
       count(*) - count(owed.subscription_id) AS skipped, 0 AS begun,
       CASE WHEN count(owed.subscription_id) > 0 THEN pg_notify('sbm_sends', '') END
  FROM judged LEFT JOIN owed ON owed.subscription_id = judged.id;
