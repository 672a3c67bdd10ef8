-- How long a transaction waits for locks of others.

-- name: wait_at_most :exec
-- reads
-- The longest wait for each lock in this transaction.
SELECT set_config('lock_timeout', %(milliseconds)s::integer::text, true);
