-- Resends: the last message once more, besides the next send that may be owed.

-- name: owe_resend :maybe
-- fires: sends_queue
-- One request to resend. The message is fixed here: the last one that the ledger says was sent of
-- the set that the subscription has now, by its number, in the language that the subscription has
-- now, or else in the one in which it was sent. If there is no such message any more, no other one
-- replaces it: the send has its number and no message; and if the ledger has only sends of other
-- sets, the send has no number either. Only if the ledger has no send to the subscription, as after
-- an import, next_sequence_number counts: it is the message before that number (and never one below
-- 1), or at that number if the subscription is completed; if the numbers have a gap there, the one
-- before the gap, or else the first one. Messages that a move of operators skipped were not sent,
-- so the number before the first move counts. First and last are by id, because a wrong clock may
-- have written times of the ledger. The request counts as a trigger in the tick that the single
-- triggers of this minute share, and opens one send. If there is a live resend already, the request
-- joins it, and is in the ledger as skipped. No row: there is no such subscription.
WITH subscription AS MATERIALIZED (
    SELECT id, identity, messageset_id, lang, next_sequence_number, completed,
           gen_random_uuid() AS new_send_id
      FROM subscriptions WHERE id = %(subscription_id)s
), sent AS MATERIALIZED (
    SELECT ledger.messageset_id, ledger.sequence_number, ledger.lang
      FROM subscription s CROSS JOIN LATERAL (
           SELECT messageset_id, sequence_number, lang FROM ledger
            WHERE subscription_id = s.id AND kind = 'next' AND sequence_number IS NOT NULL
              AND (outcome IN ('sent', 'adopted', 'dry-run') OR is_assumed)
            ORDER BY messageset_id = s.messageset_id DESC, id DESC LIMIT 1) ledger
), last AS MATERIALIZED (
    SELECT sent.sequence_number, sent.lang
      FROM subscription s JOIN sent ON sent.messageset_id = s.messageset_id
), place AS MATERIALIZED (
    SELECT s.messageset_id, s.lang,
           GREATEST(COALESCE(
               move.sequence_number::bigint - 1,
               s.next_sequence_number::bigint - CASE WHEN completed THEN 0 ELSE 1 END), 1)
               AS last_number
      FROM subscription s LEFT JOIN LATERAL (
           SELECT sequence_number FROM ledger
            WHERE subscription_id = s.id AND kind = 'move' AND messageset_id = s.messageset_id
            ORDER BY id LIMIT 1) move ON true
     WHERE NOT EXISTS (SELECT FROM sent)
), message AS (
    SELECT found.id, COALESCE(last.sequence_number, found.sequence_number) AS sequence_number,
           COALESCE(found.lang, last.lang, s.lang) AS lang
      FROM subscription s
      LEFT JOIN last ON true
      LEFT JOIN LATERAL (
           (SELECT id, sequence_number, lang, CASE WHEN lang = s.lang THEN 1 ELSE 2 END AS choice
              FROM messages
             WHERE messageset_id = s.messageset_id AND lang IN (s.lang, last.lang)
               AND sequence_number = last.sequence_number)
           UNION ALL
           (SELECT message_id, sequence_number, one.lang, 3
              FROM place, places(place.messageset_id, place.lang) one
             WHERE sequence_number <= last_number AND message_id IS NOT NULL
             ORDER BY sequence_number DESC LIMIT 1)
           UNION ALL
           (SELECT message_id, sequence_number, one.lang, 4
              FROM place, places(place.messageset_id, place.lang) one
             WHERE sequence_number > last_number AND message_id IS NOT NULL
             ORDER BY sequence_number LIMIT 1)
           ORDER BY choice LIMIT 1) found ON true
), minute AS (
    INSERT INTO ticks (source, state, due_at, shard, triggers, expanded_at)
    SELECT 'single', 'expanded', date_trunc('minute', now()), pg_backend_pid() %% 16, 1, now()
      FROM subscription
        ON CONFLICT (due_at, shard) WHERE source = 'single'
        DO UPDATE SET triggers = ticks.triggers + 1
    RETURNING id
), owed AS (
    -- The update changes nothing: it waits for the other send, and returns it.
    INSERT INTO sends (id, kind, lane, subscription_id, identity, tick_id, message_id,
                       messageset_id, sequence_number, lang)
    SELECT s.new_send_id, 'resend', 'single', s.id, s.identity, minute.id, message.id,
           s.messageset_id, message.sequence_number, message.lang
      FROM subscription s CROSS JOIN minute CROSS JOIN message
        ON CONFLICT (subscription_id, kind) DO UPDATE SET owed_at = sends.owed_at
    RETURNING id, message_id
), request AS (
    INSERT INTO resend_requests (subscription_id, message_id, send_id)
    SELECT s.id, owed.message_id, owed.id FROM subscription s, owed
), joined AS (
    INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,
                        messageset_id, lang)
    SELECT gen_random_uuid(), minute.id, 'resend', 'skipped', 'trigger',
           'a resend is already owed to the subscription', s.id, s.identity, s.messageset_id,
           s.lang
      FROM subscription s, minute, owed WHERE owed.id <> s.new_send_id
)
SELECT owed.id = s.new_send_id AS opened FROM subscription s, owed;

-- name: answer_resends :exec
-- Requests get the outbounds of the sends that answer them, which were settled just now, in this
-- transaction. It is a statement of its own, because it has to see all requests that have joined
-- these sends. A request that is joining a send has locked it, so settle_sends waits for the end of
-- that transaction, but does not see the row of the request: its snapshot is older. Now no further
-- request can join, because the sends are deleted.
WITH outbounds AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(outbounds)s) AS o (send_id uuid, outbound_id text)
)
UPDATE resend_requests r SET outbound_id = o.outbound_id
  FROM outbounds o
 WHERE r.send_id = ANY(ARRAY(SELECT send_id FROM outbounds)) AND r.send_id = o.send_id;
