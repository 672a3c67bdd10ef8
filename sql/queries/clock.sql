-- The database's clock, and the repair of moments that it wrote while it was wrong.

-- name: read_now :one
-- reads
-- The time.
SELECT now() AS now;

-- name: read_clock :one
-- reads
-- The time, and the known facts about the clock: the last jump, and the last reading of the
-- machine. recorded: by how much the clock was set since the jump that is known, as others have
-- recorded it. was_ahead and was_behind: how far it was from the clock of now at most, by all jumps.
-- It reads two small tables.
SELECT now() AS now, EXTRACT(epoch FROM now())::float8 AS seconds, last_jump.id AS jump_id,
       EXTRACT(epoch FROM now() - last_jump.seen_at)::float8 AS seen_ago,
       EXTRACT(epoch FROM last_jump.doubted_until - now())::float8 AS doubted_for,
       reading.uptime, reading.lowest, reading.highest, reading.jump_id AS reading_jump_id,
       (SELECT COALESCE(EXTRACT(epoch FROM sum(size)), 0)::float8 FROM clock_jumps
         WHERE id > COALESCE(%(known)s::bigint, reading.jump_id)) AS recorded,
       past.was_ahead, past.was_behind
  FROM (SELECT COALESCE(EXTRACT(epoch FROM GREATEST(max(ahead), '0')), 0)::float8 AS was_ahead,
               COALESCE(EXTRACT(epoch FROM GREATEST(-min(ahead), '0')), 0)::float8 AS was_behind
          FROM (SELECT -sum(size) OVER (ORDER BY id DESC) AS ahead FROM clock_jumps) before) past
  LEFT JOIN LATERAL (SELECT * FROM clock_jumps ORDER BY id DESC LIMIT 1) last_jump ON true
  LEFT JOIN clock_readings reading ON reading.machine = %(machine)s;

-- name: lock_clock :exec
-- reads
-- Daemons record a jump one after the other, so that each finds what was recorded before.
SELECT pg_advisory_xact_lock(736266, 4);

-- name: sum_jumps :one
-- reads
-- The jumps since the known one. It is a statement of its own, because only a statement after the
-- lock sees what others have recorded before.
SELECT COALESCE(EXTRACT(epoch FROM sum(size)), 0)::float8 AS recorded, max(id) AS jump_id
  FROM clock_jumps WHERE id > %(known)s;

-- name: record_jump :one
-- Record that the clock was set, by how much, and how long ago at most.
INSERT INTO clock_jumps (size, earliest_at, seen_at, doubted_until, last_tick_id)
SELECT make_interval(secs => %(seconds)s), now() - make_interval(secs => %(within)s), now(),
       now() + make_interval(secs => %(doubted_for)s), COALESCE(max(id), 0)
  FROM ticks
RETURNING id;

-- name: keep_reading :exec
-- The distance between this clock and the machine's uptime, for daemons that start later.
INSERT INTO clock_readings (machine, uptime, lowest, highest, jump_id, read_at)
VALUES (%(machine)s, %(uptime)s, %(lowest)s, %(highest)s, %(jump_id)s, now())
    ON CONFLICT (machine) DO UPDATE
   SET uptime = EXCLUDED.uptime, lowest = EXCLUDED.lowest, highest = EXCLUDED.highest,
       jump_id = EXCLUDED.jump_id, read_at = EXCLUDED.read_at;

-- name: delete_old_readings :exec
-- Readings of machines that were started again since, or do not exist any more. A jump is kept as
-- long as the ticks that were made before it.
WITH gone AS (
    DELETE FROM clock_readings WHERE read_at < now() - interval '90 days'
)
DELETE FROM clock_jumps
 WHERE seen_at < now() - interval '90 days' AND last_tick_id < (SELECT min(id) FROM ticks);

-- name: repair_sends :exec
-- fires: date_moments
-- Correct the moments that a wrong clock has written into sends: a delay, or a lease, now begins at
-- the time of now. dated_at shows which rows were written before the clock was set; and a moment
-- further ahead than any delay or lease can reach is wrong in any case. A trigger corrects the
-- other moments of the row. All such moments lie ahead, so that the indexes find them. Rows that
-- another transaction has locked are left for the next time.
WITH owed AS MATERIALIZED (
    SELECT ahead.id FROM owed_queues queue CROSS JOIN LATERAL (
        SELECT id FROM sends
         WHERE state = 'owed' AND queue_tick_id = queue.tick_id
           AND queue_schedule_id = queue.schedule_id
           AND queue_messageset_id = queue.messageset_id AND due_at > now()
           AND (dated_at > now() OR due_at > now() + %(most)s::interval)
         ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED) ahead
     LIMIT %(limit)s
), claimed AS MATERIALIZED (
    SELECT id FROM sends
     WHERE state = 'claimed' AND lease_until > now()
       AND (dated_at > now() OR lease_until > now() + %(most)s::interval)
     ORDER BY lease_until LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), unknown AS MATERIALIZED (
    SELECT id FROM sends
     WHERE state = 'unknown'
       AND (due_at > now() AND (dated_at > now() OR due_at > now() + %(most)s::interval)
            OR unknown_since > GREATEST(now(), dated_at) + %(most)s::interval)
     ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), ahead AS MATERIALIZED (
    SELECT id FROM owed UNION ALL SELECT id FROM claimed UNION ALL SELECT id FROM unknown
)
UPDATE sends
   SET due_at = CASE WHEN state = 'claimed' THEN due_at
                     WHEN due_at - dated_at BETWEEN interval '0' AND %(most)s::interval
                     THEN now() + (due_at - dated_at) ELSE now() END,
       lease_until = CASE WHEN state = 'claimed'
                          THEN now() + CASE WHEN lease_until - dated_at <= %(most)s::interval
                                            THEN lease_until - dated_at
                                            ELSE %(lease)s::interval END END,
       unknown_since = CASE WHEN unknown_since > GREATEST(now(), dated_at) + %(most)s::interval
                            THEN now() + %(lease)s::interval ELSE unknown_since END
 WHERE id = ANY(ARRAY(SELECT id FROM ahead));

-- name: repair_scheduler_calls :exec
-- fires: date_moments
-- The same for calls that are owed to the Scheduler.
WITH ahead AS MATERIALIZED (
    SELECT id FROM scheduler_calls
     WHERE (state = 'owed' AND due_at > now() OR state = 'claimed' AND lease_until > now())
       AND (dated_at > now() OR GREATEST(due_at, lease_until) > now() + %(most)s::interval)
     ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE scheduler_calls
   SET due_at = CASE WHEN state = 'claimed' THEN due_at
                     WHEN due_at - dated_at BETWEEN interval '0' AND %(most)s::interval
                     THEN now() + (due_at - dated_at) ELSE now() END,
       lease_until = CASE WHEN state = 'claimed'
                          THEN now() + CASE WHEN lease_until - dated_at <= %(most)s::interval
                                            THEN lease_until - dated_at
                                            ELSE %(lease)s::interval END END
 WHERE id = ANY(ARRAY(SELECT id FROM ahead));

-- name: repair_tasks :exec
-- fires: date_moments
-- The same for tasks, so that a task whose daemon stopped renewing its lease is begun again in time.
UPDATE tasks
   SET lease_until = now() + CASE WHEN lease_until - dated_at <= %(most)s::interval
                                  THEN lease_until - dated_at ELSE %(lease)s::interval END
 WHERE state = 'begun' AND (dated_at > now() OR lease_until > now() + %(most)s::interval);

-- name: repair_content_changes :exec
-- The times when content changed last, from which subscriptions complete an hour later: a time that
-- lies ahead is replaced by the time of now. That is by the clock that the trigger reads, because
-- its rows may be younger than this transaction. Rows that an editor has locked are written again
-- anyway.
UPDATE content_changes SET changed_at = clock_timestamp()
 WHERE (messageset_id, lang) IN (
           SELECT messageset_id, lang FROM content_changes
            WHERE changed_at > clock_timestamp() FOR UPDATE SKIP LOCKED);
