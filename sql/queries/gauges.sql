-- Numbers of live sends, scheduler calls and doubles, for graphs.

-- name: measure_sends :many
-- reads
-- The live sends by state and lane, and by why they are held back, if they are; and since when the
-- oldest of each is owed, or unknown. One pass over a table that has only live sends.
SELECT state, lane, hold, sum(count)::bigint AS count,
       GREATEST(EXTRACT(epoch FROM now() - min(owed_at)), 0)::float8 AS owed_seconds,
       EXTRACT(epoch FROM now() - min(unknown_since))::float8 AS unknown_seconds
  FROM (SELECT state, lane, queue_tick_id, queue_schedule_id, queue_messageset_id,
               count(*) AS count, min(owed_at) AS owed_at, min(unknown_since) AS unknown_since
          FROM sends
         GROUP BY state, lane, queue_tick_id, queue_schedule_id, queue_messageset_id) queue
 CROSS JOIN LATERAL (
       SELECT CASE WHEN state = 'owed'
                   THEN hold_of(queue_tick_id, queue_schedule_id, queue_messageset_id) END
              AS hold) held
 GROUP BY state, lane, hold;

-- name: measure_scheduler_calls :one
-- reads
-- The calls that are owed to the Scheduler, since when the oldest is owed, and those that it
-- refused.
SELECT count(*) FILTER (WHERE state <> 'refused') AS owed,
       count(*) FILTER (WHERE state = 'refused') AS refused,
       EXTRACT(epoch FROM now() - min(owed_at) FILTER (WHERE state <> 'refused'))::float8
           AS owed_seconds
  FROM scheduler_calls;

-- name: count_doubles :one
-- reads
-- The outbounds that are known besides those that the ledger names. There should be none.
SELECT count(*) AS doubles FROM doubles;
