-- Why: files are copied to the voice vendor, by tasks that take hours and may be gone on with by
-- another daemon. Which of them are there has to be known without the whole list in memory. And
-- whoever asked for a task has to be able to see how far it has come, and what came of it.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE tasks
    ADD COLUMN progress jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN result jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN tasks.progress IS 'How far it has come, as it said last.';
COMMENT ON COLUMN tasks.result IS 'What came of it.';

-- The order in which tasks are listed.
CREATE INDEX tasks_newest ON tasks (requested_at, id);

CREATE TABLE audio_copies (
    name text PRIMARY KEY,
    size bigint NOT NULL,
    seen_by uuid NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    copied_by uuid,
    copied_at timestamptz,
    CHECK ((copied_by IS NULL) = (copied_at IS NULL))
);
COMMENT ON TABLE audio_copies IS 'The files that the voice vendor had when that was last looked at.';
COMMENT ON COLUMN audio_copies.name IS 'The name of the file, here and there.';
COMMENT ON COLUMN audio_copies.size IS 'Its size there, in bytes.';
COMMENT ON COLUMN audio_copies.seen_by IS 'The task that found it there, or put it there.';
COMMENT ON COLUMN audio_copies.copied_by IS 'The task that put it there; null: it was there before.';

INSERT INTO schema_migrations (name) VALUES ('0017_copy_audio');
COMMIT;
