-- The runs of schedules, which a search for behind subscriptions needs.

-- name: begin_search :one
-- A new search, for the numbers that subscriptions should have reached at a moment, or now.
INSERT INTO searches (as_of) VALUES (COALESCE(%(as_of)s, now())) RETURNING id AS search_id, as_of;

-- name: survey_subscriptions :maybe
-- reads
-- Of the next %(limit)s subscriptions after this id, the oldest that is under way and matches: the
-- runs of the schedules are needed since then. A null parameter is no filter. No row: there are no
-- more.
WITH page AS MATERIALIZED (
    SELECT id, created_at,
           active AND NOT completed
           AND (%(messageset_id)s IS NULL OR messageset_id = %(messageset_id)s)
           AND (%(schedule_id)s IS NULL OR schedule_id = %(schedule_id)s) AS is_meant
      FROM subscriptions WHERE id > %(after)s
      [AND id = ANY(%(ids)s::uuid[])]
     ORDER BY id LIMIT %(limit)s
)
SELECT (array_agg(id ORDER BY id DESC))[1] AS last, count(*) AS looked_at,
       min(created_at) FILTER (WHERE is_meant) AS since
  FROM page HAVING count(*) > 0;

-- name: insert_runs :exec
-- The next runs of a schedule, from this number on.
INSERT INTO schedule_runs (search_id, schedule_id, number, run_at)
SELECT %(search_id)s, %(schedule_id)s, %(first)s::integer + ordinality - 1, run_at
  FROM unnest(%(runs)s::timestamptz[]) WITH ORDINALITY AS run (run_at, ordinality);

-- name: analyze_runs :exec
-- The planner needs statistics of the rows that were just inserted.
ANALYZE schedule_runs;

-- name: find_search :maybe
-- reads
-- Whether a search still exists: a crash of the database deletes it, and its runs.
SELECT id FROM searches WHERE id = %(search_id)s;

-- name: list_ended_searches :many
-- reads
-- Searches that no daemon can be doing any more. The rows of one that was interrupted stay for a
-- day.
SELECT id FROM searches WHERE began_at < now() - interval '1 day' ORDER BY id;

-- name: delete_runs :exec
-- Up to %(limit)s runs of a search.
DELETE FROM schedule_runs WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM schedule_runs WHERE search_id = %(search_id)s LIMIT %(limit)s));

-- name: delete_search :exec
-- A search whose runs were deleted.
DELETE FROM searches WHERE id = %(search_id)s;
