-- The audit: the changes by the API and by commands.

-- columns:
id, done_at, actor, user_id, action, reason, request_id, table_name, row_id, operation,
before::text AS before, after::text AS after, details::text AS details, identity, undoes, transaction_id::text::bigint

-- name: insert_entry :exec
-- A command as a whole, in the transaction that does its work. If the transaction has an author, the
-- entry is the author's; a task that a client has requested has none.
INSERT INTO audit (actor, user_id, action, reason, request_id, details)
VALUES (COALESCE(author() ->> 'actor', %(actor)s), author_id(),
        COALESCE(author() ->> 'action', %(action)s),
        COALESCE(nullif(author() ->> 'reason', ''), %(reason)s), author() ->> 'request_id',
        %(details)s);

-- name: list_entries :many
-- reads
-- page: id DESC
-- sized: before, after, details
-- A page of entries, newest first.
SELECT id FROM audit
 WHERE true
  [AND actor = %(actor)s]
  [AND table_name = %(table_name)s]
  [AND row_id = %(row_id)s]
  [AND operation = %(operation)s]
  [AND request_id = %(request_id)s]
  [AND (identity = %(identity)s
        OR operation = 'update' AND after ? 'identity' AND after ->> 'identity' = %(identity)s)]
  [AND done_at >= %(done_after)s]
  [AND done_at <= %(done_before)s]
-- shown:
SELECT {columns} FROM page JOIN audit USING (id);

-- name: find_entry :maybe
-- reads
-- One entry.
SELECT {columns} FROM audit WHERE id = %(id)s;

-- name: list_entries_beside :many
-- reads
-- The next changes of rows by the request or command of an entry, the last one first. A client may
-- choose the id of a request, and use it again: so one transaction is one request. A command has an
-- id of its own, and several transactions.
SELECT {columns} FROM audit
 WHERE request_id = %(request_id)s AND operation IS NOT NULL
   AND CASE WHEN %(transaction_id)s::text IS NULL THEN starts_with(action, 'sbm ')
            ELSE transaction_id = %(transaction_id)s::text::xid8 END
   AND (%(before_id)s::bigint IS NULL OR id < %(before_id)s)
 ORDER BY id DESC LIMIT %(limit)s;

-- name: list_requests :many
-- reads
-- The newest change of each request or command with this id.
SELECT max(id) AS id FROM audit
 WHERE request_id = %(request_id)s AND operation IS NOT NULL
 GROUP BY actor, user_id, action,
          CASE WHEN starts_with(action, 'sbm ') THEN NULL ELSE transaction_id END
 ORDER BY id;

-- name: lock_audited :one
-- Lock the row that an entry tells of; null: there is no such row any more.
SELECT lock_audited(%(table_name)s, %(row_id)s, %(audited)s::jsonb) AS found;

-- name: put_back_row :exec
-- fires: messages_inserted, messages_versions_of_inserted, owe_scheduler_call_of_gone_or_new, owe_scheduler_call_of_new
-- Make a row again that was deleted.
SELECT put_back_row(%(table_name)s, %(before)s::jsonb);
