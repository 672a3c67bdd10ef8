-- Sends of which the database may have lost what it knew: it went back to an earlier state.

-- name: doubt_sends :exec
-- fires: date_moments, sends_queue_again
-- The database went back, so sends that it takes for owed or claimed may have been posted: ask the
-- Message Sender about up to %(limit)s of them. With %(only)s, they are among these. The settle time
-- begins when no daemon can begin a POST any more for a claim that was lost. A send that was never
-- claimed gets the place where its subscription stands and its prepend, for the case that it is
-- found; and its tick, or the one that was lost, was made before the POST. Each state has an index
-- of its own, and the orders are those of the indexes: otherwise each part would read the rows that
-- the parts before it have changed.
WITH owed AS MATERIALIZED (
    SELECT id FROM sends
     WHERE state = 'owed' AND (%(only)s::uuid[] IS NULL OR id = ANY(%(only)s::uuid[]))
     ORDER BY queue_tick_id, queue_schedule_id, queue_messageset_id, due_at LIMIT %(limit)s
), claimed AS MATERIALIZED (
    SELECT id FROM sends
     WHERE state = 'claimed' AND (%(only)s::uuid[] IS NULL OR id = ANY(%(only)s::uuid[]))
     ORDER BY lease_until LIMIT %(limit)s
), doubted AS MATERIALIZED (
    SELECT id FROM sends
     WHERE id = ANY(ARRAY(SELECT id FROM claimed UNION ALL SELECT id FROM owed LIMIT %(limit)s))
       AND state IN ('owed', 'claimed')
       FOR UPDATE
)
UPDATE sends
   SET state = 'unknown', owner = NULL, lease_until = NULL, due_at = now(),
       unknown_since = GREATEST(now(), sends.lease_until, installation.posts_end_at),
       reason = 'the database went back: it may have been sent',
       first_attempt_at = COALESCE(sends.first_attempt_at, LEAST(ticks.created_at, sends.owed_at)),
       messageset_id = COALESCE(sends.messageset_id, s.messageset_id),
       lang = COALESCE(sends.lang, place.lang, s.lang),
       prepend = COALESCE(sends.prepend, CASE WHEN jsonb_typeof(s.metadata) = 'object'
                           AND jsonb_typeof(s.metadata -> 'prepend_next_delivery') = 'string'
                          THEN NULLIF(s.metadata ->> 'prepend_next_delivery', '') END),
       next_sequence_number = COALESCE(sends.next_sequence_number, s.next_sequence_number),
       sequence_number = COALESCE(sends.sequence_number, place.sequence_number)
  FROM doubted
  JOIN sends live ON live.id = doubted.id
  LEFT JOIN ticks ON ticks.id = live.tick_id
  LEFT JOIN subscriptions s ON s.id = live.subscription_id AND live.kind = 'next'
  LEFT JOIN LATERAL next_place(s.messageset_id, s.lang, s.next_sequence_number) place ON true
 CROSS JOIN installation
 WHERE sends.id = live.id;

-- name: count_owed_or_claimed :one
-- reads
-- How many sends are owed or claimed.
SELECT (SELECT count(*) FROM sends WHERE state = 'owed')
     + (SELECT count(*) FROM sends WHERE state = 'claimed') AS count;

-- name: find_lost_outbounds :many
-- reads
-- Those of these sends, whose outbounds the Message Sender has, that the database does not know, or
-- takes for owed: never begun, or not since %(since)s; null counts each attempt. The ledger's rows
-- of a person are few. A send was claimed before it was posted, so a send that is posted now is
-- known. A send that was settled without its outbound counts as known only if that was after the
-- outbound was stored: a failed send is sent again with the same id if a person asks for it.
SELECT o.send_id
  FROM jsonb_to_recordset(%(outbounds)s)
    AS o (send_id uuid, identity text, created_at timestamptz)
 WHERE NOT EXISTS (
           SELECT FROM sends
            WHERE sends.id = o.send_id
              AND (state <> 'owed'
                   OR attempt > 0 AND o.created_at <= %(since)s::timestamptz)
           OFFSET 0)
   AND NOT EXISTS (
           SELECT FROM ledger
            WHERE ledger.identity = o.identity AND ledger.send_id = o.send_id
              AND (ledger.outcome IN ('sent', 'adopted') OR ledger.settled_at >= o.created_at)
           OFFSET 0)
   AND NOT EXISTS (SELECT FROM forgotten_sends WHERE digest = send_digest(o.send_id));

-- name: find_lost_claims :many
-- reads
-- Those of these claims of a daemon that the database does not know: the send has fewer attempts, or
-- is neither live nor in the ledger.
SELECT c.send_id
  FROM jsonb_to_recordset(%(claims)s) AS c (send_id uuid, identity text, attempt integer)
 WHERE NOT EXISTS (SELECT FROM sends
                    WHERE sends.id = c.send_id AND sends.attempt >= c.attempt OFFSET 0)
   AND NOT EXISTS (SELECT FROM ledger
                    WHERE ledger.identity = c.identity AND ledger.send_id = c.send_id OFFSET 0)
   AND NOT EXISTS (SELECT FROM forgotten_sends WHERE digest = send_digest(c.send_id));

-- name: open_minute :one
-- The tick that the single triggers of this minute share; nothing is added to it yet.
INSERT INTO ticks (source, state, due_at, shard, triggers, expanded_at)
VALUES ('single', 'expanded', date_trunc('minute', now()), pg_backend_pid() %% 16, 0, now())
    ON CONFLICT (due_at, shard) WHERE source = 'single' DO UPDATE SET triggers = ticks.triggers
RETURNING id;

-- name: find_holders :many
-- reads
-- The subscription of each of these outbounds, by the id of its send. If the subscription was lost,
-- another one of the same person to the same set takes its place, if there is exactly one. If there
-- is none, the lost one stays.
SELECT o.send_id, COALESCE(own.id, (
           SELECT (array_agg(s.id))[1] FROM subscriptions s
            WHERE s.identity = o.identity AND s.messageset_id = o.messageset_id
              AND s.active AND NOT s.completed HAVING count(*) = 1), o.subscription_id)
           AS subscription_id
  FROM jsonb_to_recordset(%(outbounds)s)
    AS o (send_id uuid, subscription_id uuid, identity text, messageset_id integer)
  LEFT JOIN subscriptions own ON own.id = o.subscription_id;

-- name: restore_sends :many
-- fires: sends_queue
-- Make sends that are only known from their outbounds, as sends of unknown outcome, so that they can
-- be settled with these outbounds. The subscription steps when that happens if it stands in the set
-- of the message, and not beyond it. A live send of the subscription must make room first: otherwise
-- the send is not made. A failed task is deleted: its send was sent again.
WITH lost AS MATERIALIZED (
    SELECT o.* FROM jsonb_to_recordset(%(outbounds)s)
        AS o (send_id uuid, kind text, subscription_id uuid, identity text, messageset_id integer,
              sequence_number integer, lang text, created_at timestamptz)
), made AS (
    INSERT INTO sends (id, kind, lane, state, subscription_id, identity, tick_id, attempt, owed_at,
                       first_attempt_at, messageset_id, next_sequence_number, sequence_number, lang,
                       prepend, unknown_since, reason)
    SELECT send_id, lost.kind, 'tick', 'unknown', lost.subscription_id, lost.identity, %(tick_id)s,
           1, LEAST(lost.created_at, now()), LEAST(lost.created_at, now()), lost.messageset_id,
           CASE WHEN s.messageset_id = lost.messageset_id
                 AND s.next_sequence_number <= lost.sequence_number
                THEN s.next_sequence_number END,
           lost.sequence_number, COALESCE(lost.lang, s.lang),
           CASE WHEN lost.kind = 'next'
                THEN CASE WHEN jsonb_typeof(s.metadata) = 'object'
                                 AND jsonb_typeof(s.metadata -> 'prepend_next_delivery') = 'string'
                                THEN NULLIF(s.metadata ->> 'prepend_next_delivery', '') END END,
           now(), 'the database went back: it is known from its outbound'
      FROM lost LEFT JOIN subscriptions s ON s.id = lost.subscription_id
        ON CONFLICT DO NOTHING
    RETURNING id, subscription_id, attempt
), counted AS (
    UPDATE ticks SET triggers = triggers + (SELECT count(*) FROM made) WHERE id = %(tick_id)s
), repeated AS (
    DELETE FROM failed_tasks WHERE send_id IN (SELECT id FROM made)
)
SELECT id, attempt, subscription_id FROM made;

-- name: place_sends :exec
-- Give live sends the messages of their outbounds: where the subscription stood may not be what was
-- sent.
UPDATE sends
   SET messageset_id = o.messageset_id, sequence_number = o.sequence_number,
       lang = COALESCE(o.lang, sends.lang),
       next_sequence_number = CASE WHEN s.messageset_id = o.messageset_id
                                    AND s.next_sequence_number <= o.sequence_number
                                   THEN s.next_sequence_number END
  FROM jsonb_to_recordset(%(outbounds)s)
    AS o (send_id uuid, messageset_id integer, sequence_number integer, lang text),
       subscriptions s
 WHERE sends.id = ANY(ARRAY(SELECT unnest(%(ids)s::uuid[]))) AND sends.id = o.send_id
   AND sends.kind = 'next' AND s.id = sends.subscription_id
   AND o.messageset_id IS NOT NULL AND o.sequence_number IS NOT NULL;

-- name: remove_sends :exec
-- Remove live sends that stand in the way of an older one, and whose own outbounds come later: they
-- are made again then. Their triggers count there.
WITH removed AS (
    DELETE FROM sends WHERE id = ANY(ARRAY(SELECT unnest(%(ids)s::uuid[]))) RETURNING tick_id
)
UPDATE ticks SET triggers = triggers - gone.count
  FROM (SELECT tick_id, count(*) AS count FROM removed GROUP BY tick_id) gone
 WHERE ticks.id = gone.tick_id;

-- name: find_in_the_way :many
-- reads
-- Live sends of the subscriptions of these outbounds, of the same kind, with other ids.
SELECT DISTINCT sends.id, sends.attempt, sends.subscription_id
  FROM jsonb_to_recordset(%(outbounds)s) AS o (send_id uuid, kind text, subscription_id uuid)
  JOIN sends ON sends.subscription_id = o.subscription_id AND sends.kind = o.kind
 WHERE sends.id <> o.send_id;

-- name: find_live_sends :many
-- reads
-- Those of these sends that are live.
SELECT id, attempt, subscription_id FROM sends WHERE id = ANY(ARRAY(SELECT unnest(%(ids)s::uuid[])));
