-- How long a transaction waits for what others have locked.

-- name: wait_at_most :exec
-- reads
-- In this transaction, for each lock.
SELECT set_config('lock_timeout', %(milliseconds)s::integer::text, true);
