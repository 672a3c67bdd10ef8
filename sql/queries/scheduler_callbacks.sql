-- Calls of the Seed Scheduler that may be repeated, and the answers of the first time.

-- name: lock_target :exec
-- reads
-- Wait for another call for the same target that is under way, and lock the target until the
-- transaction ends. It is a statement of its own, because only the next one sees what the other
-- call has committed.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(' ', %(kind)s::text, %(target)s::text), 0));

-- name: read_crons :one
-- reads
-- The time, the cron that the Scheduler was told for this target, and the one that it would be told
-- now. Either may be null.
SELECT now() AS now,
       (SELECT cron_definition FROM scheduler_schedules
         WHERE kind = %(kind)s AND target = %(target)s) AS told,
       (SELECT cron_definition(schedules) FROM schedules
         WHERE id = COALESCE(%(schedule_id)s::integer,
                             (SELECT schedule_id FROM subscriptions
                               WHERE id = %(subscription_id)s::uuid))) AS wanted;

-- name: list_recent :many
-- reads
-- The recorded calls for this target; %(ahead)s is for transactions that began after this one. One
-- that is recorded as later than now was recorded while the clock was wrong, and is left out.
-- Within two days after a jump of the database's clock, the clock of the daemon says how long ago a
-- call came. If the two clocks differ, the call's moment was written by a clock that was wrong.
SELECT moment, came_at, abs(EXTRACT(epoch FROM came_at - created_at)) > 1 AS is_misdated, status, body
  FROM scheduler_callbacks,
       LATERAL (SELECT CASE WHEN EXISTS (SELECT FROM clock_jumps
                                          WHERE seen_at > now() - interval '2 days')
                            THEN now() - (%(local_time)s::timestamptz - received_at)
                            ELSE created_at END AS came_at) told
 WHERE kind = %(kind)s AND target = %(target)s
   AND came_at > now() - %(kept)s::interval AND came_at < now() + %(ahead)s::interval;

-- name: record :exec
-- A call that was done, and its answer. It replaces one of the same moment that list_recent left
-- out.
INSERT INTO scheduler_callbacks (kind, target, moment, status, body, received_at)
VALUES (%(kind)s, %(target)s, %(moment)s, %(status)s, %(body)s, %(received_at)s)
    ON CONFLICT (kind, target, moment) DO UPDATE
   SET created_at = excluded.created_at, received_at = excluded.received_at,
       status = excluded.status, body = excluded.body;

-- name: delete_old :exec
-- Calls that can no longer be repeated, by either clock. One that is being recorded again is
-- skipped. Rows are found by their ctid, which they keep while they are locked. By their key, the
-- planner would read the whole table for each portion.
DELETE FROM scheduler_callbacks
 WHERE created_at <= now() - %(kept)s::interval
   AND ctid = ANY(ARRAY(
           SELECT ctid FROM scheduler_callbacks
            WHERE created_at <= now() - %(kept)s::interval
              AND NOT received_at BETWEEN %(local_time)s::timestamptz - %(kept)s::interval
                                      AND %(local_time)s::timestamptz + %(ahead)s::interval
            ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED));

-- name: delete_future :exec
-- Calls that were recorded while the clock was ahead, and are not recent by the clock of the
-- daemon. When that moment really comes, they would be mistaken for the call of that moment.
DELETE FROM scheduler_callbacks
 WHERE created_at >= now() + %(ahead)s::interval
   AND ctid = ANY(ARRAY(
           SELECT ctid FROM scheduler_callbacks
            WHERE created_at >= now() + %(ahead)s::interval
              AND NOT received_at BETWEEN %(local_time)s::timestamptz - %(kept)s::interval
                                      AND %(local_time)s::timestamptz + %(ahead)s::interval
            ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED));
