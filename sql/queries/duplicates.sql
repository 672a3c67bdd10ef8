-- Subscriptions that an identity has twice. The table is read identity by identity, so that all
-- subscriptions of one identity are seen together. They are judged after they were locked.

-- name: reach_identity :one
-- reads
-- The identity at which the next %(limit)s rows end; null: there are no more.
SELECT max(identity) AS reach, count(*) AS rows
  FROM (SELECT identity FROM subscriptions WHERE identity > %(after)s
         ORDER BY identity LIMIT %(limit)s) AS next;

-- name: list_candidates :many
-- reads
-- Of these identities, the subscriptions that match if there is another one that matches, too: both
-- neither completed nor ended, and with the same identity, set, and other columns that are
-- compared. A null parameter is no filter.
SELECT id FROM (
    SELECT id, count(*) OVER (
               PARTITION BY identity, messageset_id, CASE WHEN %(by_lang)s THEN lang END,
                            CASE WHEN %(by_schedule)s THEN schedule_id END) AS members
      FROM subscriptions
     WHERE identity > %(after)s AND identity <= %(reach)s AND active AND NOT completed
       AND (%(messageset_id)s IS NULL OR messageset_id = %(messageset_id)s)
       AND (%(lang)s IS NULL OR lang = %(lang)s)
       AND (%(schedule_id)s IS NULL OR schedule_id = %(schedule_id)s)) AS candidates
 WHERE members > 1;

-- name: hold_owed_sends :many
-- Lock the owed next sends of these: no daemon can claim them until this transaction ends. Sends
-- that a daemon is claiming at this moment are skipped.
SELECT id FROM sends
 WHERE subscription_id = ANY (%(ids)s::uuid[]) AND kind = 'next' AND state = 'owed'
   FOR UPDATE SKIP LOCKED;

-- name: lock_subscriptions :exec
-- Lock these subscriptions, before they are judged.
SELECT id FROM subscriptions WHERE id = ANY (%(ids)s::uuid[]) ORDER BY id FOR UPDATE;

-- name: decide_duplicates :many
-- reads
-- Which of these is a duplicate of which. Subscriptions that were made soon after one another are
-- the same one, made again; without a limit, after any time. One that is in error is not kept if
-- another is not, because nothing is sent to one in error. is_busy: more is under way than an owed
-- next send (which is locked, if this transaction locks them), so that the next number is not
-- certain yet.
WITH members AS MATERIALIZED (
    SELECT id, identity, messageset_id, CASE WHEN %(by_lang)s THEN lang END AS lang,
           CASE WHEN %(by_schedule)s THEN schedule_id END AS schedule_id,
           process_status < 0 AS is_in_error, next_sequence_number, created_at,
           EXISTS (SELECT FROM sends
                    WHERE sends.subscription_id = subscriptions.id
                      AND sends.kind = 'next') AS is_in_process,
           EXISTS (SELECT FROM sends
                    WHERE sends.subscription_id = subscriptions.id
                      AND NOT (sends.kind = 'next' AND sends.state = 'owed'
                               AND (%(held)s::uuid[] IS NULL
                                    OR sends.id = ANY (%(held)s::uuid[])))) AS is_busy
      FROM subscriptions
     WHERE id = ANY (%(ids)s::uuid[]) AND active AND NOT completed
       AND (%(messageset_id)s IS NULL OR messageset_id = %(messageset_id)s)
       AND (%(lang)s IS NULL OR lang = %(lang)s)
       AND (%(schedule_id)s IS NULL OR schedule_id = %(schedule_id)s)
), spaced AS (
    SELECT *, created_at - lag(created_at) OVER born > %(within)s::interval AS is_anew
      FROM members
    WINDOW born AS (PARTITION BY identity, messageset_id, lang, schedule_id
                        ORDER BY created_at, id)
), bunched AS (
    SELECT *, count(*) FILTER (WHERE is_anew) OVER born AS bunch
      FROM spaced
    WINDOW born AS (PARTITION BY identity, messageset_id, lang, schedule_id
                        ORDER BY created_at, id)
), ranked AS (
    SELECT id, identity, is_busy, first_value(id) OVER best AS kept_id,
           first_value(next_sequence_number) OVER best AS kept_number,
           max(next_sequence_number) OVER (
               PARTITION BY identity, messageset_id, lang, schedule_id, bunch) AS furthest
      FROM bunched
    WINDOW best AS (PARTITION BY identity, messageset_id, lang, schedule_id, bunch
                        ORDER BY is_in_error,
                                 CASE WHEN %(keep)s = 'furthest' THEN -next_sequence_number END,
                                 CASE WHEN %(keep)s = 'newest' THEN created_at END DESC,
                                 CASE WHEN %(keep)s = 'furthest' THEN NOT is_in_process END,
                                 created_at, id)
)
SELECT * FROM ranked WHERE id <> kept_id ORDER BY identity, id;

-- name: remove_duplicates :one
-- fires: owe_scheduler_call_of_changed, owe_scheduler_call_of_deleted, subscriptions_join
-- Remove the duplicates, or only end them. Their live sends are skipped. The subscription that is
-- kept goes on from the highest number among them, so that no message is sent again. All of them,
-- and their sends, are locked.
WITH decisions AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(decisions)s)
        AS v (id uuid, kept_id uuid, kept_number integer, furthest integer)
), removed AS (
    DELETE FROM subscriptions s
     WHERE NOT %(deactivate)s AND s.id = ANY (ARRAY(SELECT id FROM decisions)) RETURNING s.*
), ended AS (
    UPDATE subscriptions s SET active = false, updated_at = now()
     WHERE %(deactivate)s AND s.id = ANY (ARRAY(SELECT id FROM decisions)) RETURNING s.*
), gone AS (
    SELECT * FROM removed
     UNION ALL
    SELECT * FROM ended
), dropped AS (
    DELETE FROM sends
     WHERE id = ANY (%(held)s::uuid[])
       AND subscription_id = ANY (ARRAY(SELECT id FROM decisions)) RETURNING *
), skipped AS (
    INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,
                        messageset_id, lang, attempts, owed_at, first_attempt_at, actor)
    SELECT dropped.id, dropped.tick_id, dropped.kind, 'skipped', 'trigger',
           'the subscription was removed as a duplicate', gone.id, gone.identity,
           gone.messageset_id, gone.lang, dropped.attempt, dropped.owed_at,
           dropped.first_attempt_at, %(actor)s
      FROM dropped JOIN gone ON gone.id = dropped.subscription_id
), moved AS (
    UPDATE subscriptions s SET next_sequence_number = kept.furthest, updated_at = now()
      FROM (SELECT DISTINCT kept_id, kept_number, furthest FROM decisions
             WHERE kept_number < furthest) AS kept
     WHERE s.id = kept.kept_id
    RETURNING s.id, s.identity, s.messageset_id, s.lang, kept.kept_number, kept.furthest
), written AS (
    INSERT INTO ledger (send_id, kind, outcome, stage, reason, subscription_id, identity,
                        messageset_id, sequence_number, lang, actor)
    SELECT gen_random_uuid(), 'move', 'moved', 'trigger',
           format('from %%s to %%s, the number of a duplicate', kept_number, furthest), id, identity,
           messageset_id, kept_number, lang, %(actor)s
      FROM moved
), noted AS (
    INSERT INTO audit (actor, action, reason, request_id, details)
    SELECT %(actor)s, COALESCE(author() ->> 'action', %(action)s), %(reason)s,
           author() ->> 'request_id',
           %(details)s::jsonb
           || jsonb_build_object(
                  'count', count(*), 'moved', (SELECT count(*) FROM moved),
                  CASE WHEN %(deactivate)s THEN 'deactivated' ELSE 'removed' END,
                  jsonb_agg(jsonb_build_object(
                      'kept', decisions.kept_id, 'subscription', gone.id) ORDER BY gone.id))
      FROM gone JOIN decisions ON decisions.id = gone.id HAVING count(*) > 0
)
SELECT count(*) AS removed FROM gone;
