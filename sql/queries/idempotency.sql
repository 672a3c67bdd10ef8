-- Requests that may come twice, and the answers of the first time.

-- name: lock_request :exec
-- reads
-- Wait for a transaction that does the same request, and let others wait until this one ends. It is
-- a statement of its own, because only the next one sees what the other has committed meanwhile.
SELECT pg_advisory_xact_lock(%(lock)s::bigint);

-- name: find_answer :maybe
-- reads
-- The answer to this request, unless it is too old to count. Within two days after a jump of the
-- database's clock, it is too old only if it is too old by the clock of the daemon as well.
SELECT fingerprint, status, headers, body
  FROM idempotency_keys
 WHERE request = %(request)s
   AND (created_at > now() - %(kept)s::interval
        OR received_at > %(received_at)s::timestamptz - %(kept)s::interval
           AND EXISTS (SELECT FROM clock_jumps WHERE seen_at > now() - interval '2 days'));

-- name: keep_answer :exec
-- The answer to this request; it replaces one that was too old.
INSERT INTO idempotency_keys (request, user_id, path, key, fingerprint, status, headers, body,
                              received_at)
VALUES (%(request)s, %(user_id)s, %(path)s, %(key)s, %(fingerprint)s, %(status)s, %(headers)s,
        %(body)s, %(received_at)s)
    ON CONFLICT (request) DO UPDATE
   SET created_at = excluded.created_at, received_at = excluded.received_at,
       fingerprint = excluded.fingerprint,
       status = excluded.status, headers = excluded.headers, body = excluded.body;

-- name: find_registration :maybe
-- reads
-- The subscription that was made from the same data within the window, unless it was deleted.
-- Within two days after a jump of the database's clock, the clock of the daemon counts as well.
SELECT subscriptions.id
  FROM recent_registrations JOIN subscriptions ON subscriptions.id = subscription_id
 WHERE fingerprint = %(fingerprint)s
   AND (recent_registrations.created_at > now() - %(within)s::interval
        OR received_at > %(received_at)s::timestamptz - %(within)s::interval
           AND EXISTS (SELECT FROM clock_jumps WHERE seen_at > now() - interval '2 days'));

-- name: keep_registration :exec
-- The subscription that was made from these data; later requests with the same data get this one.
INSERT INTO recent_registrations (fingerprint, subscription_id, received_at)
VALUES (%(fingerprint)s, %(subscription_id)s, %(received_at)s)
    ON CONFLICT (fingerprint) DO UPDATE
   SET created_at = excluded.created_at, received_at = excluded.received_at,
       subscription_id = excluded.subscription_id;

-- name: delete_old_answers :exec
-- Answers that are too old to count. One that another transaction replaces at the moment is left.
DELETE FROM idempotency_keys
 WHERE created_at <= now() - %(kept)s::interval
   AND request IN (
           SELECT request FROM idempotency_keys
            WHERE created_at <= now() - %(kept)s::interval
            ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED);

-- name: delete_old_registrations :exec
-- Registrations older than every window. One that another transaction replaces now is left.
DELETE FROM recent_registrations
 WHERE created_at <= now() - %(kept)s::interval
   AND fingerprint IN (
           SELECT fingerprint FROM recent_registrations
            WHERE created_at <= now() - %(kept)s::interval
            ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED);
