-- Sends that were refused or failed. Their rows are made when sends are settled.

-- columns:
id, send_id, kind, stage, reason, subscription_id, initiated_at

-- name: list_failed_tasks :many
-- reads
-- page: id DESC
-- A page of them, newest first.
SELECT {columns} FROM failed_tasks
 WHERE true
  [AND kind = %(kind)s]
  [AND stage = %(stage)s]
  [AND subscription_id = %(subscription_id)s]
  [AND identity = %(identity)s]
  [AND strpos(lower(reason), lower(%(reason_contains)s::text)) > 0]
  [AND initiated_at >= %(initiated_after)s]
  [AND initiated_at <= %(initiated_before)s]
  [AND {failure_cause} = %(cause)s]
;

-- name: group_failed_tasks :many
-- reads
-- The newest %(most)s of them by stage and cause, the largest groups first; and how many of each have
-- failed on each of the last seven days of a time zone, the oldest day first.
WITH same AS MATERIALIZED (
    -- Most reasons are the same: the cause is found once for each.
    SELECT stage, reason, count(*) AS count, max(failed_at) AS last_at,
           (now() AT TIME ZONE %(zone)s)::date - (failed_at AT TIME ZONE %(zone)s)::date AS age
      FROM (SELECT stage, reason, failed_at FROM failed_tasks ORDER BY id DESC LIMIT %(most)s) last
     GROUP BY stage, reason, age
), caused AS (
    -- One row of each cause and day: those are few, even if each reason names a person.
    SELECT stage, cause, sum(count) AS count, max(last_at) AS last_at, age
      FROM (SELECT stage, {failure_cause} AS cause, count, last_at, age FROM same) reasons
     GROUP BY stage, cause, age
)
SELECT stage, cause, sum(count)::bigint AS count, max(last_at) AS last_at,
       ARRAY(SELECT COALESCE(sum(one.count) FILTER (WHERE one.age = day), 0)::bigint
               FROM unnest(array_agg(count), array_agg(age)) AS one (count, age),
                    generate_series(0, 6) day
              GROUP BY day ORDER BY day DESC) AS days
  FROM caused GROUP BY stage, cause ORDER BY sum(count) DESC, stage, cause LIMIT %(limit)s;

-- name: judge_failed_tasks :many
-- reads
-- long
-- What a requeue of those that match would do now: how many would be owed again (without a reason),
-- and how many would be skipped for which reason.
WITH taken AS MATERIALIZED (
    SELECT id, kind, subscription_id, messageset_id, next_sequence_number FROM failed_tasks
     WHERE true
      [AND id = %(failed_task_id)s]
      [AND kind = %(kind)s]
      [AND stage = %(stage)s]
      [AND subscription_id = %(subscription_id)s]
      [AND identity = %(identity)s]
      [AND strpos(lower(reason), lower(%(reason_contains)s::text)) > 0]
      [AND initiated_at >= %(initiated_after)s]
      [AND initiated_at <= %(initiated_before)s]
      [AND {failure_cause} = %(cause)s]
), judged AS MATERIALIZED (
    SELECT taken.id, taken.kind, taken.subscription_id, {requeue_refusal} AS refusal
      FROM taken LEFT JOIN subscriptions s ON s.id = taken.subscription_id
), placed AS (
    -- Of several that could be owed to one subscription, the oldest is.
    SELECT refusal, kind, subscription_id,
           row_number() OVER (PARTITION BY subscription_id, kind, refusal IS NULL ORDER BY id)
               AS place
      FROM judged
)
SELECT COALESCE(refusal,
                CASE WHEN place > 1
                       OR EXISTS (SELECT FROM sends
                                   WHERE sends.subscription_id = placed.subscription_id
                                     AND sends.kind = placed.kind OFFSET 0)
                     THEN {already_owed} END) AS reason,
       count(*) AS count
  FROM placed GROUP BY 1 ORDER BY 2 DESC, 1;

-- name: find_failed_task :maybe
-- reads
-- One of them.
SELECT {columns} FROM failed_tasks
 WHERE id = %(id)s;

-- name: find_newest_failed_task :maybe
-- reads
-- Where a requeue of all of them ends: it does not include sends that fail while it goes on.
SELECT id FROM failed_tasks ORDER BY id DESC LIMIT 1;

-- name: requeue_failed_tasks :one
-- fires: sends_queue
-- Owe up to %(limit)s of them again, oldest first, of those after %(after)s to %(up_to)s that
-- match. Each is a send of the same kind, and a new trigger in the tick that the single triggers
-- of this minute share. A next send is owed only if its subscription is still at the same number,
-- may be sent to, and is owed no other. If a send is not owed again, it is skipped, and the ledger
-- says why. In both cases, the row of the failed task is deleted. The
-- subscriptions are locked before they are judged, so that none of them steps meanwhile. If another
-- transaction has locked a subscription, the statement does not wait: the row stays, and is counted
-- as locked. Rows that another requeue has locked are waited for: when that has ended, they are
-- deleted, or are requeued here. So if fewer rows than the limit were seen, there are no more.
WITH chosen AS MATERIALIZED (
    SELECT id, subscription_id FROM failed_tasks
     WHERE id > %(after)s AND id <= %(up_to)s
      [AND kind = %(kind)s]
      [AND stage = %(stage)s]
      [AND subscription_id = %(subscription_id)s]
      [AND identity = %(identity)s]
      [AND strpos(lower(reason), lower(%(reason_contains)s::text)) > 0]
      [AND initiated_at >= %(initiated_after)s]
      [AND initiated_at <= %(initiated_before)s]
      [AND {failure_cause} = %(cause)s]
     ORDER BY id LIMIT %(limit)s FOR UPDATE
), standing AS MATERIALIZED (
    SELECT s.id, s.active, s.completed, s.process_status, s.messageset_id, s.next_sequence_number
      FROM subscriptions s WHERE s.id = ANY (ARRAY(SELECT subscription_id FROM chosen))
     ORDER BY s.id FOR NO KEY UPDATE OF s SKIP LOCKED
), locked AS MATERIALIZED (
    SELECT chosen.id FROM chosen
     WHERE NOT EXISTS (SELECT FROM standing WHERE standing.id = chosen.subscription_id)
       AND EXISTS (SELECT FROM subscriptions WHERE id = chosen.subscription_id OFFSET 0)
), taken AS (
    DELETE FROM failed_tasks
     WHERE id = ANY (ARRAY(SELECT id FROM chosen)) AND id <> ALL (ARRAY(SELECT id FROM locked))
    RETURNING *
), minute AS (
    INSERT INTO ticks (source, state, due_at, shard, triggers, expanded_at)
    SELECT 'single', 'expanded', date_trunc('minute', now()), pg_backend_pid() %% 16, count(*),
           now()
      FROM taken HAVING count(*) > 0
        ON CONFLICT (due_at, shard) WHERE source = 'single'
        DO UPDATE SET triggers = ticks.triggers + EXCLUDED.triggers
    RETURNING id
), judged AS (
    SELECT taken.*, {requeue_refusal} AS refusal
      FROM taken LEFT JOIN standing s ON s.id = taken.subscription_id
), owed AS (
    -- Many requeued sends must not delay single triggers, so they are in the lane of ticks. A
    -- resend, and a send that is requeued alone, is in the lane of single triggers.
    INSERT INTO sends (id, kind, lane, subscription_id, identity, tick_id, attempt,
                       first_attempt_at, message_id, messageset_id, sequence_number, lang)
    SELECT send_id, kind, CASE WHEN kind = 'resend' OR %(alone)s THEN 'single' ELSE 'tick' END,
           subscription_id, identity, minute.id, attempt, first_attempt_at, message_id,
           messageset_id, sequence_number, lang
      FROM judged, minute WHERE refusal IS NULL ORDER BY judged.id
        ON CONFLICT DO NOTHING
    RETURNING id
), skipped AS (
    INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,
                        messageset_id, sequence_number, lang, attempts, first_attempt_at)
    SELECT send_id, minute.id, kind, 'skipped', 'trigger',
           COALESCE(refusal, {already_owed}),
           subscription_id, identity, messageset_id, sequence_number, lang, attempt,
           first_attempt_at
      FROM judged, minute WHERE NOT EXISTS (SELECT FROM owed WHERE owed.id = judged.send_id)
    RETURNING reason
)
SELECT count(*) AS taken, (SELECT count(*) FROM owed) AS owed,
       (SELECT max(id) FROM chosen) AS last_id, (SELECT min(reason) FROM skipped) AS reason,
       (SELECT count(*) FROM chosen) AS seen, (SELECT count(*) FROM locked) AS locked
  FROM taken;

-- name: hold_failed_task :exec
-- Lock this one and its subscription before it is requeued alone: that waits for other
-- transactions.
WITH held AS MATERIALIZED (
    SELECT subscription_id FROM failed_tasks WHERE id = %(id)s FOR UPDATE
)
SELECT id FROM subscriptions WHERE id IN (SELECT subscription_id FROM held) FOR NO KEY UPDATE;
