-- Looking for those who are behind: what has to be known of the schedules before.

-- name: begin_search :one
-- A new search, for where they should be at a moment, or now.
INSERT INTO searches (as_of) VALUES (COALESCE(%(as_of)s, now())) RETURNING id AS search_id, as_of;

-- name: survey_subscriptions :maybe
-- reads
-- Of the next %(limit)s subscriptions after this id, the oldest that is under way and matches: since
-- then the runs of the schedules matter. A null parameter is no filter. No row: there are no more.
WITH page AS MATERIALIZED (
    SELECT id, created_at,
           active AND NOT completed
           AND (%(messageset_id)s IS NULL OR messageset_id = %(messageset_id)s)
           AND (%(schedule_id)s IS NULL OR schedule_id = %(schedule_id)s) AS is_meant
      FROM subscriptions WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
)
SELECT (array_agg(id ORDER BY id DESC))[1] AS last, count(*) AS looked_at,
       min(created_at) FILTER (WHERE is_meant) AS since
  FROM page HAVING count(*) > 0;

-- name: insert_runs :exec
-- The next so many runs of a schedule, from this number on.
INSERT INTO schedule_runs (search_id, schedule_id, number, run_at)
SELECT %(search_id)s, %(schedule_id)s, %(first)s::integer + ordinality - 1, run_at
  FROM unnest(%(runs)s::timestamptz[]) WITH ORDINALITY AS run (run_at, ordinality);

-- name: analyze_runs :exec
-- The planner has to know what was just filled in.
ANALYZE schedule_runs;

-- name: find_search :maybe
-- reads
-- Whether it is still there: a crash of the database takes it, and its runs, away.
SELECT id FROM searches WHERE id = %(search_id)s;

-- name: list_ended_searches :many
-- reads
-- Searches that nobody can be at any more; what one that died has left stays for a day.
SELECT id FROM searches WHERE began_at < now() - interval '1 day' ORDER BY id;

-- name: delete_runs :exec
-- Up to %(limit)s runs of a search.
DELETE FROM schedule_runs WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM schedule_runs WHERE search_id = %(search_id)s LIMIT %(limit)s));

-- name: delete_search :exec
-- A search, once its runs are gone.
DELETE FROM searches WHERE id = %(search_id)s;
