-- Ticks with a brake or a canary: how their sends ended, and whether they are held back. Results are
-- counted by settle_sends, and first faults by give_back_sends and owe_again. The trigger judge_tick
-- stops a tick, and the function lock_due_sends claims from it.

-- name: find_watched_tick :maybe
-- reads
-- The brake and the canary of a tick, and how many of its sends were counted for them.
SELECT canary, brake_percent, brake_after, posted, failed, hold, held_at, released_at, released_by
  FROM watched_ticks WHERE tick_id = %(tick_id)s;

-- name: leave_unwatched :exec
-- A tick that was opened just now has no brake and no canary.
DELETE FROM watched_ticks WHERE tick_id = %(tick_id)s;

-- name: watch_otherwise :exec
-- A tick that was opened just now has this brake and this canary, whatever its schedule has.
INSERT INTO watched_ticks (tick_id, canary, brake_percent, brake_after)
VALUES (%(tick_id)s, %(canary)s, %(brake_percent)s, %(brake_after)s)
    ON CONFLICT (tick_id) DO UPDATE
   SET canary = EXCLUDED.canary, brake_percent = EXCLUDED.brake_percent,
       brake_after = EXCLUDED.brake_after;

-- name: list_held_ticks :many
-- reads
-- The ticks that are held back until a person releases them, if anything is left of them, oldest
-- first.
SELECT w.tick_id, ticks.schedule_id, w.hold, w.posted, w.failed, w.held_at
  FROM watched_ticks w JOIN ticks ON ticks.id = w.tick_id
 WHERE hold IN ('braked', 'canary')
   AND (ticks.state = 'expanding'
        OR EXISTS (SELECT FROM sends WHERE state = 'owed' AND queue_tick_id = w.tick_id OFFSET 0))
 ORDER BY w.tick_id;

-- name: release_tick :many
-- fires: judge_tick
-- A person releases a tick: its canary has done its work, and its brake counts from now. Returns why
-- it was held back; no row: it has no brake and no canary, or was stopped for good.
WITH before AS (
    SELECT tick_id, hold FROM watched_ticks
     WHERE tick_id = %(tick_id)s AND hold IS DISTINCT FROM 'stopped' FOR UPDATE
)
UPDATE watched_ticks w
   SET hold = NULL, held_at = NULL, canary = NULL, posted = 0, failed = 0,
       released_at = now(), released_by = %(released_by)s
  FROM before WHERE w.tick_id = before.tick_id
RETURNING before.hold, pg_notify('sbm_pauses', '');

-- name: forget_watched_ticks :exec
-- The results of ticks that are over need not be counted any more: those whose balance was found,
-- and that are marked as checked.
DELETE FROM watched_ticks
 WHERE tick_id IN (SELECT id FROM ticks WHERE id IN (SELECT tick_id FROM watched_ticks)
                                          AND is_checked_off);
