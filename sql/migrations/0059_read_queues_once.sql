-- Why: what is claimed leaves the index of what is owed at the next vacuum only. Until then, each claim
-- read those entries three times; in a large tick they are more than the sends that are owed. Without
-- the id, the sends of a moment share entries: the index has a tenth of the pages, and sends of a
-- moment are claimed in the order in which they were owed, so that a batch lies on few pages. A claim
-- finds again what it has locked by the places in the table, and not by ids, which are in no order.
-- Besides, it called a function for each row, only to write down the time.
--
-- Daemons of the version before may run beside it: they are as fast as before.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

DROP INDEX sends_owed;
CREATE INDEX sends_owed ON sends (queue_tick_id, queue_schedule_id, queue_messageset_id, due_at)
 WHERE state = 'owed';

CREATE OR REPLACE VIEW owed_queues AS
WITH RECURSIVE queue AS (
    (SELECT queue_tick_id, queue_schedule_id, queue_messageset_id, due_at FROM sends
      WHERE state = 'owed'
      ORDER BY queue_tick_id, queue_schedule_id, queue_messageset_id, due_at LIMIT 1)
     UNION ALL
    SELECT following.*
      FROM queue CROSS JOIN LATERAL (
           SELECT queue_tick_id, queue_schedule_id, queue_messageset_id, due_at FROM sends
            WHERE state = 'owed'
              AND (queue_tick_id, queue_schedule_id, queue_messageset_id)
                  > (queue.queue_tick_id, queue.queue_schedule_id, queue.queue_messageset_id)
            ORDER BY queue_tick_id, queue_schedule_id, queue_messageset_id, due_at LIMIT 1) following
)
SELECT queue_tick_id AS tick_id, queue_schedule_id AS schedule_id,
       queue_messageset_id AS messageset_id, due_at
  FROM queue;
COMMENT ON VIEW owed_queues IS
    'The queues that have owed sends, and when the first one of each is due. One step in an index for each: it does not read the sends.';

CREATE FUNCTION lock_due_places(
    most integer, of_ticks integer, but text[], only_these uuid[], claimer uuid
) RETURNS tid[]
    LANGUAGE plpgsql SET enable_seqscan = off SET enable_sort = off
AS $$
-- Locks up to "most" sends that are due, for a claim in this transaction, and returns their places in
-- the table, which do not change while they are locked.
-- Single sends come first; at most "of_ticks" are of a tick. The queues that are open take turns:
-- each tick (of single sends: each schedule) has an equal share, and its queues divide it; those
-- that have more fill up what is left. So a small tick does not wait for a large one. Rows that
-- another daemon is claiming are skipped, never waited for. Queues that are held back are not read.
-- Sends to the identities in "but" are left.
-- Of a schedule with a rate, a claimer holds as many as may leave in two seconds, so that they do
-- not fill its places. Of a tick that is on probation, only so many are claimed that it is judged
-- before more of it go out; while one daemon claims from it, the others pass it by.
-- What was claimed before stays in the index until a vacuum, in front of what is owed. owed_queues reads
-- it, and nothing else does: each queue is then read from its first send on.
-- A session keeps the plans of these statements. A plan that was made while there were few sends
-- must not read all of them later: so they are planned without sequential scans, and without a sort
-- where an index has the order.
DECLARE
    locked tid[] := '{}';
    taken tid[];
    queues due_queue[];
    lane_queues due_queue[];
    fuller due_queue[];
    queue due_queue;
    probed bigint[];
    room integer;
    quota bigint;
BEGIN
    -- Whoever begins a pause holds this lock alone. Each statement here sees all pauses that were
    -- committed before it, so none that was begun before this claim is missed.
    PERFORM pg_advisory_xact_lock_shared(736266, 5);
    IF only_these IS NOT NULL THEN
        RETURN ARRAY(SELECT ctid FROM sends
                      WHERE id = ANY(only_these) AND state = 'owed' AND due_at <= now()
                        AND hold_of(queue_tick_id, queue_schedule_id, queue_messageset_id) IS NULL
                        FOR UPDATE SKIP LOCKED);
    END IF;
    queues := ARRAY(SELECT ROW(tick_id, schedule_id, messageset_id, due_at, 0, NULL, NULL)::due_queue
                      FROM owed_queues WHERE due_at <= now());
    probed := ARRAY(SELECT tick_id FROM watched_ticks
                     WHERE tick_id IN (SELECT q.tick_id FROM unnest(queues) q)
                       AND hold IS NULL AND (canary IS NOT NULL OR posted < brake_after)
                       FOR UPDATE SKIP LOCKED);
    queues := ARRAY(SELECT ROW(q.tick_id, q.schedule_id, q.messageset_id, q.oldest, 0, s.max_rate,
                               LEAST(w.canary, CASE WHEN w.posted < w.brake_after
                                                    THEN w.brake_after END) - w.posted)::due_queue
                      FROM unnest(queues) q
                      LEFT JOIN schedules s ON s.id = q.schedule_id
                      LEFT JOIN watched_ticks w ON w.tick_id = q.tick_id
                     WHERE hold_of(q.tick_id, q.schedule_id, q.messageset_id) IS NULL
                       AND (w.tick_id IS NULL
                            OR w.canary IS NULL AND COALESCE(w.brake_after, 0) <= w.posted
                            OR w.tick_id = ANY(probed)));
    FOR is_tick IN 0..1 LOOP
        room := LEAST(most - cardinality(locked), CASE is_tick WHEN 1 THEN of_ticks ELSE most END);
        CONTINUE WHEN room < 1;
        -- In turn: the first queue of each group, then the second ones, and so on.
        lane_queues := ARRAY(
            SELECT ROW(tick_id, schedule_id, messageset_id, oldest,
                       ceil(room::numeric / max(place) OVER () / count(*) OVER (PARTITION BY place)),
                       max_rate, probation)::due_queue
              FROM (SELECT *, dense_rank() OVER (ORDER BY tick_id, CASE tick_id WHEN 0
                                                          THEN schedule_id END) AS place
                      FROM unnest(queues) WHERE (tick_id > 0) = (is_tick = 1)) placed
             ORDER BY row_number() OVER (PARTITION BY place ORDER BY oldest), oldest);
        FOR turn IN 1..2 LOOP
            fuller := '{}';
            FOREACH queue IN ARRAY lane_queues LOOP
                EXIT WHEN room < 1;
                quota := LEAST(room, CASE turn WHEN 1 THEN queue.share END);
                IF queue.max_rate IS NOT NULL THEN
                    quota := LEAST(quota, 2 * queue.max_rate::bigint
                        - (SELECT count(*) FROM sends
                            WHERE state = 'claimed' AND owner = claimer
                              AND queue_schedule_id = queue.schedule_id)
                        - (SELECT count(*) FROM sends
                            WHERE ctid = ANY(locked) AND queue_schedule_id = queue.schedule_id));
                END IF;
                IF queue.probation IS NOT NULL THEN
                    quota := LEAST(quota, queue.probation
                        - (SELECT count(*) FROM sends
                            WHERE state = 'claimed' AND queue_tick_id = queue.tick_id)
                        - (SELECT count(*) FROM sends
                            WHERE state = 'unknown' AND queue_tick_id = queue.tick_id)
                        - (SELECT count(*) FROM sends
                            WHERE ctid = ANY(locked) AND queue_tick_id = queue.tick_id));
                END IF;
                CONTINUE WHEN quota < 1;
                taken := ARRAY(SELECT ctid FROM sends
                                WHERE state = 'owed' AND queue_tick_id = queue.tick_id
                                  AND queue_schedule_id = queue.schedule_id
                                  AND queue_messageset_id = queue.messageset_id
                                  AND due_at BETWEEN queue.oldest AND now()
                                  AND identity <> ALL(but)
                                  AND (turn = 1 OR ctid <> ALL(locked))
                                ORDER BY due_at LIMIT quota FOR UPDATE SKIP LOCKED);
                IF cardinality(taken) = quota THEN
                    fuller := fuller || queue;
                END IF;
                locked := locked || taken;
                room := room - cardinality(taken);
            END LOOP;
            lane_queues := fuller;
        END LOOP;
    END LOOP;
    RETURN locked;
END
$$;

CREATE OR REPLACE FUNCTION lock_due_sends(
    most integer, of_ticks integer, but text[], only_these uuid[], claimer uuid
) RETURNS uuid[]
    LANGUAGE sql SET enable_seqscan = off
AS $$
-- Locks them, and returns their ids, in the same order.
SELECT ARRAY(SELECT id
               FROM unnest(lock_due_places(most, of_ticks, but, only_these, claimer))
                    WITH ORDINALITY AS locked (place, number)
               JOIN sends ON sends.ctid = place
              ORDER BY number)
$$;

-- Whoever writes dated_at needs the function only if the clock was set back.
DROP TRIGGER date_moments ON sends;
CREATE TRIGGER date_moments BEFORE UPDATE OF due_at, lease_until, unknown_since ON sends
   FOR EACH ROW WHEN (NEW.dated_at = OLD.dated_at OR OLD.dated_at > clock_timestamp()
                      OR NEW.first_attempt_at > clock_timestamp())
   EXECUTE FUNCTION date_send();

INSERT INTO schema_migrations (name) VALUES ('0059_read_queues_once');
COMMIT;
