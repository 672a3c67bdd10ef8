-- The intake account: each authenticated request for a subscription ends in one row. The row of a
-- request that made one is written by the statement that makes it: insert_subscription.

-- columns:
id, received_at, outcome, reason, fields, caller, user_id, action, request_id, idempotency_key,
identity, subscription_id, payload

-- name: insert_entry :one
-- prepared
-- prompt
-- tells: transaction
-- A request that made no subscription. Of a refused one, this is a transaction of its own, because
-- that of its work was rolled back.
INSERT INTO intake (outcome, reason, fields, caller, user_id, action, request_id, idempotency_key,
                    identity, subscription_id, payload)
VALUES (%(outcome)s, %(reason)s, %(fields)s::text[], %(caller)s, %(user_id)s, %(action)s,
        %(request_id)s, %(idempotency_key)s, %(identity)s, %(subscription_id)s, %(payload)s::jsonb)
RETURNING id, pg_current_xact_id()::text AS transaction_id, pg_backend_pid() AS pid;

-- name: list_entries :many
-- reads
-- page: id DESC
-- A page of entries, newest first. The time is always limited, so that not all months are counted.
SELECT id FROM intake
 WHERE received_at >= %(received_after)s AND received_at <= %(received_before)s
  [AND outcome = %(outcome)s]
  [AND outcome <> 'created' AND reason = %(reason)s]
  [AND caller = %(caller)s]
  [AND identity = %(identity)s]
  [AND outcome <> 'created' AND request_id = %(request_id)s]
-- shown:
SELECT {columns} FROM page JOIN intake USING (id);

-- name: find_entry :maybe
-- reads
-- One entry.
SELECT {columns} FROM intake WHERE id = %(id)s;

-- name: count_entries :many
-- reads
-- How many requests of each caller ended how, in a limited time.
SELECT outcome, reason, fields, caller, count(*) AS count, max(received_at) AS latest_at
  FROM intake
 WHERE received_at >= %(received_after)s AND received_at <= %(received_before)s
  [AND caller = %(caller)s]
 GROUP BY outcome, reason, fields, caller
 ORDER BY count DESC, outcome, reason, fields, caller
 LIMIT %(limit)s;

-- name: count_entries_by_day :many
-- reads
-- How many requests of each day ended how, in a limited time. The days are those of a time zone.
SELECT (received_at AT TIME ZONE %(zone)s)::date AS day, outcome, count(*) AS count
  FROM intake
 WHERE received_at >= %(received_after)s AND received_at <= %(received_before)s
 GROUP BY 1, 2 ORDER BY 1, 2;
