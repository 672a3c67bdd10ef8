-- What the Message Sender says about outbounds after they were sent.

-- name: take_delivery_place :maybe
-- From where to where outbounds are to be looked at now, for the daemon that takes the place under a
-- lease. No row: another daemon has it, or all was looked at a short while ago. A lease that is far
-- in the future was written by a wrong clock, and so was a place there. At the first time, what was
-- sent before is left.
UPDATE delivery_places
   SET owner = %(owner)s, lease_until = now() + %(lease)s::interval,
       place = CASE WHEN place <= now() THEN place ELSE now() - %(after)s::interval END
 WHERE look = %(look)s
   AND (owner = %(owner)s OR lease_until < now() OR lease_until > now() + interval '1 hour')
RETURNING place AS since, GREATEST(place, now() - %(after)s::interval) AS until;

-- name: hold_delivery_place :maybe
-- Move the place on, and renew the lease; no row: it was lost. All up to the place was looked at.
UPDATE delivery_places
   SET place = GREATEST(place, LEAST(%(place)s, now())), lease_until = now() + %(lease)s::interval
 WHERE look = %(look)s AND owner = %(owner)s AND lease_until >= now()
RETURNING place;

-- name: leave_delivery_place :exec
-- All was looked at: nobody looks again before so much time has passed.
UPDATE delivery_places SET owner = NULL, lease_until = now() + %(rest)s::interval
 WHERE look = %(look)s AND owner = %(owner)s;

-- name: note_deliveries :one
-- Note what the Message Sender says about these outbounds. Their rows of the ledger are found by the
-- person, and must name the outbound: outbounds of others are left out. The counts change by what is
-- new. How many messages in a row a person did not get is counted by the last look at each; a look
-- that is repeated changes nothing.
WITH seen AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(outbounds)s)
        AS o (outbound_id text, send_id uuid, identity text, delivered boolean, attempts integer,
              nack_reason text)
), matched AS MATERIALIZED (
    SELECT DISTINCT ON (l.settled_at, l.id)
           l.settled_at, l.id AS ledger_id, l.identity, COALESCE(l.messageset_id, 0) AS messageset_id,
           COALESCE(l.lang, '') AS lang, seen.delivered, seen.attempts, seen.nack_reason
      FROM seen CROSS JOIN LATERAL (
           SELECT settled_at, id, identity, messageset_id, lang FROM ledger
            WHERE ledger.identity = seen.identity AND ledger.send_id = seen.send_id
              AND ledger.outbound_id = seen.outbound_id
              AND ledger.settled_at >= %(since)s
           OFFSET 0) l
     ORDER BY l.settled_at, l.id
), changes AS MATERIALIZED (
    SELECT matched.*, former.delivered AS was_delivered, former.is_final AS was_final
      FROM matched LEFT JOIN LATERAL (
           SELECT delivered, is_final FROM deliveries d
            WHERE d.settled_at = matched.settled_at AND d.ledger_id = matched.ledger_id
           OFFSET 0) former ON true
), noted AS (
    INSERT INTO deliveries (settled_at, ledger_id, messageset_id, lang, delivered, attempts,
                            nack_reason, is_final)
    SELECT settled_at, ledger_id, messageset_id, lang, delivered, attempts, nack_reason, %(is_final)s
      FROM changes ORDER BY settled_at, ledger_id
        ON CONFLICT (settled_at, ledger_id) DO UPDATE
       SET delivered = EXCLUDED.delivered, attempts = EXCLUDED.attempts,
           nack_reason = EXCLUDED.nack_reason, looked_at = EXCLUDED.looked_at,
           is_final = deliveries.is_final OR EXCLUDED.is_final
), counted AS (
    INSERT INTO delivery_counts AS counts (day, messageset_id, lang, seen, delivered, final)
    SELECT (settled_at AT TIME ZONE 'UTC')::date AS day, messageset_id, lang,
           count(*) FILTER (WHERE was_final IS NULL),
           sum(delivered::integer - COALESCE(was_delivered, false)::integer),
           count(*) FILTER (WHERE %(is_final)s AND was_final IS NOT TRUE)
      FROM changes GROUP BY day, messageset_id, lang ORDER BY day, messageset_id, lang
        ON CONFLICT (day, messageset_id, lang) DO UPDATE
       SET seen = counts.seen + EXCLUDED.seen, delivered = counts.delivered + EXCLUDED.delivered,
           final = counts.final + EXCLUDED.final
), final AS (
    SELECT identity, settled_at, delivered,
           max(settled_at) FILTER (WHERE delivered) OVER (PARTITION BY identity) AS delivered_at
      FROM changes WHERE %(is_final)s AND was_final IS NOT TRUE
), people AS MATERIALIZED (
    SELECT identity, bool_or(delivered) AS got_one,
           count(*) FILTER (WHERE settled_at > COALESCE(delivered_at, '-infinity')) AS in_row,
           min(settled_at) FILTER (WHERE settled_at > COALESCE(delivered_at, '-infinity')) AS since,
           max(settled_at) AS last_at
      FROM final GROUP BY identity
), kept AS (
    INSERT INTO undelivered_people AS kept (identity, in_row, since, last_at)
    SELECT identity, in_row, since, last_at FROM people WHERE in_row > 0 ORDER BY identity
        ON CONFLICT (identity) DO UPDATE
       SET in_row = EXCLUDED.in_row + CASE WHEN (SELECT got_one FROM people p
                                                  WHERE p.identity = EXCLUDED.identity)
                                           THEN 0 ELSE kept.in_row END,
           since = CASE WHEN (SELECT got_one FROM people p WHERE p.identity = EXCLUDED.identity)
                        THEN EXCLUDED.since ELSE kept.since END,
           last_at = GREATEST(kept.last_at, EXCLUDED.last_at)
), reached AS (
    DELETE FROM undelivered_people
     WHERE identity = ANY(ARRAY(SELECT identity FROM people WHERE in_row = 0))
)
SELECT count(*) AS count FROM changes;

-- name: list_delivery_counts :many
-- reads
-- page: day DESC, id DESC
-- A page of the counts, the newest days first.
SELECT id, day, messageset_id, lang, seen, delivered, final FROM delivery_counts
 WHERE true
  [AND messageset_id = %(messageset_id)s]
  [AND lang = %(lang)s]
  [AND day >= %(day_after)s]
  [AND day <= %(day_before)s];

-- name: list_undelivered_people :many
-- reads
-- page: in_row DESC, id DESC
-- A page of the people whose last messages were not delivered, those with the most first.
SELECT id, identity, in_row, since, last_at FROM undelivered_people
 WHERE true
  [AND in_row >= %(in_row)s]
  [AND identity = %(identity)s];

-- name: list_delivery_places :many
-- reads
-- How far the outbounds were looked at.
SELECT look, place FROM delivery_places ORDER BY look;
