-- The audit: the changes by the API and by commands.

-- columns:
id, done_at, actor, user_id, action, reason, request_id, table_name, row_id, operation, before,
after, details, identity, undoes

-- name: insert_entry :exec
-- A command as a whole, in the transaction that does its work. A task that a client has requested
-- has no author there, and gives its own action.
INSERT INTO audit (actor, user_id, action, reason, request_id, details)
VALUES (%(actor)s, author_id(), COALESCE(author() ->> 'action', %(action)s), %(reason)s,
        author() ->> 'request_id', %(details)s);

-- name: list_entries :many
-- reads
-- page: id DESC
-- A page of entries, newest first.
SELECT id FROM audit
 WHERE true
  [AND actor = %(actor)s]
  [AND table_name = %(table_name)s]
  [AND row_id = %(row_id)s]
  [AND operation = %(operation)s]
  [AND request_id = %(request_id)s]
  [AND identity = %(identity)s]
  [AND done_at >= %(done_after)s]
  [AND done_at <= %(done_before)s]
-- shown:
SELECT {columns} FROM page JOIN audit USING (id);

-- name: find_entry :maybe
-- reads
-- One entry.
SELECT {columns} FROM audit WHERE id = %(id)s;

-- name: list_entries_of_request :many
-- reads
-- The next changes of rows by a request or command, the last one first.
SELECT {columns} FROM audit
 WHERE request_id = %(request_id)s AND operation IS NOT NULL
   AND (%(before_id)s::bigint IS NULL OR id < %(before_id)s)
 ORDER BY id DESC LIMIT %(limit)s;

-- name: lock_audited :one
-- Lock the row that an entry tells of; null: there is no such row any more.
SELECT lock_audited(%(table_name)s, %(row_id)s, %(audited)s::jsonb) AS found;

-- name: put_back_columns :exec
-- fires: messages_updated, owe_scheduler_call_of_changed, subscriptions_join, subscriptions_requeue
-- Give columns of a row, which is locked, the values that they had before.
SELECT put_back_columns(%(table_name)s, %(row_id)s, %(before)s::jsonb);

-- name: put_back_row :exec
-- fires: messages_inserted, owe_scheduler_call_of_gone_or_new, owe_scheduler_call_of_new
-- Make a row again that was deleted.
SELECT put_back_row(%(table_name)s, %(before)s::jsonb);

-- name: remove_row :exec
-- fires: messages_deleted, messages_updated, owe_scheduler_call_of_deleted, owe_scheduler_call_of_gone_or_new
-- Remove a row that was made, which is locked.
SELECT remove_row(%(table_name)s, %(row_id)s, %(after)s::jsonb);
