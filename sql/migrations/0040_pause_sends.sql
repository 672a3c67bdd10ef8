-- Why: an operator pauses the programme, a message set, a schedule or a lane. From then on, nothing
-- of it is claimed; and once the pause is in force, no message of it goes out.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE pauses
    DROP CONSTRAINT pauses_kind_check,
    ADD CONSTRAINT pauses_kind_check CHECK (kind IN ('setting', 'restored', 'operator')),
    ADD COLUMN lane text CHECK (lane IN ('single', 'tick')),
    ADD COLUMN schedule_id integer,
    ADD COLUMN messageset_id integer,
    ADD COLUMN on_ticks text CHECK (on_ticks IN ('later', 'skip')),
    ADD COLUMN paused_by text,
    ADD COLUMN until timestamptz,
    ADD COLUMN paused_at timestamptz,
    ADD COLUMN ended_by text,
    ADD CHECK ((kind = 'operator') = (on_ticks IS NOT NULL)),
    ADD CHECK (kind = 'operator'
               OR lane IS NULL AND schedule_id IS NULL AND messageset_id IS NULL);
COMMENT ON TABLE pauses IS
    'While a pause has not ended, what it concerns is not sent.';
COMMENT ON COLUMN pauses.kind IS
    'setting: SBM_PAUSED of one daemon; restored: the database went back, which concerns all; operator: a person paused sends.';
COMMENT ON COLUMN pauses.lane IS 'operator: only sends of this lane; null: of both.';
COMMENT ON COLUMN pauses.schedule_id IS
    'operator: only sends to subscriptions on this schedule; null: on all.';
COMMENT ON COLUMN pauses.messageset_id IS 'operator: only messages of this set; null: of all.';
COMMENT ON COLUMN pauses.on_ticks IS
    'operator: later: what ticks ask for meanwhile is sent when the pause ends; skip: it is skipped.';
COMMENT ON COLUMN pauses.paused_by IS 'operator: who began it.';
COMMENT ON COLUMN pauses.until IS 'operator: when it ends by itself; null: a person ends it.';
COMMENT ON COLUMN pauses.paused_at IS
    'operator: since when no POST of it can begin; null: some of it may be in hand.';
COMMENT ON COLUMN pauses.ended_by IS 'operator: who ended it; null: nobody, or it was time.';
CREATE INDEX pauses_open ON pauses (id) WHERE ended_at IS NULL;

ALTER TABLE ticks ADD COLUMN skipped_by bigint[];
COMMENT ON COLUMN ticks.skipped_by IS
    'The pauses that skipped ticks when it was opened: members that they concern are skipped.';

CREATE FUNCTION pause_covers(pause pauses, tick_id bigint, schedule_id integer,
                             messageset_id integer) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
-- Whether a pause of an operator concerns the sends of a queue; tick_id is 0 for the lane of single
-- sends. Without a message set, whether it concerns those of all sets.
SELECT pause.kind = 'operator'
   AND (pause.lane IS NULL OR pause.lane = CASE WHEN tick_id = 0 THEN 'single' ELSE 'tick' END)
   AND (pause.schedule_id IS NULL OR pause.schedule_id = pause_covers.schedule_id)
   AND (pause.messageset_id IS NULL
        OR COALESCE(pause.messageset_id = pause_covers.messageset_id, false))
$$;

CREATE FUNCTION hold_of(tick_id bigint, schedule_id integer, messageset_id integer) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- Why the sends of a queue are held back; null: they are not.
SELECT CASE WHEN EXISTS (SELECT FROM pauses
                          WHERE ended_at IS NULL
                            AND pause_covers(pauses, hold_of.tick_id, hold_of.schedule_id,
                                             hold_of.messageset_id))
            THEN 'paused' END
$$;

CREATE FUNCTION was_skipped(skipped_by bigint[], messageset_id integer) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- Whether the pauses that skipped a tick concern members of this message set; null: all of them.
SELECT CASE WHEN skipped_by IS NULL THEN false
            ELSE EXISTS (SELECT FROM pauses
                          WHERE id = ANY(skipped_by)
                            AND (pauses.messageset_id IS NULL
                                 OR pauses.messageset_id = was_skipped.messageset_id)) END
$$;

CREATE FUNCTION may_expand(tick ticks) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- Whether members of an open tick may be taken now: it is not held back, or all are skipped.
SELECT hold_of(tick.id, tick.schedule_id, NULL) IS NULL OR was_skipped(tick.skipped_by, NULL)
$$;

CREATE FUNCTION lock_due_sends(most integer, of_ticks integer, but text[], only_these uuid[])
RETURNS uuid[] LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
-- Locks up to "most" sends that are due, for a claim in this transaction, and returns their ids.
-- Single sends come first; at most "of_ticks" are of a tick. The queues that are open take turns,
-- the one that has waited longest first: each gives an equal share of its oldest sends, and those
-- that have more fill up what is left. So
-- a small tick does not wait for a large one. Rows that another daemon is claiming are skipped,
-- never waited for. Queues that are held back are not read. Sends to the identities in "but" are
-- left. Plans are not kept: one that was made while there were few sends would read all of them.
DECLARE
    locked uuid[] := '{}';
    taken uuid[];
    open owed_queues[];
    lane_queues owed_queues[];
    fuller owed_queues[];
    queue owed_queues;
    room integer;
    share integer;
BEGIN
    -- Whoever begins a pause holds this lock alone. Each statement here sees all pauses that were
    -- committed before it, so none that was begun before this claim is missed.
    PERFORM pg_advisory_xact_lock_shared(736266, 5);
    IF only_these IS NOT NULL THEN
        RETURN ARRAY(SELECT id FROM sends
                      WHERE id = ANY(only_these) AND state = 'owed' AND due_at <= now()
                        AND hold_of(queue_tick_id, queue_schedule_id, queue_messageset_id) IS NULL
                        FOR UPDATE SKIP LOCKED);
    END IF;
    open := ARRAY(SELECT q FROM owed_queues q
                   WHERE hold_of(tick_id, schedule_id, messageset_id) IS NULL
                   ORDER BY (SELECT due_at FROM sends
                              WHERE state = 'owed' AND queue_tick_id = q.tick_id
                                AND queue_schedule_id = q.schedule_id
                                AND queue_messageset_id = q.messageset_id
                              ORDER BY due_at LIMIT 1), q.tick_id);
    FOR is_tick IN 0..1 LOOP
        room := LEAST(most - cardinality(locked), CASE is_tick WHEN 1 THEN of_ticks ELSE most END);
        lane_queues := ARRAY(SELECT q FROM unnest(open) q WHERE (q.tick_id > 0) = (is_tick = 1));
        CONTINUE WHEN room < 1 OR cardinality(lane_queues) = 0;
        share := (room + cardinality(lane_queues) - 1) / cardinality(lane_queues);
        fuller := '{}';
        FOREACH queue IN ARRAY lane_queues LOOP
            EXIT WHEN room < 1;
            taken := ARRAY(SELECT id FROM sends
                            WHERE state = 'owed' AND queue_tick_id = queue.tick_id
                              AND queue_schedule_id = queue.schedule_id
                              AND queue_messageset_id = queue.messageset_id AND due_at <= now()
                              AND identity <> ALL(but)
                            ORDER BY due_at, id LIMIT LEAST(share, room) FOR UPDATE SKIP LOCKED);
            IF cardinality(taken) = share THEN
                fuller := fuller || queue;
            END IF;
            locked := locked || taken;
            room := room - cardinality(taken);
        END LOOP;
        FOREACH queue IN ARRAY fuller LOOP
            EXIT WHEN room < 1;
            taken := ARRAY(SELECT id FROM sends
                            WHERE state = 'owed' AND queue_tick_id = queue.tick_id
                              AND queue_schedule_id = queue.schedule_id
                              AND queue_messageset_id = queue.messageset_id AND due_at <= now()
                              AND identity <> ALL(but) AND id <> ALL(locked)
                            ORDER BY due_at, id LIMIT room FOR UPDATE SKIP LOCKED);
            locked := locked || taken;
            room := room - cardinality(taken);
        END LOOP;
    END LOOP;
    RETURN locked;
END
$$;

INSERT INTO schema_migrations (name) VALUES ('0040_pause_sends');
COMMIT;
