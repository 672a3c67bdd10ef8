-- Why: a client that got no answer asks again. By the Idempotency-Key of its request it is given
-- the answer of the first time, and nothing is done twice; a webhook without a key can be known by
-- what it asks for. Both are kept for a day at most, and by the transaction that does the work.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

-- No reference to users: an answer may outlive its user by a day, and nobody reads it then.
CREATE TABLE idempotency_keys (
    request bytea PRIMARY KEY CHECK (octet_length(request) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    user_id integer,
    path text NOT NULL,
    key text NOT NULL CHECK (char_length(key) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    status smallint NOT NULL CHECK (status BETWEEN 200 AND 299),
    headers jsonb NOT NULL,
    body bytea NOT NULL
);
COMMENT ON TABLE idempotency_keys IS 'Requests with a key that were done, and their answers.';
COMMENT ON COLUMN idempotency_keys.request IS
    'SHA-256 of user, key and path: a path may be longer than an index takes.';
COMMENT ON COLUMN idempotency_keys.user_id IS 'Whose key it is; null: the Scheduler''s.';
COMMENT ON COLUMN idempotency_keys.fingerprint IS 'SHA-256 of the body that came with the key.';
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);

CREATE TABLE recent_registrations (
    fingerprint bytea PRIMARY KEY CHECK (octet_length(fingerprint) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    subscription_id uuid NOT NULL
);
COMMENT ON TABLE recent_registrations IS
    'What the webhook was asked for without a key, while its twins are refused.';
COMMENT ON COLUMN recent_registrations.fingerprint IS
    'SHA-256 of the data as they were read: the subscription itself goes on and changes.';
CREATE INDEX recent_registrations_created_at ON recent_registrations (created_at);

INSERT INTO schema_migrations (name) VALUES ('0016_keep_answers');
COMMIT;
