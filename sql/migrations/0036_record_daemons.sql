-- Why: several daemons share the database, on several machines. An operator has to see which of them
-- live, with which version and role, and which services are away for them.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE TABLE daemons (
    id uuid PRIMARY KEY,
    role text NOT NULL CHECK (role IN ('all', 'api', 'pipeline')),
    version text NOT NULL,
    commit text NOT NULL DEFAULT '',
    host text NOT NULL,
    pid bigint NOT NULL,
    since timestamptz NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    pause text NOT NULL DEFAULT '',
    services jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE daemons IS 'The daemons that live: each writes its row every few seconds, and deletes it when it stops.';
COMMENT ON COLUMN daemons.id IS 'sends.owner of its claims.';
COMMENT ON COLUMN daemons.commit IS 'The commit that it was built from; empty: not known.';
COMMENT ON COLUMN daemons.seen_at IS 'When it last wrote the row. If that was a minute ago, it does not live any more, or does not reach the database.';
COMMENT ON COLUMN daemons.pause IS 'Why it does no work by itself; empty: it works.';
COMMENT ON COLUMN daemons.services IS 'The services that it calls: whether each is away for it, why, and when it is tried again.';

INSERT INTO schema_migrations (name) VALUES ('0036_record_daemons');
COMMIT;
