-- Who has had fewer messages than her schedules have asked for since she began.

-- name: list_behind
-- A page of them, newest first.
-- A row more than the page has tells whether the list goes on; the count is worked out only where
-- the page alone does not tell it, and comes with a row of nulls where nothing was found.
WITH wanted AS NOT MATERIALIZED (
    SELECT id, created_at FROM behind_subscriptions
), page AS MATERIALIZED (
    (SELECT * FROM wanted
      WHERE NOT %(backwards)s
        AND (created_at, id) < (coalesce(%(from_time)s::timestamptz, 'infinity'),
                                coalesce(%(from_id)s, 2147483647))
      ORDER BY created_at DESC, id DESC LIMIT %(limit)s + 1 OFFSET %(offset)s)
    UNION ALL
    (SELECT * FROM wanted
      WHERE %(backwards)s AND (created_at, id) > (%(from_time)s::timestamptz, %(from_id)s)
      ORDER BY created_at, id LIMIT %(limit)s + 1)
), total AS (
    SELECT CASE WHEN %(count)s IS NOT NULL THEN %(count)s
                WHEN found <= %(limit)s AND (found > 0 OR %(offset)s = 0) THEN %(offset)s + found
                ELSE (SELECT count(*) FROM wanted)
           END AS count
      FROM (SELECT count(*) AS found FROM page) AS counted
)
SELECT total.count, rows.* FROM total LEFT JOIN (
    SELECT behind.id, subscription_id, messages_behind, current_messageset_id,
           reached.short_name AS current_messageset_name, current_sequence_number,
           expected_messageset_id, expected.short_name AS expected_messageset_name,
           expected_sequence_number, behind.created_at
      FROM page
      JOIN behind_subscriptions behind ON behind.id = page.id
      JOIN messagesets reached ON reached.id = current_messageset_id
      JOIN messagesets expected ON expected.id = expected_messageset_id) AS rows ON true
 ORDER BY rows.created_at DESC, rows.id DESC;

-- name: find_one_behind
-- One of them.
SELECT behind.id, subscription_id, messages_behind, current_messageset_id,
       reached.short_name AS current_messageset_name, current_sequence_number,
       expected_messageset_id, expected.short_name AS expected_messageset_name,
       expected_sequence_number, behind.created_at
  FROM behind_subscriptions behind
  JOIN messagesets reached ON reached.id = current_messageset_id
  JOIN messagesets expected ON expected.id = expected_messageset_id
 WHERE behind.id = %(id)s;

-- name: find_oldest_active
-- Since when the runs of the schedules matter. No row: nobody is subscribed.
SELECT created_at AS since, now() AS now FROM subscriptions
 WHERE active AND NOT completed ORDER BY created_at LIMIT 1;

-- name: clear_schedule_runs
-- Begin a new search.
TRUNCATE schedule_runs;

-- name: insert_schedule_runs
-- The next so many runs of a schedule, from this number on.
INSERT INTO schedule_runs (schedule_id, number, run_at)
SELECT %(schedule_id)s, %(first)s::integer + ordinality - 1, run_at
  FROM unnest(%(runs)s::timestamptz[]) WITH ORDINALITY AS run (run_at, ordinality);

-- name: analyze_schedule_runs
-- The planner has to know what was just filled in.
ANALYZE schedule_runs;

-- name: find_behind
-- Look at the next %(limit)s subscriptions after this id, active or not, and put down which of
-- those under way are behind; what an earlier search put down of them goes.
--
-- Her way: a run of the schedule after she began sends one message, from her initial number on; a
-- set that is finished is followed by the next one, on its own schedule, from the run that sent the
-- last message. Where the runs up to now would have brought her is what is expected. Behind she is
-- by the messages on that way that lie before her. A way that goes in circles ends after 100 sets.
WITH RECURSIVE members AS MATERIALIZED (
    SELECT id, messageset_id, lang, schedule_id, created_at, initial_sequence_number,
           next_sequence_number, active AND NOT completed AS under_way
      FROM subscriptions WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
), way AS (
    SELECT m.id, 1 AS step, m.lang, m.messageset_id, m.schedule_id, m.created_at AS since,
           m.initial_sequence_number AS initial, m.next_sequence_number AS stands_at,
           leg.runs_before, leg.messages, leg.runs
      FROM members m
     CROSS JOIN LATERAL (
           SELECT (SELECT count(*)::integer FROM messages
                    WHERE messageset_id = m.messageset_id AND lang = m.lang
                      AND sequence_number >= m.initial_sequence_number) AS messages,
                  before.number AS runs_before, COALESCE((
                      SELECT number FROM schedule_runs WHERE schedule_id = m.schedule_id
                       ORDER BY number DESC LIMIT 1), 0) - before.number AS runs
             FROM (SELECT COALESCE((
                      SELECT number FROM schedule_runs
                       WHERE schedule_id = m.schedule_id AND run_at <= m.created_at
                       ORDER BY run_at DESC LIMIT 1), 0) AS number) before) leg
     WHERE m.under_way
    UNION ALL
    SELECT way.id, way.step + 1, way.lang, following.id, following.default_schedule_id,
           finish.run_at, 1, 1, leg.runs_before, leg.messages, leg.runs
      FROM way
      JOIN schedule_runs finish ON finish.schedule_id = way.schedule_id
                               AND finish.number = way.runs_before + way.messages
      JOIN messagesets finished ON finished.id = way.messageset_id
      JOIN messagesets following ON following.id = finished.next_set_id
     CROSS JOIN LATERAL (
           SELECT (SELECT count(*)::integer FROM messages
                    WHERE messageset_id = following.id AND lang = way.lang
                      AND sequence_number >= 1) AS messages,
                  before.number AS runs_before, COALESCE((
                      SELECT number FROM schedule_runs
                       WHERE schedule_id = following.default_schedule_id
                       ORDER BY number DESC LIMIT 1), 0) - before.number AS runs
             FROM (SELECT COALESCE((
                      SELECT number FROM schedule_runs
                       WHERE schedule_id = following.default_schedule_id
                         AND run_at <= finish.run_at
                       ORDER BY run_at DESC LIMIT 1), 0) AS number) before) leg
     WHERE way.messages > 0 AND way.runs >= way.messages AND way.step < 100
), legs AS (
    -- The number of the last message that the runs of this leg have sent; null: none yet.
    SELECT way.*, last.sequence_number AS last_sent
      FROM way LEFT JOIN LATERAL (
           SELECT sequence_number FROM messages
            WHERE messageset_id = way.messageset_id AND lang = way.lang
              AND sequence_number >= way.initial AND way.runs > 0 AND way.messages > 0
            ORDER BY sequence_number
            LIMIT 1 OFFSET GREATEST(LEAST(way.runs, way.messages) - 1, 0)) last ON true
), behind AS (
    SELECT legs.id, sum(CASE WHEN last_sent IS NULL THEN 0 ELSE (
               SELECT count(*) FROM messages
                WHERE messageset_id = legs.messageset_id AND lang = legs.lang
                  AND sequence_number BETWEEN legs.stands_at AND legs.last_sent) END) AS messages,
           max(step) AS steps
      FROM legs GROUP BY legs.id
), held AS MATERIALIZED (
    -- Who is deleted at this moment is waited for, and then is not there to be put down.
    SELECT s.id FROM behind JOIN subscriptions s ON s.id = behind.id
     WHERE behind.messages > 0 ORDER BY s.id FOR KEY SHARE OF s
), forgotten AS (
    DELETE FROM behind_subscriptions old USING members
     WHERE old.subscription_id = members.id
       AND NOT EXISTS (SELECT FROM behind WHERE behind.id = members.id AND behind.messages > 0)
), noted AS (
    INSERT INTO behind_subscriptions (subscription_id, messages_behind, current_messageset_id,
                                      current_sequence_number, expected_messageset_id,
                                      expected_sequence_number)
    SELECT m.id, behind.messages, m.messageset_id, m.next_sequence_number, final.messageset_id,
           CASE WHEN final.last_sent IS NULL THEN final.initial
                WHEN final.runs >= final.messages THEN final.last_sent
                ELSE final.last_sent + 1 END
      FROM held
      JOIN behind ON behind.id = held.id
      JOIN members m ON m.id = held.id
      JOIN legs final ON final.id = held.id AND final.step = behind.steps
     ORDER BY m.id
        ON CONFLICT (subscription_id) DO UPDATE
       SET messages_behind = EXCLUDED.messages_behind,
           current_messageset_id = EXCLUDED.current_messageset_id,
           current_sequence_number = EXCLUDED.current_sequence_number,
           expected_messageset_id = EXCLUDED.expected_messageset_id,
           expected_sequence_number = EXCLUDED.expected_sequence_number,
           created_at = EXCLUDED.created_at
)
SELECT (array_agg(id ORDER BY id DESC))[1] AS last, count(*) AS looked_at FROM members;
