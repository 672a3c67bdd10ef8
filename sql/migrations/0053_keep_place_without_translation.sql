-- Why: if the Zulu translation of messages 2 and 3 is missing, a Zulu reader gets message 4 in the
-- second week, and completes the set two weeks early. That is as the contract has it, and stays the
-- default; but for a message set that follows a pregnancy or a baby's age it is wrong. So each set
-- says what happens at a number without a message in the language of the reader.
--
-- places() is the one rule about which message is next, and where a set ends. Everything that needs
-- it calls it: the claim, the end of a set, the expected path, estimates, resends, prepends.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE messagesets
    ADD COLUMN on_missing_translation text NOT NULL DEFAULT 'next'
        CONSTRAINT messagesets_on_missing_translation_check
        CHECK (on_missing_translation ~ '^(next|wait|fallback:[a-z]{3}(_[A-Z]{2})?)$');
COMMENT ON COLUMN messagesets.on_missing_translation IS
    'What a reader gets at a number that has a message in other languages only. next: the next message in the own language; fallback:<lang>: the message in that language; wait: nothing, until it is translated.';
-- Under the last two, the numbers of all languages count.
CREATE INDEX messages_number ON messages (messageset_id, sequence_number);

CREATE FUNCTION places(of_set integer, of_lang text)
RETURNS TABLE (sequence_number integer, message_id integer, lang text)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- The numbers of a set that its readers in a language go through, and the message of each; null: it
-- is not translated, and the reader waits there. By default, only messages in the language count.
-- Otherwise the numbers of all languages do, so that the set ends with the highest of them.
SELECT own.sequence_number, own.id, own.lang
  FROM messagesets JOIN messages own ON own.messageset_id = messagesets.id AND own.lang = of_lang
 WHERE messagesets.id = of_set AND on_missing_translation = 'next'
 UNION ALL
SELECT number.sequence_number, COALESCE(own.id, other.id), COALESCE(own.lang, other.lang)
  FROM messagesets
 CROSS JOIN LATERAL (
       SELECT DISTINCT messages.sequence_number FROM messages
        WHERE messageset_id = messagesets.id) number
  LEFT JOIN messages own ON own.messageset_id = messagesets.id AND own.lang = of_lang
                        AND own.sequence_number = number.sequence_number
  LEFT JOIN messages other ON other.messageset_id = messagesets.id
                          AND on_missing_translation = 'fallback:' || other.lang
                          AND other.sequence_number = number.sequence_number
 WHERE messagesets.id = of_set AND on_missing_translation <> 'next'
$$;

CREATE FUNCTION next_place(of_set integer, of_lang text, from_number bigint)
RETURNS TABLE (sequence_number integer, message_id integer, lang text)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- The first place from this number on; no row: the set has ended.
SELECT * FROM places(of_set, of_lang) place
 WHERE place.sequence_number >= from_number ORDER BY place.sequence_number LIMIT 1
$$;

CREATE FUNCTION has_changed_since(of_set integer, of_lang text, moment timestamptz) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- Whether messages that decide where a set ends in a language changed after this moment.
SELECT EXISTS (
    SELECT FROM content_changes JOIN messagesets ON messagesets.id = messageset_id
     WHERE messageset_id = of_set AND changed_at > moment
       AND (lang = of_lang OR on_missing_translation <> 'next'))
$$;

CREATE OR REPLACE FUNCTION expected_path(of_search bigint, ids uuid[])
RETURNS TABLE (subscription_id uuid, step integer, messageset_id integer, schedule_id integer,
               since timestamptz, number integer, finishes boolean, missed bigint)
LANGUAGE sql STABLE AS $$
-- The path of each of these subscriptions that is under way, a row for each set on it: a run of the
-- schedule after it began sends one message, from its initial number on; a set that is finished
-- is followed by the next one, on its own schedule, from the run that sent the last message.
-- number is where the runs have brought it in the set, and finishes that its last message was
-- sent; missed, how many messages of it were not sent. A subscription beyond the end of its
-- content is finished by the run after the last message, one at least, and goes on only if
-- the ledger has a send of its set to it. A path that goes in circles is followed through 100 sets,
-- and the last of them is left unfinished.
-- The numbers of a set are the same for all who read it in a language, so they are looked up once,
-- as an array in their order; width_bucket(n, numbers) is how many of them are n at most.
WITH RECURSIVE reached AS (
    SELECT s.messageset_id, s.lang
      FROM unnest(ids) AS given (id)
      JOIN subscriptions s ON s.id = given.id AND s.active AND NOT s.completed
     UNION
    SELECT messagesets.next_set_id, reached.lang
      FROM reached JOIN messagesets ON messagesets.id = reached.messageset_id
     WHERE next_set_id IS NOT NULL
), content AS MATERIALIZED (
    SELECT reached.messageset_id, reached.lang, ARRAY(
               SELECT place.sequence_number::bigint
                 FROM places(reached.messageset_id, reached.lang) place
                ORDER BY place.sequence_number) AS numbers
      FROM reached
), path AS (
    SELECT s.id, 1 AS step, s.lang, s.messageset_id, s.schedule_id, s.created_at AS since,
           s.initial_sequence_number AS initial, s.next_sequence_number AS stands_at,
           leg.runs_before, leg.runs, stand.ends, stand.goes_on, content.numbers,
           CASE WHEN stand.ends AND stand.goes_on THEN GREATEST(leg.messages, 1)
                ELSE leg.messages END AS messages
      FROM unnest(ids) AS given (id)
      JOIN subscriptions s ON s.id = given.id AND s.active AND NOT s.completed
      JOIN content ON content.messageset_id = s.messageset_id AND content.lang = s.lang
     CROSS JOIN LATERAL (
           SELECT cardinality(content.numbers)
                  - width_bucket(s.initial_sequence_number::bigint - 1, content.numbers)
                      AS messages,
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
           SELECT COALESCE(content.numbers[cardinality(content.numbers)]
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
    SELECT path.id, path.step + 1, path.lang, following.id, following.default_schedule_id,
           finish.run_at, 1, 1, leg.runs_before, leg.runs, false, true, content.numbers,
           leg.messages
      FROM path
      JOIN schedule_runs finish ON finish.search_id = of_search
                               AND finish.schedule_id = path.schedule_id
                               AND finish.number = path.runs_before + path.messages
      JOIN messagesets finished ON finished.id = path.messageset_id
      JOIN messagesets following ON following.id = finished.next_set_id
      JOIN content ON content.messageset_id = following.id AND content.lang = path.lang
     CROSS JOIN LATERAL (
           SELECT cardinality(content.numbers) - width_bucket(0::bigint, content.numbers)
                      AS messages,
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
     WHERE path.messages > 0 AND path.runs >= path.messages AND path.step < 100 AND path.goes_on
)
SELECT path.id, path.step, path.messageset_id, path.schedule_id, path.since,
       GREATEST(path.stands_at,
                CASE WHEN last.sequence_number IS NULL THEN path.initial
                     WHEN path.runs >= path.messages THEN last.sequence_number
                     ELSE last.sequence_number + 1 END)::integer,
       (last.sequence_number IS NOT NULL OR path.ends) AND path.runs >= path.messages
           AND (path.step < 100 OR current.next_set_id IS NULL),
       CASE WHEN last.sequence_number IS NULL OR last.sequence_number < path.stands_at THEN 0
            ELSE width_bucket(last.sequence_number, path.numbers)
                 - width_bucket(path.stands_at::bigint - 1, path.numbers) END::bigint
  FROM path
  JOIN messagesets current ON current.id = path.messageset_id
 CROSS JOIN LATERAL (
       -- The last message that the runs of this step have sent; null: they have sent none yet.
       SELECT CASE WHEN path.runs > 0 AND path.messages > 0
                   THEN path.numbers[width_bucket(path.initial::bigint - 1, path.numbers)
                                     + LEAST(path.runs, path.messages)] END
                  AS sequence_number) last
$$;

INSERT INTO schema_migrations (name) VALUES ('0053_keep_place_without_translation');
COMMIT;
