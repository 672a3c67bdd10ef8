-- Why: sends of one schedule, message set or tick can be held back, and must then not stand in the
-- way of the others. So owed sends are in queues. A claim takes from each queue that is open, and
-- never reads the others, whatever their length.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE sends
    ADD COLUMN queue_tick_id bigint NOT NULL
        GENERATED ALWAYS AS (CASE WHEN lane = 'tick' THEN tick_id ELSE 0 END) STORED,
    ADD COLUMN queue_schedule_id integer NOT NULL DEFAULT 0,
    ADD COLUMN queue_messageset_id integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN sends.queue_tick_id IS
    'The queue of an owed send: its tick; 0: the lane of single sends.';
COMMENT ON COLUMN sends.queue_schedule_id IS
    'The queue of an owed send: the schedule of its subscription; 0: there is no such subscription. Claimed: as it was then.';
COMMENT ON COLUMN sends.queue_messageset_id IS
    'The queue of an owed send: the message set of its message. Claimed: as it was then.';

UPDATE sends
   SET queue_schedule_id = s.schedule_id,
       queue_messageset_id = CASE WHEN kind = 'resend'
                                  THEN COALESCE(sends.messageset_id, s.messageset_id)
                                  ELSE s.messageset_id END
  FROM subscriptions s WHERE s.id = sends.subscription_id;

DROP INDEX sends_owed;
CREATE INDEX sends_owed ON sends
       (queue_tick_id, queue_schedule_id, queue_messageset_id, due_at, id)
 WHERE state = 'owed';

CREATE FUNCTION queue_send() RETURNS trigger LANGUAGE plpgsql AS $$
-- Puts a send that becomes owed into its queue.
BEGIN
    SELECT s.schedule_id,
           CASE WHEN NEW.kind = 'resend' THEN COALESCE(NEW.messageset_id, s.messageset_id)
                ELSE s.messageset_id END
      INTO NEW.queue_schedule_id, NEW.queue_messageset_id
      FROM subscriptions s WHERE s.id = NEW.subscription_id;
    NEW.queue_schedule_id := COALESCE(NEW.queue_schedule_id, 0);
    NEW.queue_messageset_id := COALESCE(NEW.queue_messageset_id, 0);
    RETURN NEW;
END
$$;
CREATE TRIGGER sends_queue BEFORE INSERT ON sends
   FOR EACH ROW WHEN (NEW.queue_schedule_id = 0) EXECUTE FUNCTION queue_send();

CREATE TRIGGER sends_queue_again BEFORE UPDATE OF state ON sends
   FOR EACH ROW WHEN (NEW.state = 'owed' AND OLD.state <> 'owed') EXECUTE FUNCTION queue_send();

CREATE FUNCTION requeue_send() RETURNS trigger LANGUAGE plpgsql AS $$
-- A subscription moved to another schedule or set: what is owed to it moves to another queue.
BEGIN
    UPDATE sends
       SET queue_schedule_id = NEW.schedule_id,
           queue_messageset_id = CASE WHEN kind = 'resend' THEN queue_messageset_id
                                      ELSE NEW.messageset_id END
     WHERE subscription_id = NEW.id AND state = 'owed';
    RETURN NULL;
END
$$;
CREATE TRIGGER subscriptions_requeue AFTER UPDATE OF schedule_id, messageset_id ON subscriptions
   FOR EACH ROW
  WHEN (OLD.schedule_id <> NEW.schedule_id OR OLD.messageset_id <> NEW.messageset_id)
       EXECUTE FUNCTION requeue_send();

CREATE VIEW owed_queues AS
WITH RECURSIVE queue AS (
    (SELECT queue_tick_id, queue_schedule_id, queue_messageset_id FROM sends
      WHERE state = 'owed'
      ORDER BY queue_tick_id, queue_schedule_id, queue_messageset_id LIMIT 1)
    UNION ALL
    SELECT following.* FROM queue CROSS JOIN LATERAL (
        SELECT queue_tick_id, queue_schedule_id, queue_messageset_id FROM sends
         WHERE state = 'owed'
           AND (queue_tick_id, queue_schedule_id, queue_messageset_id)
               > (queue.queue_tick_id, queue.queue_schedule_id, queue.queue_messageset_id)
         ORDER BY queue_tick_id, queue_schedule_id, queue_messageset_id LIMIT 1) following
)
SELECT queue_tick_id AS tick_id, queue_schedule_id AS schedule_id,
       queue_messageset_id AS messageset_id
  FROM queue;
COMMENT ON VIEW owed_queues IS
    'The queues that have owed sends. One step in an index for each: it does not read the sends.';

INSERT INTO schema_migrations (name) VALUES ('0039_queue_sends_by_schedule');
COMMIT;
