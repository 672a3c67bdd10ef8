-- Why: operators want to say when messages may leave, after which time it is too late for them, and
-- how many leave in a second; and a tick whose messages are refused has to stop by itself.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE scheduling
    ADD COLUMN time_zone text NOT NULL DEFAULT 'UTC',
    ADD COLUMN scheduler_time_zone text;
COMMENT ON COLUMN scheduling.time_zone IS
    'SBM_TIMEZONE: the time zone of schedules without one of their own.';
COMMENT ON COLUMN scheduling.scheduler_time_zone IS
    'That of the Scheduler, if it makes the ticks: it counts for all schedules with a time zone.';

CREATE DOMAIN send_hours AS text
    CHECK (VALUE ~ '^([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$'
           AND left(VALUE, 5) <> right(VALUE, 5));
COMMENT ON DOMAIN send_hours IS
    'From when until when, by the clock of a time zone: 08:00-20:00. It may end on the next day.';

ALTER TABLE schedules
    ADD COLUMN send_hours send_hours,
    ADD COLUMN max_age integer CHECK (max_age > 0),
    ADD COLUMN max_rate integer CHECK (max_rate > 0),
    ADD COLUMN canary integer CHECK (canary > 0),
    ADD COLUMN brake_percent integer CHECK (brake_percent BETWEEN 0 AND 99),
    ADD COLUMN brake_after integer CHECK (brake_after > 0),
    ADD CHECK ((brake_percent IS NULL) = (brake_after IS NULL));
COMMENT ON COLUMN schedules.send_hours IS 'When messages may leave, in its time zone; null: always.';
COMMENT ON COLUMN schedules.max_age IS
    'After so many seconds, what is owed is skipped; null: never.';
COMMENT ON COLUMN schedules.max_rate IS 'How many messages may leave in a second; null: any number.';
COMMENT ON COLUMN schedules.canary IS
    'After so many messages, each of its ticks waits for a person; null: it does not.';
COMMENT ON COLUMN schedules.brake_percent IS
    'If more of a hundred messages of a tick are refused or fail, the tick stops; null: it does not.';
COMMENT ON COLUMN schedules.brake_after IS 'The brake looks at so many messages at least.';

ALTER TABLE messagesets
    ADD COLUMN send_hours send_hours,
    ADD COLUMN max_age integer CHECK (max_age > 0);
COMMENT ON COLUMN messagesets.send_hours IS
    'When its messages may leave, in the time zone of the schedule; null: always.';
COMMENT ON COLUMN messagesets.max_age IS
    'After so many seconds, what is owed of it is skipped; null: never.';

ALTER TABLE sends ADD COLUMN wanted_at timestamptz;
COMMENT ON COLUMN sends.wanted_at IS
    'When somebody last asked for it, after it was owed already: its age counts from then.';

CREATE TABLE watched_ticks (
    tick_id bigint PRIMARY KEY REFERENCES ticks ON DELETE CASCADE,
    canary integer,
    brake_percent integer,
    brake_after integer,
    posted bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    hold text CHECK (hold IN ('braked', 'canary')),
    held_at timestamptz,
    released_at timestamptz,
    released_by text
);
COMMENT ON TABLE watched_ticks IS 'Ticks with a brake or a canary.';
COMMENT ON COLUMN watched_ticks.canary IS
    'After so many messages, it waits for a person; null: it has no canary, or was released.';
COMMENT ON COLUMN watched_ticks.posted IS
    'How many sends were settled and not skipped, or had their first fault, since it was opened or released.';
COMMENT ON COLUMN watched_ticks.failed IS
    'How many of them were refused or failed, or have a fault and are tried again.';
COMMENT ON COLUMN watched_ticks.hold IS 'Why it is held back until a person releases it; null: it is not.';
CREATE INDEX watched_ticks_held ON watched_ticks (tick_id) WHERE hold IS NOT NULL;

CREATE FUNCTION judge_tick() RETURNS trigger LANGUAGE plpgsql AS $$
-- Stops a tick when its brake or its canary says so.
BEGIN
    IF NEW.posted >= NEW.brake_after
       AND 100 * NEW.failed > NEW.brake_percent * NEW.posted THEN
        NEW.hold := 'braked';
    ELSIF NEW.posted >= NEW.canary THEN
        NEW.hold := 'canary';
    ELSE
        RETURN NEW;
    END IF;
    NEW.held_at := now();
    PERFORM pg_notify('sbm_pauses', '');
    RETURN NEW;
END
$$;
CREATE TRIGGER judge_tick BEFORE UPDATE OF posted, failed ON watched_ticks
   FOR EACH ROW WHEN (NEW.hold IS NULL) EXECUTE FUNCTION judge_tick();

CREATE TABLE paces (
    schedule_id integer PRIMARY KEY,
    next_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE paces IS
    'The next moment at which a message of a schedule may leave; 0: of all schedules together.';

CREATE FUNCTION hours_left(hours text, zone text, moment timestamptz) RETURNS interval
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
-- How long messages may still leave; zero: not now; null: no hours are set. A time zone that this
-- server does not know counts as UTC, so that one schedule does not stop all others.
DECLARE
    began time := left(hours, 5)::time;
    ended time := right(hours, 5)::time;
    here timestamp;
    closing timestamp;
BEGIN
    IF hours IS NULL THEN
        RETURN NULL;
    END IF;
    BEGIN
        here := moment AT TIME ZONE zone;
    EXCEPTION WHEN invalid_parameter_value THEN
        zone := 'UTC';
        here := moment AT TIME ZONE zone;
    END;
    IF (CASE WHEN began < ended THEN here::time >= began AND here::time < ended
             ELSE here::time >= began OR here::time < ended END) THEN
        closing := here::date + ended;
        IF closing <= here THEN
            closing := closing + interval '1 day';
        END IF;
        RETURN closing AT TIME ZONE zone - moment;
    END IF;
    RETURN interval '0';
END
$$;

CREATE FUNCTION zone_of(schedule schedules) RETURNS text LANGUAGE sql STABLE AS $$
-- The time zone of a schedule, as TimeZones.of says it.
SELECT CASE WHEN schedule.time_zone IS NULL THEN scheduling.time_zone
            ELSE COALESCE(scheduler_time_zone, schedule.time_zone) END
  FROM scheduling
$$;

CREATE FUNCTION leaves_for(schedule_id integer, messageset_id integer) RETURNS interval
LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- How long messages of this set to subscriptions on this schedule may still leave; zero: not now;
-- null: there is no limit. Without a set, the hours of sets do not count.
SELECT LEAST(hours_left(s.send_hours, zone_of(s), now()), hours_left(m.send_hours, zone_of(s), now()))
  FROM (VALUES (1)) one
  LEFT JOIN schedules s ON s.id = leaves_for.schedule_id
  LEFT JOIN messagesets m ON m.id = leaves_for.messageset_id
 WHERE s.send_hours IS NOT NULL OR m.send_hours IS NOT NULL
$$;

CREATE OR REPLACE FUNCTION hold_of(tick_id bigint, schedule_id integer, messageset_id integer)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- Why the sends of a queue are held back; null: they are not.
SELECT CASE WHEN EXISTS (SELECT FROM pauses
                          WHERE ended_at IS NULL
                            AND pause_covers(pauses, hold_of.tick_id, hold_of.schedule_id,
                                             hold_of.messageset_id))
            THEN 'paused'
            WHEN leaves_for(hold_of.schedule_id, hold_of.messageset_id) <= interval '0'
            THEN 'hours'
            ELSE (SELECT hold FROM watched_ticks w
                   WHERE w.tick_id = hold_of.tick_id AND hold IS NOT NULL) END
$$;

CREATE FUNCTION is_slowed(tick_id bigint, schedule_id integer) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- Whether the sends of a tick wait for their moments, or for the results of the first ones.
SELECT EXISTS (SELECT FROM schedules WHERE id = schedule_id AND max_rate IS NOT NULL)
    OR EXISTS (SELECT FROM watched_ticks w
                WHERE w.tick_id = is_slowed.tick_id
                  AND (canary IS NOT NULL OR posted < brake_after))
$$;

CREATE OR REPLACE FUNCTION may_expand(tick ticks) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- Whether members of an open tick may be taken now: it is not held back, or all are skipped. A tick
-- that is slowed is expanded a little ahead only, and takes no room from others.
SELECT was_skipped(tick.skipped_by, NULL)
    OR hold_of(tick.id, tick.schedule_id, NULL) IS NULL
       AND (NOT is_slowed(tick.id, tick.schedule_id)
            OR (SELECT count(*) FROM (SELECT FROM sends
                                       WHERE state = 'owed' AND queue_tick_id = tick.id
                                       LIMIT 2000) waiting) < 2000)
$$;

CREATE FUNCTION latest_tick(schedule_id integer, since_tick bigint) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- When the latest tick of a schedule was opened, if it came after another tick.
SELECT created_at + clock_shift(id, created_at) FROM ticks
 WHERE ticks.schedule_id = latest_tick.schedule_id AND source <> 'single' AND state <> 'missed'
   AND id >= since_tick
 ORDER BY id DESC LIMIT 1
$$;

CREATE FUNCTION is_too_old(tick ticks) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- Whether it is too late for the messages of a tick of a schedule. A later tick of the same schedule
-- asks for them again.
SELECT now() - latest_tick(tick.schedule_id, tick.id) > make_interval(secs => max_age)
  FROM schedules WHERE id = tick.schedule_id
$$;

CREATE TYPE due_queue AS (
    tick_id bigint,
    schedule_id integer,
    messageset_id integer,
    oldest timestamptz,
    share integer,
    max_rate integer,
    probation bigint
);
COMMENT ON TYPE due_queue IS
    'A queue, with the due_at of its oldest send. share: how many sends its turn gives; max_rate: that of its schedule; probation: up to how many messages its tick may be sent before it is judged. Null: any number.';

DROP FUNCTION lock_due_sends(integer, integer, text[], uuid[]);
CREATE FUNCTION lock_due_sends(most integer, of_ticks integer, but text[], only_these uuid[],
                               claimer uuid)
RETURNS uuid[] LANGUAGE plpgsql AS $$
-- Locks up to "most" sends that are due, for a claim in this transaction, and returns their ids.
-- Single sends come first; at most "of_ticks" are of a tick. The queues that are open take turns:
-- each tick (of single sends: each schedule) has an equal share, and its queues divide it; those
-- that have more fill up what is left. So a small tick does not wait for a large one. Rows that
-- another daemon is claiming are skipped, never waited for. Queues that are held back are not read.
-- Sends to the identities in "but" are left.
--
-- Of a schedule with a rate, a claimer holds as many as may leave in two seconds, so that they do
-- not fill its places. Of a tick that is on probation, only so many are claimed that it is judged
-- before more of it go out; while one daemon claims from it, the others pass it by.
--
-- The statements that read sends are planned each time (EXECUTE): a plan that was made while there
-- were few sends would read all of them. The others keep their plans.
DECLARE
    locked uuid[] := '{}';
    taken uuid[];
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
        EXECUTE $statement$
            SELECT ARRAY(SELECT id FROM sends
                          WHERE id = ANY($1) AND state = 'owed' AND due_at <= now()
                            AND hold_of(queue_tick_id, queue_schedule_id, queue_messageset_id)
                                IS NULL
                            FOR UPDATE SKIP LOCKED) $statement$
           INTO locked USING only_these;
        RETURN locked;
    END IF;
    EXECUTE $statement$
        SELECT ARRAY(SELECT ROW(q.tick_id, q.schedule_id, q.messageset_id, first.due_at, 0, NULL,
                                NULL)::due_queue
                       FROM owed_queues q CROSS JOIN LATERAL (
                           SELECT due_at FROM sends
                            WHERE state = 'owed' AND queue_tick_id = q.tick_id
                              AND queue_schedule_id = q.schedule_id
                              AND queue_messageset_id = q.messageset_id AND due_at <= now()
                            ORDER BY due_at LIMIT 1) first) $statement$
       INTO queues;
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
                            WHERE id = ANY(locked) AND queue_schedule_id = queue.schedule_id));
                END IF;
                IF queue.probation IS NOT NULL THEN
                    quota := LEAST(quota, queue.probation
                        - (SELECT count(*) FROM sends
                            WHERE state = 'claimed' AND queue_tick_id = queue.tick_id)
                        - (SELECT count(*) FROM sends
                            WHERE state = 'unknown' AND queue_tick_id = queue.tick_id)
                        - (SELECT count(*) FROM sends
                            WHERE id = ANY(locked) AND queue_tick_id = queue.tick_id));
                END IF;
                CONTINUE WHEN quota < 1;
                EXECUTE $statement$
                    SELECT ARRAY(SELECT id FROM sends
                                  WHERE state = 'owed' AND queue_tick_id = $1
                                    AND queue_schedule_id = $2 AND queue_messageset_id = $3
                                    AND due_at <= now() AND identity <> ALL($4)
                                    AND id <> ALL($5)
                                  ORDER BY due_at, id LIMIT $6 FOR UPDATE SKIP LOCKED) $statement$
                   INTO taken
                  USING queue.tick_id, queue.schedule_id, queue.messageset_id, but,
                        CASE turn WHEN 2 THEN locked ELSE '{}' END, quota;
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

CREATE FUNCTION reserve_moments(of_schedule integer, schedule_rate integer, overall_rate integer,
                                wanted integer, soonest interval, ahead interval)
RETURNS TABLE (now double precision, first_at double precision, spacing double precision,
               count integer)
LANGUAGE plpgsql AS $$
-- Reserves the next moments at which messages of a schedule may leave, at most "wanted", and none
-- sooner than "soonest" (before that, the answer may not have come) or later than "ahead": what time
-- it is, the first moment, the time between two, and how many. Times
-- are in Unix time. All daemons reserve here, so that no two have the same moment. A row that is far
-- ahead was written by a wrong clock.
DECLARE
    moment timestamptz;
    first_moment timestamptz;
    row_at timestamptz;
BEGIN
    INSERT INTO paces (schedule_id, next_at)
    SELECT scope, clock_timestamp() FROM unnest(ARRAY[0, of_schedule]) scope
        ON CONFLICT DO NOTHING;
    PERFORM FROM paces WHERE schedule_id IN (0, of_schedule) ORDER BY schedule_id FOR UPDATE;
    moment := clock_timestamp();
    first_moment := moment + soonest;
    FOR row_at IN SELECT next_at FROM paces
                   WHERE schedule_id = of_schedule AND schedule_rate IS NOT NULL
                      OR schedule_id = 0 AND overall_rate IS NOT NULL LOOP
        IF row_at < moment + interval '10 seconds' THEN
            first_moment := GREATEST(first_moment, row_at);
        END IF;
    END LOOP;
    spacing := GREATEST(1.0 / schedule_rate, 1.0 / overall_rate);
    now := EXTRACT(epoch FROM moment);
    first_at := EXTRACT(epoch FROM first_moment);
    count := CASE WHEN first_moment > moment + ahead THEN 0
                  ELSE LEAST(wanted, 1 + floor(EXTRACT(epoch FROM moment + ahead - first_moment)
                                               / spacing)) END;
    UPDATE paces
       SET next_at = CASE schedule_id
                     WHEN 0 THEN GREATEST(CASE WHEN next_at < moment + interval '10 seconds'
                                               THEN next_at END, moment + soonest)
                                 + make_interval(secs => count::double precision / overall_rate)
                     ELSE first_moment + make_interval(secs => count::double precision
                                                           / schedule_rate) END
     WHERE count > 0 AND (schedule_id = of_schedule AND schedule_rate IS NOT NULL AND schedule_id > 0
                          OR schedule_id = 0 AND overall_rate IS NOT NULL);
    RETURN NEXT;
END
$$;

INSERT INTO schema_migrations (name) VALUES ('0043_limit_sends');
COMMIT;
