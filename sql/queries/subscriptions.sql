-- Subscriptions, as clients see them: while there is a live next send, "ready" is shown as "in
-- process".

-- columns:
s.id, s.version, s.identity, s.messageset_id, messagesets.label AS messageset_label,
s.next_sequence_number, s.initial_sequence_number, s.lang, s.active, s.completed, s.schedule_id,
CASE WHEN s.process_status = 0 AND EXISTS (
         SELECT FROM sends WHERE sends.subscription_id = s.id AND sends.kind = 'next')
     THEN 1 ELSE s.process_status END AS process_status,
s.metadata::text AS metadata, s.created_at, s.updated_at, s.created_by, s.updated_by

-- name: insert_subscription :maybe
-- fires: owe_scheduler_call_of_new
-- prepared
-- tells: transaction
-- A new subscription; no row if its message set or its schedule does not exist. Neither can be
-- deleted before this transaction ends. Only the id is returned: the webhook needs no more, and the
-- other columns are a quarter of the server's time. If a request asks for it, the intake account
-- gets its row.
WITH made AS (
    INSERT INTO subscriptions
           (version, identity, messageset_id, next_sequence_number, initial_sequence_number, lang,
            active, completed, schedule_id, process_status, metadata, created_by, updated_by)
    SELECT %(version)s::integer, %(identity)s, messagesets.id, %(next_sequence_number)s::integer,
           %(initial_sequence_number)s::integer, %(lang)s, %(active)s::boolean,
           %(completed)s::boolean, schedules.id, %(process_status)s::smallint,
           %(metadata)s::jsonb, %(created_by)s::integer, %(created_by)s::integer
      FROM messagesets, schedules
     WHERE messagesets.id = %(messageset_id)s AND schedules.id = %(schedule_id)s
       FOR KEY SHARE
    RETURNING id, identity
), noted AS (
    INSERT INTO intake (outcome, caller, user_id, action, request_id, idempotency_key, identity,
                        subscription_id)
    SELECT 'created', author ->> 'actor', (author ->> 'user_id')::integer, author ->> 'action',
           author ->> 'request_id', author ->> 'idempotency_key', made.identity, made.id
      FROM made, author() WHERE author IS NOT NULL
)
SELECT id, pg_current_xact_id()::text AS transaction_id, pg_backend_pid() AS pid FROM made;

-- name: find_subscription :maybe
-- reads
-- prepared
-- One subscription.
SELECT {columns} FROM subscriptions s JOIN messagesets ON messagesets.id = s.messageset_id
 WHERE s.id = %(id)s;

-- name: list_subscriptions :many
-- reads
-- page: created_at DESC, id DESC
-- sized: metadata
-- prepared: active, completed, process_status
-- A page of subscriptions, newest first. The statuses 0 and 1 are both stored as 0: there is no
-- live next send, or there is one. The rows of a page are found by keys, from indexes,
-- independently of the table's width; then only these rows are read. The key of a row that was
-- shown is where the next page begins, so that the rows before it are not read again.
SELECT s.id, s.created_at
  FROM subscriptions s
 WHERE true
  [AND s.id = %(id)s]
  [AND s.identity = %(identity)s]
  [AND s.messageset_id = %(messageset_id)s]
  [AND s.messageset_id = ANY(%(messageset_ids)s)]
  [AND s.schedule_id = %(schedule_id)s]
  [AND s.lang = %(lang)s]
  [AND s.active = %(active)s]
  [AND s.completed = %(completed)s]
  [AND s.process_status = (%(process_status)s)::bigint]
  [AND s.process_status = %(ready)s AND NOT EXISTS (
       SELECT FROM sends WHERE sends.subscription_id = s.id AND sends.kind = 'next')]
  [AND s.process_status = %(in_process)s AND EXISTS (
       SELECT FROM sends WHERE sends.subscription_id = s.id AND sends.kind = 'next')]
  [AND s.version = %(version)s::bigint]
  [AND s.next_sequence_number = %(next_sequence_number)s::bigint]
  [AND s.initial_sequence_number = %(initial_sequence_number)s::bigint]
  [AND s.created_by = %(created_by)s]
  [AND s.updated_by = %(updated_by)s]
  [AND s.created_at = %(created_at)s]
  [AND s.created_at >= %(created_after)s]
  [AND s.created_at <= %(created_before)s]
  [AND s.updated_at = %(updated_at)s]
  [AND s.metadata @> %(metadata)s::jsonb AND s.metadata = %(metadata)s::jsonb]
  [AND s.metadata ? %(metadata_has_key)s]
  [AND (s.metadata IS NULL OR NOT s.metadata ? %(metadata_not_has_key)s)]
-- shown:
SELECT {columns} FROM page
  JOIN subscriptions s ON s.id = page.id
  JOIN messagesets ON messagesets.id = s.messageset_id;

-- name: find_filtered_user :maybe
-- reads
-- Whether there is this user, who may have made or changed subscriptions.
SELECT id FROM users WHERE id = %(id)s;

-- name: lock_subscription :maybe
-- Lock one subscription, as it is stored, before it is changed: it takes no step meanwhile.
SELECT version, identity, messageset_id, next_sequence_number, initial_sequence_number, lang,
       active, completed, schedule_id, process_status, metadata::text AS metadata
  FROM subscriptions WHERE id = %(id)s FOR NO KEY UPDATE;

-- name: update_subscription :exec
-- fires: owe_scheduler_call_of_changed, subscriptions_join, subscriptions_requeue
-- New fields for a subscription.
UPDATE subscriptions
   SET version = %(version)s, identity = %(identity)s, messageset_id = %(messageset_id)s,
       next_sequence_number = %(next_sequence_number)s,
       initial_sequence_number = %(initial_sequence_number)s, lang = %(lang)s,
       active = %(active)s, completed = %(completed)s, schedule_id = %(schedule_id)s,
       process_status = %(process_status)s, metadata = %(metadata)s,
       updated_at = now(), updated_by = %(updated_by)s
 WHERE id = %(id)s;

-- name: delete_subscription :exec
-- fires: owe_scheduler_call_of_deleted
-- A subscription. Its live sends are settled as skipped.
DELETE FROM subscriptions WHERE id = %(id)s;
