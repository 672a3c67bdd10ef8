-- Why: people who write no curl need pages, and a session instead of a token.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE TABLE console_sessions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    user_id integer NOT NULL REFERENCES users ON DELETE CASCADE,
    began_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz NOT NULL DEFAULT now(),
    address text NOT NULL,
    browser text NOT NULL
);
COMMENT ON TABLE console_sessions IS 'Who is logged in to the console. To revoke one is to delete it.';
COMMENT ON COLUMN console_sessions.digest IS 'SHA-256 of the secret in the cookie, which is not stored.';
COMMENT ON COLUMN console_sessions.used_at IS 'Right to the minute.';
COMMENT ON COLUMN console_sessions.address IS 'From which address the user logged in.';
COMMENT ON COLUMN console_sessions.browser IS 'As the browser calls itself.';
CREATE INDEX console_sessions_user_id ON console_sessions (user_id);

CREATE TABLE console_links (
    digest bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    user_id integer NOT NULL REFERENCES users ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE console_links IS 'Links that log in once, as the sandbox prints one.';
COMMENT ON COLUMN console_links.digest IS 'SHA-256 of the secret in the link, which is not stored.';
CREATE INDEX console_links_user_id ON console_links (user_id);

INSERT INTO schema_migrations (name) VALUES ('0057_console');
COMMIT;
