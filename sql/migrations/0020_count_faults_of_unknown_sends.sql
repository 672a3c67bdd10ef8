-- Why: a message that is answered 500 and never stored was posted, asked about, owed and posted again
-- for ever. What the owner of a claim saw go wrong, while the sends of other people went through,
-- counts against the message once its absence is proven. A failure then tells all the answers it had.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE sends ADD COLUMN is_fault boolean NOT NULL DEFAULT false,
                  ADD COLUMN answers text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN sends.faults IS 'Failed calls that count against this message or person.';
COMMENT ON COLUMN sends.is_fault IS
    'Of an unknown send: if the Message Sender does not have it, that is a fault.';
COMMENT ON COLUMN sends.answers IS
    'What came of the calls that count as faults: each once, the first five.';

INSERT INTO schema_migrations (name) VALUES ('0020_count_faults_of_unknown_sends');
COMMIT;
