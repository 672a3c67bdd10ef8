-- Resends: the last message once more, beside whatever is owed next.

-- name: owe_resend
-- One request to resend. The message is fixed here: the last one sent, which is the one before
-- next_sequence_number (and never one below 1), or at it where the subscription is completed;
-- where the numbers have a gap there, the one before the gap, or else the first there is. The
-- request counts as a trigger in the tick that those of this minute share, and opens one send. A
-- request that finds one unsettled joins it, which the ledger tells as skipped. No row: there is no
-- such subscription.
WITH subscription AS MATERIALIZED (
    SELECT id, identity, messageset_id, lang, gen_random_uuid() AS new_send_id,
           GREATEST(next_sequence_number::bigint - CASE WHEN completed THEN 0 ELSE 1 END, 1)
               AS last_number
      FROM subscriptions WHERE id = %(subscription_id)s
), message AS (
    SELECT found.id, found.sequence_number
      FROM subscription s CROSS JOIN LATERAL (
           (SELECT id, sequence_number, 1 AS choice FROM messages
             WHERE messageset_id = s.messageset_id AND lang = s.lang
               AND sequence_number <= s.last_number
             ORDER BY sequence_number DESC LIMIT 1)
           UNION ALL
           (SELECT id, sequence_number, 2 FROM messages
             WHERE messageset_id = s.messageset_id AND lang = s.lang
               AND sequence_number > s.last_number
             ORDER BY sequence_number LIMIT 1)
           ORDER BY choice LIMIT 1) found
), minute AS (
    INSERT INTO ticks (source, state, due_at, shard, triggers, expanded_at)
    SELECT 'single', 'expanded', date_trunc('minute', now()), pg_backend_pid() %% 16, 1, now()
      FROM subscription
        ON CONFLICT (due_at, shard) WHERE source = 'single'
        DO UPDATE SET triggers = ticks.triggers + 1
    RETURNING id
), owed AS (
    -- The update changes nothing: it is there to wait for the other send, and to answer with it.
    INSERT INTO sends (id, kind, lane, subscription_id, identity, tick_id, message_id,
                       messageset_id, sequence_number, lang)
    SELECT s.new_send_id, 'resend', 'single', s.id, s.identity, minute.id, message.id,
           s.messageset_id, message.sequence_number, s.lang
      FROM subscription s CROSS JOIN minute LEFT JOIN message ON true
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
