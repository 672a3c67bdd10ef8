-- The calls that are owed to the Seed Scheduler: their states, and their next steps.

-- name: set_scheduling :maybe
-- How schedules are scheduled from now on. No row: it was so before. If there is no schedule yet, a
-- change has no other effect.
UPDATE scheduling SET mode = %(mode)s WHERE mode <> %(mode)s
RETURNING EXISTS (SELECT FROM schedules) AS matters;

-- name: read_scheduling :one
-- reads
-- How schedules are scheduled, as the daemon that was started last has recorded it.
SELECT mode FROM scheduling;

-- name: claim_due_scheduler_calls :many
-- fires: date_moments
-- Lease up to %(limit)s calls that are due, with the next step of each. Before a step that makes a
-- schedule, the call is marked: if no answer comes, the next step looks for the schedule.
-- Among all daemons, the first schedule with a cron is made alone: the call reserves the row of the
-- cron in scheduler_crons until a time. (If that is further ahead than %(longest)s, a wrong clock
-- has written it; while the clock is in doubt, %(takes_over)s is false, and no such time is over.)
-- The other calls that would make one with that cron wait, in a state of their own, so that they do
-- not delay other crons. %(window)s is how many of the due calls are looked at for this.
-- The revision is the one that was there when the other data were read, not that of the locked row:
-- changes that were committed in between are not seen here, and have to be made by a later call. If
-- another daemon has gone on with a call in between, the call is left for the next time.
WITH due AS MATERIALIZED (
    SELECT id, due_at, attempt FROM scheduler_calls
     WHERE state = 'owed' AND due_at <= now()
       AND (%(only)s::bigint[] IS NULL OR id = ANY(%(only)s::bigint[]))
     ORDER BY due_at, id LIMIT %(window)s FOR UPDATE SKIP LOCKED
), steps AS MATERIALIZED (
    SELECT due.due_at, s.*, s.step = 'create' AND c.known_at IS NULL AS is_first,
           row_number() OVER (PARTITION BY s.step = 'create' AND c.known_at IS NULL, s.wanted
                              ORDER BY due.due_at, s.id) AS of_cron
      FROM due JOIN scheduler_call_steps s ON s.id = due.id AND s.attempt = due.attempt
      LEFT JOIN scheduler_crons c ON c.cron_definition = s.wanted
), ranked AS MATERIALIZED (
    SELECT *, NOT is_first OR of_cron = 1 AS may_go,
           count(*) FILTER (WHERE NOT is_first OR of_cron = 1) OVER (ORDER BY due_at, id) AS place
      FROM steps
), tried AS MATERIALIZED (
    SELECT id, wanted, attempt + 1 AS attempt FROM ranked
     WHERE is_first AND may_go AND place <= %(limit)s
), taken AS (
    INSERT INTO scheduler_crons AS crons (cron_definition, call_id, attempt, taken_until)
    SELECT wanted, id, attempt, now() + %(lease)s + %(settle)s FROM tried ORDER BY wanted
        ON CONFLICT (cron_definition) DO UPDATE
       SET call_id = EXCLUDED.call_id, attempt = EXCLUDED.attempt,
           taken_until = EXCLUDED.taken_until
     WHERE crons.known_at IS NULL
       AND (crons.taken_until IS NULL
            OR %(takes_over)s AND (crons.taken_until <= now()
                                   OR crons.taken_until > now() + %(longest)s))
    RETURNING call_id
), decided AS MATERIALIZED (
    SELECT ranked.*, NOT is_first OR id IN (SELECT call_id FROM taken) AS is_claimed
      FROM ranked
     WHERE may_go AND place <= %(limit)s
        OR is_first AND wanted IN (SELECT wanted FROM tried)
)
UPDATE scheduler_calls calls
   SET state = CASE WHEN is_claimed THEN 'claimed' ELSE 'waiting' END,
       attempt = calls.attempt + is_claimed::integer,
       lease_until = CASE WHEN is_claimed THEN now() + %(lease)s END,
       waits_for = CASE WHEN NOT is_claimed THEN decided.wanted END,
       unknown_since = CASE WHEN is_claimed AND decided.step = 'create' THEN now() + %(lease)s
                            ELSE calls.unknown_since END
  FROM decided WHERE calls.id = ANY(ARRAY(SELECT id FROM due)) AND calls.id = decided.id
RETURNING calls.id, calls.kind, calls.target, calls.attempt, decided.revision, calls.faults,
          calls.fault, calls.owed_at, now() AS claimed_at, is_claimed, decided.step,
          decided.schedule_id, decided.wanted, decided.remote_id, decided.cron_definition,
          decided.made_with, decided.enabled, decided.is_addressed,
          COALESCE(now() >= decided.unknown_since + %(settle)s, true) AS is_late;

-- name: release_scheduler_calls :exec
-- fires: date_moments
-- Owe again up to %(limit)s of the calls that wait for a cron which is known by now, at the end of
-- the queue. If the cron is not known, but no POST with it is under way or of unknown outcome any
-- more, owe one of them.
UPDATE scheduler_calls SET state = 'owed', waits_for = NULL, due_at = now()
 WHERE id = ANY(ARRAY(
           SELECT waiting.id FROM scheduler_crons c CROSS JOIN LATERAL (
                  SELECT id FROM scheduler_calls
                   WHERE state = 'waiting' AND waits_for = c.cron_definition
                   ORDER BY id LIMIT CASE WHEN c.known_at IS NULL THEN 1 ELSE %(limit)s END
                     FOR UPDATE SKIP LOCKED) waiting
            WHERE EXISTS (SELECT FROM scheduler_calls WHERE state = 'waiting')
              AND (c.known_at IS NOT NULL OR c.taken_until IS NULL
                   OR %(takes_over)s AND (c.taken_until <= now()
                                          OR c.taken_until > now() + %(longest)s))));

-- name: know_cron :exec
-- A schedule with this cron was made: from now on, several may be made at a time.
INSERT INTO scheduler_crons AS crons (cron_definition, known_at)
SELECT %(cron)s, now()
 WHERE NOT EXISTS (SELECT FROM scheduler_crons
                    WHERE cron_definition = %(cron)s AND known_at IS NOT NULL)
    ON CONFLICT (cron_definition) DO UPDATE
   SET known_at = COALESCE(crons.known_at, EXCLUDED.known_at), call_id = NULL, attempt = NULL,
       taken_until = NULL;

-- name: forget_cron :exec
-- A schedule does not exist at the Scheduler any more. The Scheduler may be another one by now, and
-- may not know the cron.
UPDATE scheduler_crons SET known_at = NULL WHERE cron_definition = %(cron)s;

-- name: free_cron :exec
-- No POST of this call is under way or of unknown outcome: another call may try its cron, unless a
-- later attempt of this call has reserved it.
UPDATE scheduler_crons SET call_id = NULL, attempt = NULL, taken_until = NULL
 WHERE call_id = %(id)s AND attempt <= %(attempt)s;

-- name: remember_in_metadata :exec
-- Store the id of a subscription's schedule at the Scheduler where clients look for it. If the
-- metadata are not an object (imported ones may be), they stay unchanged.
UPDATE subscriptions
   SET metadata = CASE WHEN %(remote_id)s::text IS NULL THEN metadata - 'scheduler_schedule_id'
                       ELSE COALESCE(metadata, '{}')
                            || jsonb_build_object('scheduler_schedule_id', %(remote_id)s::text) END,
       updated_at = now()
 WHERE id = %(subscription_id)s AND COALESCE(jsonb_typeof(metadata), 'object') = 'object'
   AND metadata ->> 'scheduler_schedule_id' IS DISTINCT FROM %(remote_id)s;

-- name: remember_remote :maybe
-- Store what the Scheduler holds. It replaces the schedule that it was made to replace, if that is
-- disabled. No row: another schedule is remembered for the same target.
INSERT INTO scheduler_schedules AS known (kind, target, remote_id, cron_definition, made_with,
                                          enabled, is_addressed, silent_since)
VALUES (%(kind)s, %(target)s, %(remote_id)s, %(cron_definition)s, %(made_with)s, %(enabled)s,
        %(is_addressed)s,
        CASE WHEN %(is_silent)s THEN COALESCE(%(silent_since)s::timestamptz, now()) END)
    ON CONFLICT (kind, target) DO UPDATE
   SET remote_id = EXCLUDED.remote_id, cron_definition = EXCLUDED.cron_definition,
       made_with = EXCLUDED.made_with, enabled = EXCLUDED.enabled,
       is_addressed = EXCLUDED.is_addressed, silent_since = EXCLUDED.silent_since, told_at = now()
 WHERE known.remote_id = EXCLUDED.remote_id
    OR known.remote_id = %(replaces)s AND NOT known.enabled
RETURNING remote_id;

-- name: lock_remote :maybe
-- Since when the Scheduler makes no calls for this target, and the time. The row of the target is
-- locked until the transaction ends.
SELECT silent_since, now() AS now FROM scheduler_schedules
 WHERE kind = %(kind)s AND target = %(target)s FOR UPDATE;

-- name: lock_schedule_of_scheduler_call :exec
-- Lock a schedule before its call, in the order of all changes to schedules. It may be deleted.
SELECT id FROM schedules WHERE id = %(schedule_id)s FOR NO KEY UPDATE;

-- name: forget_remote :exec
-- Forget a schedule that does not exist at the Scheduler.
DELETE FROM scheduler_schedules WHERE kind = %(kind)s AND target = %(target)s;

-- name: forget_remote_of_nobody :exec
-- Forget a schedule that is disabled and whose target is deleted: no more calls about it are made.
DELETE FROM scheduler_schedules r
 WHERE kind = %(kind)s AND target = %(target)s AND NOT enabled
   AND NOT EXISTS (SELECT FROM subscriptions
                    WHERE id = CASE WHEN r.kind = 'subscription' THEN r.target::uuid END)
   AND NOT EXISTS (SELECT FROM schedules
                    WHERE id = CASE WHEN r.kind = 'schedule' THEN r.target::integer END);

-- name: finish_scheduler_call :exec
-- fires: date_moments
-- The call is done, unless something has changed since it was claimed: then it is owed again, at
-- once.
WITH call AS MATERIALIZED (
    SELECT id, revision FROM scheduler_calls
     WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'claimed' FOR UPDATE
), done AS (
    DELETE FROM scheduler_calls calls USING call
     WHERE calls.id = call.id AND call.revision = %(revision)s AND NOT %(is_owed_again)s
)
UPDATE scheduler_calls calls
   SET state = 'owed', lease_until = NULL, unknown_since = NULL, due_at = now(), faults = 0,
       fault = ''
  FROM call
 WHERE calls.id = call.id AND (call.revision <> %(revision)s OR %(is_owed_again)s);

-- name: put_off_scheduler_call :exec
-- fires: date_moments
-- Owe the call again, later.
UPDATE scheduler_calls
   SET state = 'owed', lease_until = NULL, due_at = now() + %(delay)s, reason = %(reason)s,
       faults = faults + %(is_fault)s::integer,
       fault = CASE WHEN %(is_fault)s THEN %(reason)s ELSE fault END,
       unknown_since = CASE %(doubt)s WHEN 'none' THEN NULL WHEN 'begun' THEN now()
                                      ELSE unknown_since END
 WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'claimed';

-- name: refuse_scheduler_call :exec
-- fires: date_moments
-- The call is not tried again until something changes, or the two sides are compared. If something
-- has changed since it was claimed, it is owed again, at once.
UPDATE scheduler_calls
   SET state = CASE WHEN revision = %(revision)s THEN 'refused' ELSE 'owed' END,
       due_at = now(), lease_until = NULL, unknown_since = NULL, reason = %(reason)s
 WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'claimed';

-- name: expire_scheduler_calls :exec
-- fires: date_moments
-- Owe again the calls whose lease expired: their daemon stopped renewing it. If a schedule may have
-- been made, the next step looks for it.
UPDATE scheduler_calls SET state = 'owed', lease_until = NULL, due_at = now()
 WHERE id = ANY(ARRAY(
           SELECT id FROM scheduler_calls WHERE state = 'claimed' AND lease_until < now()
            ORDER BY lease_until LIMIT %(limit)s FOR UPDATE SKIP LOCKED));

-- name: owe_scheduler_call :exec
-- fires: date_moments
-- Owe a call because the Scheduler was found to hold something else than it should.
SELECT owe_scheduler_call(%(kind)s, %(target)s);

-- name: stop_calling :one
-- fires: date_moments
-- The Scheduler calls for a subscription for which it should not. A call to stop is owed, even if
-- one was made before.
WITH subscription AS (
    SELECT id::text AS target, metadata FROM subscriptions WHERE id = %(subscription_id)s
), forgotten AS (
    UPDATE scheduler_schedules SET enabled = NULL
     WHERE kind = 'subscription' AND target = %(subscription_id)s::uuid::text
    RETURNING target
), owed AS MATERIALIZED (
    SELECT owe_scheduler_call('subscription', %(subscription_id)s::uuid::text)
     WHERE EXISTS (SELECT FROM forgotten)
        OR EXISTS (SELECT FROM subscription WHERE metadata ->> 'scheduler_schedule_id' <> '')
)
SELECT (SELECT count(*) FROM owed) AS owed, EXISTS (SELECT FROM subscription) AS found;

-- name: stop_calling_schedule :exec
-- fires: date_moments
-- The same for a whole schedule, if the Scheduler is known to hold it, and if the built-in clock
-- makes the ticks or a call to stop was made before. No row: the Scheduler may call.
WITH forgotten AS (
    UPDATE scheduler_schedules r SET enabled = NULL
     WHERE kind = 'schedule' AND target = %(schedule_id)s::integer::text
       AND (%(clock_ticks)s OR NOT enabled
            OR EXISTS (SELECT FROM scheduler_calls calls
                        WHERE calls.kind = r.kind AND calls.target = r.target))
    RETURNING target
)
SELECT owe_scheduler_call('schedule', target) FROM forgotten;

-- name: find_remote :maybe
-- reads
-- What the Scheduler is known to hold for this target.
SELECT remote_id, cron_definition, made_with, enabled, is_addressed FROM scheduler_schedules
 WHERE kind = %(kind)s AND target = %(target)s;

-- name: lock_scheduler_call :exec
-- Lock this call, so that it is not owed again until the transaction ends. It is a statement of its
-- own, because only the next one sees what another transaction has changed meanwhile.
SELECT id FROM scheduler_calls WHERE id = %(id)s FOR UPDATE;

-- name: look_at_members :maybe
-- fires: date_moments
-- Owe a call for those of the next %(limit)s subscriptions of this schedule that are under way and
-- for which the Scheduler holds something else than it should.
-- If the Scheduler shall hold nothing, these are all that are not known to be disabled there.
WITH call AS MATERIALIZED (
    SELECT id, target::integer AS schedule_id, up_to FROM scheduler_calls
     WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'claimed'
), told AS MATERIALIZED (
    SELECT cron_definition(schedules) FROM schedules JOIN call ON call.schedule_id = schedules.id
), members AS MATERIALIZED (
    SELECT s.id FROM call CROSS JOIN LATERAL (
           SELECT id FROM subscriptions
            WHERE schedule_id = call.schedule_id AND active AND NOT completed AND id > call.up_to
            ORDER BY id LIMIT %(limit)s) s
), owed AS MATERIALIZED (
    SELECT owe_scheduler_call('subscription', members.id::text)
      FROM members CROSS JOIN told
      LEFT JOIN scheduler_schedules known ON known.kind = 'subscription'
                                      AND known.target = members.id::text
     WHERE CASE WHEN told.cron_definition IS NULL THEN known.enabled IS DISTINCT FROM false
                ELSE known.cron_definition IS DISTINCT FROM told.cron_definition
                     OR known.enabled IS DISTINCT FROM true END
), looked_at AS (
    SELECT count(*) AS count, (array_agg(id ORDER BY id DESC))[1] AS last FROM members
)
UPDATE scheduler_calls calls
   SET up_to = COALESCE(looked_at.last, calls.up_to), lease_until = now() + %(lease)s
  FROM call, looked_at, (SELECT count(*) AS owed FROM owed) counted
 WHERE calls.id = call.id
RETURNING looked_at.count,
          CASE WHEN counted.owed > 0 THEN pg_notify('sbm_scheduler_calls', '') END;

-- name: list_troubled :many
-- reads
-- The calls that the Scheduler has refused, and those at which it fails, the newest %(limit)s, with
-- the schedule, the cron and the subscription of each.
SELECT kind, target, state, schedule_id, COALESCE(wanted, steps.cron_definition) AS cron_definition,
       faults, reason
  FROM (SELECT id, faults, reason FROM (
            (SELECT id, faults, reason FROM scheduler_calls WHERE state = 'refused'
              ORDER BY id DESC LIMIT %(limit)s)
            UNION
            (SELECT id, faults, CASE WHEN fault <> '' THEN fault ELSE reason END FROM scheduler_calls
              WHERE faults > 0 AND state <> 'refused' ORDER BY id DESC LIMIT %(limit)s)) troubled
         ORDER BY id DESC LIMIT %(limit)s) troubled
  JOIN scheduler_call_steps steps USING (id)
 ORDER BY state <> 'refused', id DESC;
