-- Rows that cannot be read, so that the rest of their batch has to go on without them. These
-- statements read only ids and numbers; data of such a row are copied by the server, which does not
-- read them either. They are only run after another statement has failed.

-- name: fail_due_send :exec
-- End a send as failed; it can be requeued when its row was repaired. The number of its
-- subscription is stored, because a requeue compares it. A time that clients could not read is
-- replaced by the nearest one that they can.
WITH failed AS (
    DELETE FROM sends WHERE id = %(id)s AND state = 'owed'
    RETURNING *, GREATEST('0001-01-02Z', LEAST('9999-12-30Z', first_attempt_at)) AS attempted_at,
              GREATEST('0001-01-02Z', LEAST('9999-12-30Z', owed_at)) AS owed_since
), recorded AS (
    INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,
                        messageset_id, sequence_number, attempts, owed_at, first_attempt_at, actor)
    SELECT id, tick_id, kind, 'failed', 'content', %(reason)s, subscription_id, identity,
           messageset_id, sequence_number, attempt, owed_since,
           CASE WHEN first_attempt_at IS NOT NULL THEN attempted_at END, actor
      FROM failed
)
INSERT INTO failed_tasks (send_id, kind, stage, reason, subscription_id, identity, initiated_at,
                          attempt, first_attempt_at, messageset_id, next_sequence_number,
                          sequence_number, lang, message_id)
SELECT failed.id, kind, 'content', %(reason)s, subscription_id, identity,
       CASE WHEN first_attempt_at IS NULL THEN owed_since ELSE attempted_at END, attempt,
       CASE WHEN first_attempt_at IS NOT NULL THEN attempted_at END,
       CASE WHEN kind = 'resend' THEN failed.messageset_id ELSE s.messageset_id END,
       s.next_sequence_number, sequence_number, lang, message_id
  FROM failed
  LEFT JOIN LATERAL (
       SELECT messageset_id, next_sequence_number FROM subscriptions
        WHERE id = failed.subscription_id OFFSET 0) s ON true
    ON CONFLICT (send_id) DO NOTHING;

-- name: list_due_sends :many
-- Lock the sends that a claim with these limits would claim, and return their ids.
SELECT unnest(lock_due_sends(%(limit)s, %(of_ticks)s, %(but)s, NULL, %(owner)s)) AS id;

-- name: list_unknown_sends :many
-- reads
-- The sends that take_unknown_sends would take.
SELECT id, attempt, subscription_id FROM sends
 WHERE state = 'unknown' AND due_at <= now() ORDER BY due_at LIMIT %(limit)s;

-- name: mend_send :exec
-- Replace times of a send that clients could not read, before they are copied.
UPDATE sends
   SET first_attempt_at = GREATEST('0001-01-02Z', LEAST('9999-12-30Z', first_attempt_at)),
       owed_at = GREATEST('0001-01-02Z', LEAST('9999-12-30Z', owed_at))
 WHERE id = %(id)s
   AND (first_attempt_at NOT BETWEEN '0001-01-02Z' AND '9999-12-30Z'
        OR owed_at NOT BETWEEN '0001-01-02Z' AND '9999-12-30Z');

-- name: find_next_member :maybe
-- reads
-- The member of an open tick that expand_tick would take first; no row: no tick is open, or
-- it has no member left.
SELECT tick.id AS tick_id, s.id AS subscription_id
  FROM (SELECT id, schedule_id, snapshot, created_at, expanded_up_to FROM ticks
         WHERE state = 'expanding' AND may_expand(ticks)
         ORDER BY id <= %(after)s, id LIMIT 1) tick
 CROSS JOIN LATERAL (
       SELECT id FROM subscriptions
        WHERE schedule_id = tick.schedule_id AND active AND NOT completed AND process_status >= 0
          AND id > tick.expanded_up_to
          AND tick_covers(tick.snapshot, tick.created_at, joined_xid, joined_at, created_at)
        ORDER BY id LIMIT 1) s;

-- name: hold_tick :maybe
-- Lock the tick of this member, if the member is still the next one.
SELECT id FROM ticks
 WHERE id = %(tick_id)s AND state = 'expanding' AND expanded_up_to < %(subscription_id)s::uuid
   FOR UPDATE;

-- name: fail_member :exec
-- The trigger of a member that cannot be owed a send ends as failed, and the tick goes on after it,
-- unless the tick has gone on already.
WITH tick AS MATERIALIZED (
    SELECT id FROM ticks
     WHERE id = %(tick_id)s AND state = 'expanding' AND expanded_up_to < %(subscription_id)s::uuid
       FOR UPDATE
), failed AS MATERIALIZED (
    SELECT gen_random_uuid() AS send_id, tick.id AS tick_id, s.*
      FROM tick, (SELECT id AS subscription_id, identity, messageset_id, next_sequence_number
                    FROM subscriptions WHERE id = %(subscription_id)s) s
), recorded AS (
    INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,
                        messageset_id)
    SELECT send_id, tick_id, 'next', 'failed', 'trigger', %(reason)s, subscription_id, identity,
           messageset_id
      FROM failed
), failures AS (
    INSERT INTO failed_tasks (send_id, kind, stage, reason, subscription_id, identity, initiated_at,
                              attempt, messageset_id, next_sequence_number)
    SELECT send_id, 'next', 'trigger', %(reason)s, subscription_id, identity, now(), 0,
           messageset_id, next_sequence_number
      FROM failed
)
UPDATE ticks
   SET triggers = ticks.triggers + (SELECT count(*) FROM failed),
       expanded_up_to = %(subscription_id)s
  FROM tick WHERE ticks.id = tick.id;

-- name: list_due_scheduler_calls :many
-- reads
-- What claim_due_scheduler_calls would claim.
SELECT id FROM scheduler_calls
 WHERE state = 'owed' AND due_at <= now() ORDER BY due_at, id LIMIT %(limit)s;

-- name: refuse_due_scheduler_call :exec
-- Refuse a call: it is not tried again until something changes.
UPDATE scheduler_calls SET state = 'refused', reason = %(reason)s
 WHERE id = %(id)s AND state = 'owed';

-- name: list_tasks_to_begin :many
-- reads
-- Tasks of these kinds that no daemon does, oldest first.
SELECT id FROM tasks
 WHERE kind = ANY(%(kinds)s) AND (state = 'waiting' OR state = 'begun' AND lease_until < now())
 ORDER BY requested_at, id;

-- name: fail_task :exec
-- fires: date_moments
-- End a task that cannot be begun: others of its kind wait for it.
UPDATE tasks
   SET state = 'failed', reason = %(reason)s, owner = NULL, lease_until = NULL, finished_at = now()
 WHERE id = %(id)s AND (state = 'waiting' OR state = 'begun' AND lease_until < now());

-- name: list_stale_schedules :many
-- reads
-- What find_stale_schedules would find.
SELECT id FROM schedules
 WHERE next_tick_at <= now()
    OR next_tick_rule IS DISTINCT FROM rule_of_next_tick(schedules, %(version)s::text,
                                                         %(default_time_zone)s::text)
 ORDER BY id LIMIT %(limit)s;
