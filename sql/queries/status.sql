-- What an operator asks first.

-- name: list_open_ticks :many
-- reads
-- The ticks of schedules that are being expanded, or that have live sends, oldest first. One pass
-- over the live sends.
WITH live AS MATERIALIZED (
    SELECT tick_id, count(*) AS count FROM sends GROUP BY tick_id
)
SELECT ticks.id, ticks.source, ticks.state, ticks.schedule_id, ticks.due_at, ticks.created_at,
       ticks.triggers, COALESCE(live.count, 0) AS live, ticks.expanded_up_to, now() AS now,
       hold_of(ticks.id, ticks.schedule_id, NULL) AS hold
  FROM ticks LEFT JOIN live ON live.tick_id = ticks.id
 WHERE ticks.source <> 'single'
   AND (ticks.state = 'expanding' OR ticks.id = ANY(ARRAY(SELECT tick_id FROM live)))
 ORDER BY ticks.id;
