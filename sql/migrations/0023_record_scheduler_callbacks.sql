-- Why: the Seed Scheduler repeats a call whose answer was lost, with nothing to know it by, and each
-- repetition was a tick of its own. A call is recorded under the due moment that it belongs to, by
-- the transaction that does what it asks for; a later call of that moment gets the same answer.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE TABLE scheduler_callbacks (
    kind text NOT NULL CHECK (kind IN ('subscription', 'schedule')),
    target text NOT NULL,
    moment timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    status smallint NOT NULL CHECK (status BETWEEN 200 AND 299),
    body bytea NOT NULL,
    PRIMARY KEY (kind, target, moment)
);
COMMENT ON TABLE scheduler_callbacks IS
    'Recent calls of the Seed Scheduler that were done, and their answers.';
COMMENT ON COLUMN scheduler_callbacks.target IS
    'The id of the subscription or schedule, as in remote_schedules.';
COMMENT ON COLUMN scheduler_callbacks.moment IS
    'The due moment that the call belongs to; of a call that fits none, when it came.';
CREATE INDEX scheduler_callbacks_created_at ON scheduler_callbacks (created_at);

INSERT INTO schema_migrations (name) VALUES ('0023_record_scheduler_callbacks');
COMMIT;
