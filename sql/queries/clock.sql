-- The database's clock, and what becomes of the moments that it wrote while it was wrong.

-- name: read_now :one
-- reads
-- What time it is.
SELECT now() AS now;

-- name: read_clock :one
-- reads
-- What time it is, and what is known about the clock: the last jump, and what the machine read last.
-- recorded: by how much the clock was set, as others have recorded it since the jump that is known.
-- One look at two small tables.
SELECT now() AS now, EXTRACT(epoch FROM now())::float8 AS seconds, last_jump.id AS jump_id,
       EXTRACT(epoch FROM now() - last_jump.seen_at)::float8 AS seen_ago,
       EXTRACT(epoch FROM last_jump.doubted_until - now())::float8 AS doubted_for,
       reading.uptime, reading.lowest, reading.highest, reading.jump_id AS reading_jump_id,
       (SELECT COALESCE(EXTRACT(epoch FROM sum(size)), 0)::float8 FROM clock_jumps
         WHERE id > COALESCE(%(known)s::bigint, reading.jump_id)) AS recorded
  FROM (SELECT) here
  LEFT JOIN LATERAL (SELECT * FROM clock_jumps ORDER BY id DESC LIMIT 1) last_jump ON true
  LEFT JOIN clock_readings reading ON reading.machine = %(machine)s;

-- name: lock_clock :exec
-- reads
-- One daemon after the other writes down what it saw: the next one finds that it was seen already.
SELECT pg_advisory_xact_lock(736266, 4);

-- name: sum_jumps :one
-- reads
-- A statement of its own: only this one sees what others have written before the lock was had.
SELECT COALESCE(EXTRACT(epoch FROM sum(size)), 0)::float8 AS recorded, max(id) AS jump_id
  FROM clock_jumps WHERE id > %(known)s;

-- name: record_jump :one
-- The clock was set by so much, no longer ago than so long.
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
-- Of machines that have been started anew since, or are gone. A jump matters for as long as the
-- ticks that were made before it.
WITH gone AS (
    DELETE FROM clock_readings WHERE read_at < now() - interval '90 days'
)
DELETE FROM clock_jumps
 WHERE seen_at < now() - interval '90 days' AND last_tick_id < (SELECT min(id) FROM ticks);

-- name: repair_sends :exec
-- fires: date_moments
-- Bring back what a wrong clock has written into sends: what was due, or leased, for so long from
-- then on, is so from now on. What was not written by the clock of now is known by dated_at; and
-- what lies further ahead than any delay or lease of ours can reach is wrong all the same. The other
-- moments of the row are brought back by its trigger. Such moments all lie ahead, where the indexes
-- have them; rows that somebody holds are for the next time.
WITH single AS MATERIALIZED (
    SELECT id FROM sends
     WHERE state = 'owed' AND lane = 'single' AND due_at > now()
       AND (dated_at > now() OR due_at > now() + %(most)s::interval)
     ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), tick AS MATERIALIZED (
    SELECT id FROM sends
     WHERE state = 'owed' AND lane = 'tick' AND due_at > now()
       AND (dated_at > now() OR due_at > now() + %(most)s::interval)
     ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
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
    SELECT id FROM single UNION ALL SELECT id FROM tick UNION ALL SELECT id FROM claimed
     UNION ALL SELECT id FROM unknown
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
-- The same for what the Scheduler is owed.
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
-- The same for work in the background: whose owner fell silent is begun anew when its lease ends.
UPDATE tasks
   SET lease_until = now() + CASE WHEN lease_until - dated_at <= %(most)s::interval
                                  THEN lease_until - dated_at ELSE %(lease)s::interval END
 WHERE state = 'begun' AND (dated_at > now() OR lease_until > now() + %(most)s::interval);

-- name: repair_content_changes :exec
-- When content changed last, of which much is concluded an hour later: what lies ahead is as if it
-- had been just now. By the clock that the trigger reads, since its rows may be younger than this
-- transaction; and what an editor has in hand is written anew anyway.
UPDATE content_changes SET changed_at = clock_timestamp()
 WHERE (messageset_id, lang) IN (
           SELECT messageset_id, lang FROM content_changes
            WHERE changed_at > clock_timestamp() FOR UPDATE SKIP LOCKED);
