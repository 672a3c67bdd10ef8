-- The rates of schedules, and of all together: which moments are left.

-- name: reserve_moments :one
-- Reserve the next moments at which messages of a schedule may leave (0: of all). An UPDATE of two
-- rows at most, which are locked for a moment.
SELECT now, first_at, spacing, count
  FROM reserve_moments(%(schedule_id)s, %(schedule_rate)s, %(overall_rate)s, %(wanted)s,
                       %(soonest)s, %(ahead)s);
