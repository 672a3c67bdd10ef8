-- columns:
id, lane, schedule_id, messageset_id, on_ticks, reason, paused_by, since, until, paused_at,
ended_at, ended_by

-- name: begin_pausing :exec
-- reads
-- A pause takes two commits. From the first on, nothing of it is claimed, and each daemon gives back
-- what it has not begun: it is pausing. The second comes when no claim of it is left. From then on,
-- no POST of it can begin: it is paused. This statement comes first. It waits for the claims that
-- are under way, and lets no other begin: so each claim either was committed before the pause, or
-- sees it.
SELECT pg_advisory_xact_lock(736266, 5);

-- name: insert_send_pause :one
-- The first commit.
INSERT INTO pauses (kind, lane, schedule_id, messageset_id, on_ticks, reason, paused_by, until)
VALUES ('operator', %(lane)s, %(schedule_id)s, %(messageset_id)s, %(on_ticks)s, %(reason)s,
        %(paused_by)s, %(until)s)
RETURNING id, pg_notify('sbm_pauses', '');

-- name: find_send_pause :maybe
-- reads
-- One pause, with the number of its sends that daemons have in hand.
SELECT {columns},
       CASE WHEN ended_at IS NULL AND paused_at IS NULL
            THEN (SELECT count(*) FROM sends
                   WHERE state = 'claimed'
                     AND pause_covers(pauses, queue_tick_id, queue_schedule_id,
                                      queue_messageset_id))
            ELSE 0 END AS in_hand
  FROM pauses WHERE kind = 'operator' AND id = %(id)s;

-- name: list_send_pauses :many
-- reads
-- page: id DESC
-- A page of pauses, newest first, with the numbers of their sends that daemons have in hand.
SELECT {columns}, pauses AS whole FROM pauses
 WHERE kind = 'operator'
  [AND (ended_at IS NOT NULL) = %(is_ended)s]
  [AND (paused_at IS NOT NULL) = %(is_paused)s]
-- shown:
SELECT {columns},
       CASE WHEN ended_at IS NULL AND paused_at IS NULL
            THEN (SELECT count(*) FROM sends
                   WHERE state = 'claimed'
                     AND pause_covers(page.whole, queue_tick_id, queue_schedule_id,
                                      queue_messageset_id))
            ELSE 0 END AS in_hand
  FROM page;

-- name: list_open_send_pauses :many
-- reads
-- All pauses that have not ended, oldest first.
SELECT {columns},
       CASE WHEN paused_at IS NULL
            THEN (SELECT count(*) FROM sends
                   WHERE state = 'claimed'
                     AND pause_covers(pauses, queue_tick_id, queue_schedule_id,
                                      queue_messageset_id))
            ELSE 0 END AS in_hand
  FROM pauses WHERE kind = 'operator' AND ended_at IS NULL ORDER BY id;

-- name: finish_pausing :many
-- The second commit, for those of these pauses whose sends no daemon has in hand any more. A claim
-- counts as gone when its lease must have ended, by the clock of whoever asks: %(seen)s says for how
-- many seconds they have known the pause, and a lease is not renewed during a pause. So a daemon that
-- hangs keeps a pause from being in force for one lease at most, whatever the database's clock says.
UPDATE pauses SET paused_at = now()
  FROM jsonb_to_recordset(%(seen)s) AS seen (id bigint, seconds double precision)
 WHERE pauses.id = seen.id AND paused_at IS NULL AND ended_at IS NULL
   AND NOT EXISTS (
           SELECT FROM sends
            WHERE state = 'claimed'
              AND pause_covers(pauses, queue_tick_id, queue_schedule_id, queue_messageset_id)
              AND EXTRACT(epoch FROM lease_until - dated_at) + 1 > seen.seconds)
RETURNING pauses.id;

-- name: end_send_pauses :many
-- End these pauses.
UPDATE pauses SET ended_at = now(), ended_by = %(ended_by)s
 WHERE id = ANY(%(ids)s::bigint[]) AND kind = 'operator' AND ended_at IS NULL
RETURNING id, pg_notify('sbm_pauses', '');

-- name: end_due_send_pauses :many
-- End the pauses that end by themselves, if it is time.
UPDATE pauses SET ended_at = now()
 WHERE kind = 'operator' AND ended_at IS NULL AND until <= now()
RETURNING id, pg_notify('sbm_pauses', '');

-- name: count_sends_of_scope :one
-- reads
-- How many sends a pause of this scope would hold back, and how many of it daemons have in hand. One
-- pass over a table that has only live sends.
SELECT count(*) FILTER (WHERE state = 'owed') AS owed,
       count(*) FILTER (WHERE state = 'claimed') AS in_hand
  FROM sends
 WHERE true
  [AND lane = %(lane)s]
  [AND queue_schedule_id = %(schedule_id)s]
  [AND queue_messageset_id = %(messageset_id)s]
;
