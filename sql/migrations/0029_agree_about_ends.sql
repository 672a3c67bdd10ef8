-- Why: a subscription that stands beyond the end of its content is not behind for standing there.
-- It completes at a tick, and goes on to the next set only if the ledger has a send of its set to
-- it. What is expected of it has to be the same: without such a send, its way ends in its set; with
-- one, it leads on, even if all that it was to have of this set was deleted.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE OR REPLACE FUNCTION walk(of_search bigint, ids uuid[]) RETURNS TABLE (
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
-- schedule after it began sends one message, from its initial number on; a set that is finished
-- is followed by the next one, on its own schedule, from the run that sent the last message.
-- number is where the runs have brought it in the set, and finishes that its last message was
-- sent; missed, how many messages of it were not sent. A subscription beyond the end of its
-- content is finished by the run after the last message, one at least, and goes on only if
-- the ledger has a send of its set to it. A way that goes in circles is followed through 100 sets,
-- and the last of them is left unfinished.
WITH RECURSIVE way AS (
    SELECT s.id, 1 AS step, s.lang, s.messageset_id, s.schedule_id, s.created_at AS since,
           s.initial_sequence_number AS initial, s.next_sequence_number AS stands_at,
           leg.runs_before, leg.runs, stand.ends, stand.goes_on,
           CASE WHEN stand.ends AND stand.goes_on THEN GREATEST(leg.messages, 1)
                ELSE leg.messages END AS messages
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
     CROSS JOIN LATERAL (
           SELECT COALESCE((SELECT m.sequence_number FROM messages m
                             WHERE m.messageset_id = s.messageset_id AND m.lang = s.lang
                             ORDER BY m.sequence_number DESC LIMIT 1)
                           < s.next_sequence_number, false) AS ends) beyond
     CROSS JOIN LATERAL (
           SELECT beyond.ends, CASE WHEN beyond.ends THEN EXISTS (
                      SELECT FROM ledger
                       WHERE ledger.subscription_id = s.id
                         AND ledger.messageset_id = s.messageset_id AND ledger.kind = 'next'
                         AND (ledger.outcome IN ('sent', 'adopted', 'dry-run')
                              OR ledger.is_assumed)
                      OFFSET 0) ELSE true END AS goes_on) stand
    UNION ALL
    SELECT way.id, way.step + 1, way.lang, following.id, following.default_schedule_id,
           finish.run_at, 1, 1, leg.runs_before, leg.runs, false, true, leg.messages
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
     WHERE way.messages > 0 AND way.runs >= way.messages AND way.step < 100 AND way.goes_on
)
SELECT way.id, way.step, way.messageset_id, way.schedule_id, way.since,
       GREATEST(way.stands_at,
                CASE WHEN last.sequence_number IS NULL THEN way.initial
                     WHEN way.runs >= way.messages THEN last.sequence_number
                     ELSE last.sequence_number + 1 END),
       (last.sequence_number IS NOT NULL OR way.ends) AND way.runs >= way.messages
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

INSERT INTO schema_migrations (name) VALUES ('0029_agree_about_ends');
COMMIT;
