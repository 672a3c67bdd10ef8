-- Why: an operator's command looks for those who are behind as well as a daemon's task does, and
-- both may be at it at the same time, up to different moments: each has runs of its own. What is
-- expected of a subscription is worked out in one place for all who ask: the search, the list of
-- what would change, and the changes.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

-- Of both tables nothing is lost with a crash: a search that is interrupted is begun anew.
DROP TABLE schedule_runs;
CREATE UNLOGGED TABLE searches (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    began_at timestamptz NOT NULL DEFAULT now(),
    as_of timestamptz NOT NULL
);
COMMENT ON TABLE searches IS 'Looking for those who are behind; a row goes when its search ends.';
COMMENT ON COLUMN searches.as_of IS 'Where they should be at this moment.';

-- When each schedule was due, numbered in order, so that "how many times between" is two look-ups.
CREATE UNLOGGED TABLE schedule_runs (
    search_id bigint NOT NULL,
    schedule_id integer NOT NULL,
    number integer NOT NULL,
    run_at timestamptz NOT NULL,
    PRIMARY KEY (search_id, schedule_id, number)
);
CREATE INDEX schedule_runs_run_at ON schedule_runs (search_id, schedule_id, run_at, number);

CREATE FUNCTION walk(of_search bigint, ids uuid[]) RETURNS TABLE (
    subscription_id uuid,
    step integer,
    messageset_id integer,
    schedule_id integer,
    since timestamptz,
    number integer,
    finishes boolean,
    missed bigint
) LANGUAGE sql STABLE AS $$
-- The way of each of these subscriptions that is under way, a row for each set on it: a run of the
-- schedule after she began sends one message, from her initial number on; a set that is finished
-- is followed by the next one, on its own schedule, from the run that sent the last message.
-- number is where the runs have brought her in the set, and finishes that its last message was
-- sent; missed, how many messages of it she has not had. A way that goes in circles is followed
-- through 100 sets, and the last of them is left unfinished.
WITH RECURSIVE way AS (
    SELECT s.id, 1 AS step, s.lang, s.messageset_id, s.schedule_id, s.created_at AS since,
           s.initial_sequence_number AS initial, s.next_sequence_number AS stands_at,
           leg.runs_before, leg.messages, leg.runs
      FROM unnest(ids) AS given (id)
      JOIN subscriptions s ON s.id = given.id AND s.active AND NOT s.completed
     CROSS JOIN LATERAL (
           SELECT (SELECT count(*)::integer FROM messages m
                    WHERE m.messageset_id = s.messageset_id AND m.lang = s.lang
                      AND m.sequence_number >= s.initial_sequence_number) AS messages,
                  before.number AS runs_before, COALESCE((
                      SELECT r.number FROM schedule_runs r
                       WHERE r.search_id = of_search AND r.schedule_id = s.schedule_id
                       ORDER BY r.number DESC LIMIT 1), 0) - before.number AS runs
             FROM (SELECT COALESCE((
                      SELECT r.number FROM schedule_runs r
                       WHERE r.search_id = of_search AND r.schedule_id = s.schedule_id
                         AND r.run_at <= s.created_at
                       ORDER BY r.run_at DESC LIMIT 1), 0) AS number) before) leg
    UNION ALL
    SELECT way.id, way.step + 1, way.lang, following.id, following.default_schedule_id,
           finish.run_at, 1, 1, leg.runs_before, leg.messages, leg.runs
      FROM way
      JOIN schedule_runs finish ON finish.search_id = of_search
                               AND finish.schedule_id = way.schedule_id
                               AND finish.number = way.runs_before + way.messages
      JOIN messagesets finished ON finished.id = way.messageset_id
      JOIN messagesets following ON following.id = finished.next_set_id
     CROSS JOIN LATERAL (
           SELECT (SELECT count(*)::integer FROM messages m
                    WHERE m.messageset_id = following.id AND m.lang = way.lang
                      AND m.sequence_number >= 1) AS messages,
                  before.number AS runs_before, COALESCE((
                      SELECT r.number FROM schedule_runs r
                       WHERE r.search_id = of_search
                         AND r.schedule_id = following.default_schedule_id
                       ORDER BY r.number DESC LIMIT 1), 0) - before.number AS runs
             FROM (SELECT COALESCE((
                      SELECT r.number FROM schedule_runs r
                       WHERE r.search_id = of_search
                         AND r.schedule_id = following.default_schedule_id
                         AND r.run_at <= finish.run_at
                       ORDER BY r.run_at DESC LIMIT 1), 0) AS number) before) leg
     WHERE way.messages > 0 AND way.runs >= way.messages AND way.step < 100
)
SELECT way.id, way.step, way.messageset_id, way.schedule_id, way.since,
       GREATEST(way.stands_at,
                CASE WHEN last.sequence_number IS NULL THEN way.initial
                     WHEN way.runs >= way.messages THEN last.sequence_number
                     ELSE last.sequence_number + 1 END),
       last.sequence_number IS NOT NULL AND way.runs >= way.messages
           AND (way.step < 100 OR current.next_set_id IS NULL),
       CASE WHEN last.sequence_number IS NULL OR last.sequence_number < way.stands_at THEN 0
            ELSE (SELECT count(*) FROM messages m
                   WHERE m.messageset_id = way.messageset_id AND m.lang = way.lang
                     AND m.sequence_number BETWEEN way.stands_at AND last.sequence_number) END
  FROM way
  JOIN messagesets current ON current.id = way.messageset_id
  LEFT JOIN LATERAL (
       -- The last message that the runs of this leg have sent; none: they have sent none yet.
       SELECT m.sequence_number FROM messages m
        WHERE m.messageset_id = way.messageset_id AND m.lang = way.lang
          AND m.sequence_number >= way.initial AND way.runs > 0 AND way.messages > 0
        ORDER BY m.sequence_number
        LIMIT 1 OFFSET GREATEST(LEAST(way.runs, way.messages) - 1, 0)) last ON true
$$;

INSERT INTO schema_migrations (name) VALUES ('0018_tell_searches_apart');
COMMIT;
