-- What became of a transaction whose connection was lost during COMMIT.

-- name: find_transaction_id :one
-- reads
-- The id of this transaction, to ask by later; null: it has written nothing. And the server process,
-- which must be the one of this session.
SELECT pg_current_xact_id_if_assigned()::text AS id, pg_backend_pid() AS pid;

-- name: find_transaction_status :one
-- reads
-- What became of a transaction: 'committed', 'aborted', 'in progress'; null: it is too old to tell.
-- An error (22023), where the server has not come to this id yet.
SELECT pg_xact_status(%(id)s::xid8) AS status;

-- name: end_transaction :exec
-- reads
-- It waits for what its client says next, and its client is gone: it must not be done later.
SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity
 WHERE backend_xid = %(id)s::xid8::xid AND state LIKE 'idle in transaction%%';
