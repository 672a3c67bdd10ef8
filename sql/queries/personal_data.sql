-- The data of a person: what is exported, and what is erased. sbm/model/personal_data.py lists the
-- tables. %(names)s are the spellings of the identity, %(ids)s the subscriptions of the person, and
-- %(needles)s both as they may stand in JSON or in a path.

-- name: find_subscriptions :many
-- reads
-- The subscriptions that a person has or had. One that was given to another identity belongs to
-- that one.
SELECT found.id FROM (
    SELECT id FROM subscriptions WHERE identity = ANY(%(names)s)
     UNION
    SELECT chained_from FROM subscriptions
     WHERE identity = ANY(%(names)s) AND chained_from IS NOT NULL
     UNION
    SELECT subscription_id FROM ledger WHERE identity = ANY(%(names)s)
     UNION
    SELECT subscription_id FROM failed_tasks WHERE identity = ANY(%(names)s)
     UNION
    SELECT subscription_id FROM sends WHERE identity = ANY(%(names)s)
     UNION
    SELECT subscription_id FROM intake
     WHERE identity = ANY(%(names)s) AND subscription_id IS NOT NULL
     UNION
    SELECT row_id::uuid FROM audit
     WHERE identity = ANY(%(names)s) AND table_name = 'subscriptions') found
 WHERE NOT EXISTS (SELECT FROM subscriptions s
                    WHERE s.id = found.id AND s.identity <> ALL(%(names)s));

-- name: export_subscriptions :many
-- reads
-- The next subscriptions of a person.
SELECT to_jsonb(subscriptions) AS row, id::text AS key
  FROM subscriptions
 WHERE identity = ANY(%(names)s)
   AND (%(after)s::text IS NULL OR id > %(after)s::uuid)
 ORDER BY id LIMIT %(limit)s;

-- name: export_behind_subscriptions :many
-- reads
-- The next findings that subscriptions of a person are behind.
SELECT to_jsonb(behind_subscriptions) AS row, id::text AS key
  FROM behind_subscriptions
 WHERE subscription_id = ANY(%(ids)s::uuid[])
   AND (%(after)s::text IS NULL OR id > %(after)s::bigint)
 ORDER BY id LIMIT %(limit)s;

-- name: export_silent_subscriptions :many
-- reads
-- The next findings that no tick reaches subscriptions of a person.
SELECT to_jsonb(silent_subscriptions) AS row, id::text AS key
  FROM silent_subscriptions
 WHERE subscription_id = ANY(%(ids)s::uuid[])
   AND (%(after)s::text IS NULL OR id > %(after)s::bigint)
 ORDER BY id LIMIT %(limit)s;

-- name: export_sends :many
-- reads
-- The next live sends to a person. One pass over the table, which has only live sends.
SELECT to_jsonb(sends) AS row, id::text AS key
  FROM sends
 WHERE (identity = ANY(%(names)s) OR asked_identity = ANY(%(names)s))
   AND (%(after)s::text IS NULL OR id > %(after)s::uuid)
 ORDER BY id LIMIT %(limit)s;

-- name: export_deliveries :many
-- reads
-- The next messages to a person of which it is known whether they were delivered.
SELECT to_jsonb(deliveries) AS row, ledger_id::text AS key
  FROM ledger JOIN deliveries
    ON deliveries.settled_at = ledger.settled_at AND ledger_id = ledger.id
 WHERE identity = ANY(%(names)s)
   AND (%(after)s::text IS NULL OR ledger_id > %(after)s::bigint)
 ORDER BY ledger_id LIMIT %(limit)s;

-- name: export_undelivered_people :many
-- reads
-- How many of the last messages to a person were not delivered.
SELECT to_jsonb(undelivered_people) AS row, id::text AS key
  FROM undelivered_people
 WHERE identity = ANY(%(names)s)
   AND (%(after)s::text IS NULL OR id > %(after)s::bigint)
 ORDER BY id LIMIT %(limit)s;

-- name: export_ledger :many
-- reads
-- The next results of sends to a person.
SELECT to_jsonb(ledger) AS row, id::text AS key
  FROM ledger
 WHERE identity = ANY(%(names)s)
   AND (%(after)s::text IS NULL OR id > %(after)s::bigint)
 ORDER BY id LIMIT %(limit)s;

-- name: export_failed_tasks :many
-- reads
-- The next failed sends to a person.
SELECT to_jsonb(failed_tasks) AS row, id::text AS key
  FROM failed_tasks
 WHERE identity = ANY(%(names)s)
   AND (%(after)s::text IS NULL OR id > %(after)s::bigint)
 ORDER BY id LIMIT %(limit)s;

-- name: export_resend_requests :many
-- reads
-- The next requests for resends to a person.
SELECT to_jsonb(resend_requests) AS row, id::text AS key
  FROM resend_requests
 WHERE subscription_id = ANY(%(ids)s::uuid[])
   AND (%(after)s::text IS NULL OR id > %(after)s::bigint)
 ORDER BY id LIMIT %(limit)s;

-- name: export_doubles :many
-- reads
-- The next doubles that a person has.
SELECT to_jsonb(doubles) AS row, id::text AS key
  FROM doubles
 WHERE subscription_id = ANY(%(ids)s::uuid[])
   AND (%(after)s::text IS NULL OR id > %(after)s::bigint)
 ORDER BY id LIMIT %(limit)s;

-- name: export_recent_registrations :many
-- reads
-- The next registrations of a person. One pass over the table, which has those of a day at most.
SELECT to_jsonb(recent_registrations) AS row, encode(fingerprint, 'hex')::text AS key
  FROM recent_registrations
 WHERE subscription_id = ANY(%(ids)s::uuid[])
   AND (%(after)s::text IS NULL OR encode(fingerprint, 'hex') > %(after)s::text)
 ORDER BY encode(fingerprint, 'hex') LIMIT %(limit)s;

-- name: export_intake :many
-- reads
-- The next requests for subscriptions of a person.
SELECT to_jsonb(intake) AS row, id::text AS key
  FROM intake
 WHERE identity = ANY(%(names)s)
   AND (%(after)s::text IS NULL OR id > %(after)s::bigint)
 ORDER BY id LIMIT %(limit)s;

-- name: export_idempotency_keys :many
-- reads
-- The next stored answers that tell of a person. One pass over the table, which has those of a day.
SELECT to_jsonb(idempotency_keys) || jsonb_build_object('body', convert_from(body, 'UTF8')) AS row, encode(request, 'hex')::text AS key
  FROM idempotency_keys
 WHERE mentions(path || ' ' || convert_from(body, 'UTF8'), %(needles)s)
   AND (%(after)s::text IS NULL OR encode(request, 'hex') > %(after)s::text)
 ORDER BY encode(request, 'hex') LIMIT %(limit)s;

-- name: export_audit_changes :many
-- reads
-- The next entries of the audit about rows of a person.
SELECT to_jsonb(audit) AS row, id::text AS key
  FROM audit
 WHERE id = ANY(ARRAY(
           SELECT id FROM audit WHERE identity = ANY(%(names)s)
            UNION
           SELECT id FROM audit
            WHERE table_name = 'subscriptions' AND row_id = ANY(%(ids)s::text[])))
   AND (%(after)s::text IS NULL OR id > %(after)s::bigint)
 ORDER BY id LIMIT %(limit)s;

-- name: export_audit_commands :many
-- reads
-- The next entries of the audit about commands that tell of a person. One pass over these entries.
SELECT to_jsonb(audit) AS row, id::text AS key
  FROM audit
 WHERE operation IS NULL AND mentions(concat_ws(' ', reason, action, details), %(needles)s)
   AND (%(after)s::text IS NULL OR id > %(after)s::bigint)
 ORDER BY id LIMIT %(limit)s;

-- name: export_tasks :many
-- reads
-- The next tasks that are about a person. One pass over the table, which has those of 90 days.
SELECT to_jsonb(tasks) AS row, id::text AS key
  FROM tasks
 WHERE mentions(wanted::text, %(needles)s)
   AND (%(after)s::text IS NULL OR id > %(after)s::uuid)
 ORDER BY id LIMIT %(limit)s;

-- name: export_scheduler_calls :many
-- reads
-- The next calls that are owed to the Scheduler about subscriptions of a person.
SELECT to_jsonb(scheduler_calls) AS row, id::text AS key
  FROM scheduler_calls
 WHERE kind = 'subscription' AND target = ANY(%(ids)s::text[])
   AND (%(after)s::text IS NULL OR id > %(after)s::bigint)
 ORDER BY id LIMIT %(limit)s;

-- name: export_scheduler_schedules :many
-- reads
-- The next schedules at the Scheduler for subscriptions of a person.
SELECT to_jsonb(scheduler_schedules) AS row, target::text AS key
  FROM scheduler_schedules
 WHERE kind = 'subscription' AND target = ANY(%(ids)s::text[])
   AND (%(after)s::text IS NULL OR target > %(after)s::text)
 ORDER BY target LIMIT %(limit)s;

-- name: export_scheduler_callbacks :many
-- reads
-- The next recent calls of the Scheduler for subscriptions of a person.
SELECT to_jsonb(scheduler_callbacks) || jsonb_build_object('body', convert_from(body, 'UTF8')) AS row, concat_ws(' ', target, to_char(moment, 'YYYY-MM-DD HH24:MI:SS.US'))::text AS key
  FROM scheduler_callbacks
 WHERE kind = 'subscription' AND target = ANY(%(ids)s::text[])
   AND (%(after)s::text IS NULL OR concat_ws(' ', target, to_char(moment, 'YYYY-MM-DD HH24:MI:SS.US')) > %(after)s::text)
 ORDER BY concat_ws(' ', target, to_char(moment, 'YYYY-MM-DD HH24:MI:SS.US')) LIMIT %(limit)s;

-- name: export_scheduler_listing :many
-- reads
-- The next rows of listings of the Scheduler that are being compared.
SELECT to_jsonb(scheduler_listing) AS row, concat_ws(' ', listing_id, remote_id)::text AS key
  FROM scheduler_listing
 WHERE kind = 'subscription' AND target = ANY(%(ids)s::text[])
   AND (%(after)s::text IS NULL OR concat_ws(' ', listing_id, remote_id) > %(after)s::text)
 ORDER BY concat_ws(' ', listing_id, remote_id) LIMIT %(limit)s;

-- name: forget_subscriptions :exec
-- fires: owe_scheduler_call_of_deleted
-- Delete the next subscriptions of a person.
DELETE FROM subscriptions
 WHERE id = ANY(ARRAY(SELECT id FROM subscriptions WHERE identity = ANY(%(names)s)
                       ORDER BY id LIMIT %(limit)s FOR UPDATE));

-- name: forget_tick_places :exec
-- Expansions that stand at a subscription of a person stand at the one before it, so that none is
-- expanded twice.
UPDATE ticks
   SET expanded_up_to = COALESCE(
           (SELECT id FROM subscriptions s
             WHERE s.schedule_id = ticks.schedule_id AND active AND NOT completed
               AND s.id < ticks.expanded_up_to
             ORDER BY s.id DESC LIMIT 1), '00000000-0000-0000-0000-000000000000')
 WHERE state = 'expanding' AND expanded_up_to = ANY(%(ids)s::uuid[]);

-- name: forget_call_places :exec
-- The same for calls to the Scheduler about all subscriptions on a schedule.
UPDATE scheduler_calls
   SET up_to = COALESCE(
           (SELECT id FROM subscriptions s
             WHERE s.schedule_id = target::integer AND active AND NOT completed
               AND s.id < scheduler_calls.up_to
             ORDER BY s.id DESC LIMIT 1), '00000000-0000-0000-0000-000000000000')
 WHERE kind = 'members' AND up_to = ANY(%(ids)s::uuid[]);

-- name: forget_behind_subscriptions :exec
-- Delete the findings about subscriptions of a person.
DELETE FROM behind_subscriptions WHERE subscription_id = ANY(%(ids)s::uuid[]);

-- name: forget_silent_subscriptions :exec
-- Delete the findings that no tick reaches subscriptions of a person.
DELETE FROM silent_subscriptions WHERE subscription_id = ANY(%(ids)s::uuid[]);

-- name: forget_owed_sends :exec
-- Skip the owed sends to a person. No daemon can claim them any more.
WITH dropped AS (
    DELETE FROM sends WHERE state = 'owed' AND identity = ANY(%(names)s) RETURNING *
)
INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,
                    messageset_id, sequence_number, lang, attempts, owed_at, first_attempt_at,
                    actor)
SELECT id, tick_id, kind, 'skipped', 'trigger', 'the person was forgotten',
       unlinked_id(%(secret)s, subscription_id), %(mark)s, messageset_id, sequence_number, lang,
       attempt, owed_at, first_attempt_at, actor
  FROM dropped;

-- name: forget_live_sends :exec
-- Mark the sends to a person that a daemon has in hand, or whose outcome is unknown: whoever settles
-- one writes the mark into the ledger.
WITH marked AS (
    UPDATE sends
       SET asked_identity = identity, identity = %(mark)s,
           subscription_id = unlinked_id(%(secret)s, subscription_id), prepend = NULL, reason = '',
           answers = '{}'
     WHERE state <> 'owed' AND identity = ANY(%(names)s)
    RETURNING id
)
INSERT INTO forgotten_sends (digest) SELECT send_digest(id) FROM marked ON CONFLICT DO NOTHING;

-- name: forget_deliveries :exec
-- Delete what is known of the delivery of the next messages to a person; the counts stay.
WITH chosen AS MATERIALIZED (
    SELECT deliveries.settled_at, ledger_id
      FROM ledger JOIN deliveries
        ON deliveries.settled_at = ledger.settled_at AND ledger_id = ledger.id
     WHERE identity = ANY(%(names)s)
     ORDER BY ledger_id LIMIT %(limit)s
)
DELETE FROM deliveries USING chosen
 WHERE deliveries.settled_at = chosen.settled_at AND deliveries.ledger_id = chosen.ledger_id;

-- name: forget_undelivered_people :exec
-- Delete how many of the last messages to a person were not delivered.
DELETE FROM undelivered_people WHERE identity = ANY(%(names)s);

-- name: forget_ledger :exec
-- Mark the next results of sends to a person. The Message Sender may still show the outbounds of
-- the last 90 days: they are remembered as forgotten, and those before them no more.
WITH chosen AS MATERIALIZED (
    SELECT id, settled_at, send_id FROM ledger WHERE identity = ANY(%(names)s)
     ORDER BY id LIMIT %(limit)s
), remembered AS (
    INSERT INTO forgotten_sends (digest)
    SELECT DISTINCT send_digest(send_id) FROM chosen
     WHERE settled_at > now() - interval '90 days' ORDER BY 1
        ON CONFLICT DO NOTHING
), outdated AS (
    DELETE FROM forgotten_sends
     WHERE forgotten_at < now() - interval '90 days'
       AND NOT EXISTS (SELECT FROM clock_jumps WHERE seen_at > now() - interval '1 day')
)
UPDATE ledger
   SET identity = %(mark)s, send_id = unlinked_id(%(secret)s, ledger.send_id),
       subscription_id = unlinked_id(%(secret)s, ledger.subscription_id), outbound_id = NULL,
       prepend = NULL, reason = CASE reason WHEN '' THEN '' ELSE 'the person was forgotten' END
  FROM chosen
 WHERE ledger.id = chosen.id AND ledger.settled_at = chosen.settled_at
   AND ledger.identity = ANY(%(names)s);

-- name: forget_failed_tasks :exec
-- Delete the next failed sends to a person.
DELETE FROM failed_tasks
 WHERE id = ANY(ARRAY(SELECT id FROM failed_tasks WHERE identity = ANY(%(names)s)
                       ORDER BY id LIMIT %(limit)s));

-- name: forget_resend_requests :exec
-- Delete the next requests for resends to a person.
DELETE FROM resend_requests
 WHERE id = ANY(ARRAY(SELECT id FROM resend_requests
                       WHERE subscription_id = ANY(%(ids)s::uuid[]) ORDER BY id LIMIT %(limit)s));

-- name: forget_doubles :exec
-- Mark the next doubles of a person: their number stays true.
UPDATE doubles
   SET send_id = unlinked_id(%(secret)s, send_id), outbound_id = gen_random_uuid()::text,
       subscription_id = unlinked_id(%(secret)s, subscription_id)
 WHERE id = ANY(ARRAY(SELECT id FROM doubles
                       WHERE subscription_id = ANY(%(ids)s::uuid[]) ORDER BY id LIMIT %(limit)s));

-- name: forget_recent_registrations :exec
-- Delete the registrations of a person.
DELETE FROM recent_registrations WHERE subscription_id = ANY(%(ids)s::uuid[]);

-- name: forget_intake :exec
-- Mark the next requests for subscriptions of a person: the sums stay true.
UPDATE intake
   SET identity = %(mark)s, subscription_id = unlinked_id(%(secret)s, subscription_id),
       request_id = NULL, idempotency_key = NULL, payload = NULL
 WHERE id = ANY(ARRAY(SELECT id FROM intake
                       WHERE identity = ANY(%(names)s) ORDER BY id LIMIT %(limit)s));

-- name: forget_idempotency_keys :exec
-- Delete the stored answers that tell of a person.
DELETE FROM idempotency_keys
 WHERE mentions(path || ' ' || convert_from(body, 'UTF8'), %(needles)s);

-- name: forget_audit_changes :exec
-- Blank the next entries of the audit about rows of a person: who, when, and what was done stay.
WITH chosen AS MATERIALIZED (
    SELECT id FROM audit WHERE identity = ANY(%(names)s)
     UNION
    SELECT id FROM audit WHERE table_name = 'subscriptions' AND row_id = ANY(%(ids)s::text[])
     ORDER BY id LIMIT %(limit)s
)
UPDATE audit
   SET identity = %(mark)s, row_id = unlinked_id(%(secret)s, row_id::uuid)::text, before = NULL,
       after = NULL, reason = '', request_id = NULL,
       action = regexp_replace(
           action, '(/subscriptions/|/console/people/)[^/ ]+(/[0-9a-f]{8}-[0-9a-f-]{27})?', '\1*')
 WHERE id = ANY(ARRAY(SELECT id FROM chosen));

-- name: rewrite_audit_command :exec
-- An entry of the audit about a command, without what tells of a person.
UPDATE audit SET action = %(action)s, reason = %(reason)s, details = %(details)s WHERE id = %(id)s;

-- name: rewrite_task :exec
-- A task that is about a person: it finds no rows of the person any more.
UPDATE tasks SET wanted = %(wanted)s WHERE id = %(id)s;

-- name: forget_scheduler_calls :exec
-- Delete calls about subscriptions of a person that the Scheduler refuses.
DELETE FROM scheduler_calls
 WHERE kind = 'subscription' AND target = ANY(%(ids)s::text[]) AND state = 'refused';

-- name: forget_scheduler_schedules :exec
-- Delete what is known of the Scheduler's schedules for subscriptions of a person, unless one is
-- still to be disabled.
DELETE FROM scheduler_schedules r
 WHERE kind = 'subscription' AND target = ANY(%(ids)s::text[])
   AND NOT EXISTS (SELECT FROM scheduler_calls c WHERE c.kind = r.kind AND c.target = r.target);

-- name: forget_scheduler_callbacks :exec
-- Delete the recorded calls of the Scheduler for subscriptions of a person.
DELETE FROM scheduler_callbacks
 WHERE kind = 'subscription' AND target = ANY(%(ids)s::text[]);

-- name: forget_scheduler_listing :exec
-- Delete rows of listings of the Scheduler that are being compared.
DELETE FROM scheduler_listing
 WHERE kind = 'subscription' AND target = ANY(%(ids)s::text[]);

-- name: count_remaining :one
-- reads
-- What waits for other services: live sends, until it is known whether they were sent, and schedules
-- at the Scheduler, until they are disabled.
SELECT (SELECT count(*) FROM sends WHERE asked_identity = ANY(%(names)s)) AS sends,
       (SELECT count(*) FROM scheduler_calls
         WHERE kind = 'subscription' AND target = ANY(%(ids)s::text[])) AS scheduler_calls;

-- name: find_writers :many
-- reads
-- The transactions that write at the moment. One that began before a person's rows were deleted may
-- still write what it has read there.
SELECT DISTINCT virtualtransaction FROM pg_locks
 WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND relation IN ('subscriptions'::regclass, 'sends'::regclass, 'ledger'::regclass,
                    'failed_tasks'::regclass, 'resend_requests'::regclass, 'doubles'::regclass,
                    'deliveries'::regclass, 'undelivered_people'::regclass,
                    'audit'::regclass, 'recent_registrations'::regclass,
                    'idempotency_keys'::regclass, 'tasks'::regclass, 'intake'::regclass,
                    'silent_subscriptions'::regclass);

-- name: count_writers :one
-- reads
-- How many of these transactions have not ended.
SELECT count(DISTINCT virtualtransaction) AS count FROM pg_locks
 WHERE virtualtransaction = ANY(%(writers)s);
