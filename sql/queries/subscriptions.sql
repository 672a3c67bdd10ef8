-- name: insert_subscription
-- A new subscription, as it reads: it cannot have a send yet.
WITH made AS (
    INSERT INTO subscriptions
           (version, identity, messageset_id, next_sequence_number, initial_sequence_number, lang,
            active, completed, schedule_id, process_status, metadata, created_by, updated_by)
    VALUES (%(version)s, %(identity)s, %(messageset_id)s, %(next_sequence_number)s,
            %(initial_sequence_number)s, %(lang)s, %(active)s, %(completed)s, %(schedule_id)s,
            %(process_status)s, %(metadata)s, %(created_by)s, %(created_by)s)
    RETURNING *)
SELECT made.id, made.version, made.identity, made.messageset_id,
       messagesets.label AS messageset_label, made.next_sequence_number,
       made.initial_sequence_number, made.lang, made.active, made.completed, made.schedule_id,
       made.process_status, made.metadata, made.created_at, made.updated_at, made.created_by,
       made.updated_by
  FROM made JOIN messagesets ON messagesets.id = made.messageset_id;

-- name: find_subscription
-- One subscription. Ready reads as in process while there is a live next send.
SELECT subscriptions.id, version, identity, messageset_id,
       messagesets.label AS messageset_label, next_sequence_number, initial_sequence_number, lang,
       active, completed, schedule_id,
       CASE WHEN process_status = 0 AND EXISTS (
                SELECT 1 FROM sends
                 WHERE sends.subscription_id = subscriptions.id AND sends.kind = 'next')
            THEN 1 ELSE process_status END AS process_status,
       metadata, subscriptions.created_at, subscriptions.updated_at, created_by, updated_by
  FROM subscriptions JOIN messagesets ON messagesets.id = messageset_id
 WHERE subscriptions.id = %(id)s;

-- name: count_subscriptions
-- How many subscriptions a client can page through. A null parameter is no filter. The statuses 0
-- and 1 are told apart by whether there is a live next send.
SELECT count(*) AS count FROM subscriptions
 WHERE (%(identity)s IS NULL OR identity = %(identity)s)
   AND (%(active)s IS NULL OR active = %(active)s)
   AND (%(completed)s IS NULL OR completed = %(completed)s)
   AND (%(lang)s IS NULL OR lang = %(lang)s)
   AND (%(messageset_id)s IS NULL OR messageset_id = %(messageset_id)s)
   AND (%(schedule_id)s IS NULL OR schedule_id = %(schedule_id)s)
   AND (%(process_status)s IS NULL OR (
            process_status = coalesce(nullif(%(process_status)s::bigint, 1), 0)
        AND (%(process_status)s::bigint NOT IN (0, 1) OR (%(process_status)s::bigint = 1) = EXISTS (
                SELECT 1 FROM sends
                 WHERE sends.subscription_id = subscriptions.id AND sends.kind = 'next'))));

-- name: list_subscriptions
-- A page of subscriptions, newest first. A null parameter is no filter. Only the rows of the page
-- are joined and have their sends looked up.
WITH page AS MATERIALIZED (
    SELECT * FROM subscriptions
     WHERE (%(identity)s IS NULL OR identity = %(identity)s)
       AND (%(active)s IS NULL OR active = %(active)s)
       AND (%(completed)s IS NULL OR completed = %(completed)s)
       AND (%(lang)s IS NULL OR lang = %(lang)s)
       AND (%(messageset_id)s IS NULL OR messageset_id = %(messageset_id)s)
       AND (%(schedule_id)s IS NULL OR schedule_id = %(schedule_id)s)
       AND (%(process_status)s IS NULL OR (
                process_status = coalesce(nullif(%(process_status)s::bigint, 1), 0)
            AND (%(process_status)s::bigint NOT IN (0, 1) OR (%(process_status)s::bigint = 1) = EXISTS (
                    SELECT 1 FROM sends
                     WHERE sends.subscription_id = subscriptions.id AND sends.kind = 'next'))))
     ORDER BY created_at DESC, id DESC LIMIT %(limit)s OFFSET %(offset)s)
SELECT page.id, version, identity, messageset_id, messagesets.label AS messageset_label,
       next_sequence_number, initial_sequence_number, lang, active, completed, schedule_id,
       CASE WHEN process_status = 0 AND EXISTS (
                SELECT 1 FROM sends
                 WHERE sends.subscription_id = page.id AND sends.kind = 'next')
            THEN 1 ELSE process_status END AS process_status,
       metadata, page.created_at, page.updated_at, created_by, updated_by
  FROM page JOIN messagesets ON messagesets.id = messageset_id
 ORDER BY page.created_at DESC, page.id DESC;

-- name: lock_subscription
-- One subscription as it is stored, which is about to be changed: no send may step it meanwhile.
SELECT version, identity, messageset_id, next_sequence_number, initial_sequence_number, lang,
       active, completed, schedule_id, process_status, metadata
  FROM subscriptions WHERE id = %(id)s FOR NO KEY UPDATE;

-- name: update_subscription
-- New fields for a subscription.
UPDATE subscriptions
   SET version = %(version)s, identity = %(identity)s, messageset_id = %(messageset_id)s,
       next_sequence_number = %(next_sequence_number)s,
       initial_sequence_number = %(initial_sequence_number)s, lang = %(lang)s,
       active = %(active)s, completed = %(completed)s, schedule_id = %(schedule_id)s,
       process_status = %(process_status)s, metadata = %(metadata)s,
       updated_at = now(), updated_by = %(updated_by)s
 WHERE id = %(id)s;

-- name: delete_subscription
-- A subscription. What it is owed is settled as skipped.
DELETE FROM subscriptions WHERE id = %(id)s;
