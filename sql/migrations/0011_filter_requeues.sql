-- Why: failures can be requeued by filter, and what is too long for one answer is left to a task:
-- that task has to know which of them are meant.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE tasks
    ADD COLUMN wanted jsonb NOT NULL DEFAULT '{}',
    ADD CONSTRAINT tasks_wanted_check CHECK (kind = 'requeue-failed-tasks' OR wanted = '{}');
COMMENT ON COLUMN tasks.wanted IS
    'requeue-failed-tasks: the filter of those that are meant; without a member, all are.';

-- Who asks while one is waiting is answered with that one, if she means the same.
DROP INDEX tasks_one_waiting;
CREATE UNIQUE INDEX tasks_one_waiting ON tasks (kind, wanted) WHERE state = 'waiting';

INSERT INTO schema_migrations (name) VALUES ('0011_filter_requeues');
COMMIT;
