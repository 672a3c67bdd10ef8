-- Whether a transaction was committed whose connection was lost during COMMIT.

-- name: find_transaction_id :one
-- reads
-- The id of this transaction, to ask with later; null: it has written nothing. And the server
-- process, which must be the one of this session.
SELECT pg_current_xact_id_if_assigned()::text AS id, pg_backend_pid() AS pid;

-- name: find_transaction_status :one
-- reads
-- The state of a transaction: 'committed', 'aborted', 'in progress'; null: it is too old, so the
-- server does not know. An error (22023) if the server has not given out this id yet.
SELECT pg_xact_status(%(id)s::xid8) AS status;

-- name: end_transaction :exec
-- reads
-- End a transaction that waits for its client, which is gone: it must not be committed later.
SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity
 WHERE backend_xid = %(id)s::xid8::xid AND state LIKE 'idle in transaction%%';
