-- Why: who gets which message set, and where she stands in it.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE TABLE subscriptions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    identity text NOT NULL CHECK (char_length(identity) BETWEEN 1 AND 36),
    version integer NOT NULL DEFAULT 1,
    messageset_id integer NOT NULL REFERENCES messagesets,
    next_sequence_number integer NOT NULL DEFAULT 1,
    initial_sequence_number integer NOT NULL DEFAULT 1,
    lang text NOT NULL CHECK (char_length(lang) BETWEEN 1 AND 6),
    active boolean NOT NULL DEFAULT true,
    completed boolean NOT NULL DEFAULT false,
    schedule_id integer NOT NULL REFERENCES schedules,
    process_status smallint NOT NULL DEFAULT 0 CHECK (process_status IN (-2, -1, 0, 2)),
    metadata jsonb,
    chained_from uuid UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    created_by integer REFERENCES users ON DELETE SET NULL,
    updated_by integer REFERENCES users ON DELETE SET NULL
) WITH (
    -- A send changes its subscription's number and nothing that is indexed. With room left on the
    -- page, that is a heap-only update: no index is touched.
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02
);
COMMENT ON COLUMN subscriptions.identity IS
    'The identity in the Identity Store: a UUID in lower case; older ones as they were imported.';
COMMENT ON COLUMN subscriptions.process_status IS
    '-2, -1 error; 0 ready; 2 completed. 1, in process, is derived: there is a live next send.';
COMMENT ON COLUMN subscriptions.chained_from IS
    'The completed subscription that this one follows; no reference, as that one may be deleted.';

CREATE INDEX subscriptions_newest ON subscriptions (created_at DESC, id DESC);
CREATE INDEX subscriptions_identity ON subscriptions (identity);
CREATE INDEX subscriptions_messageset_id ON subscriptions (messageset_id);
CREATE INDEX subscriptions_schedule_id ON subscriptions (schedule_id);
-- A tick reads its members from this index, in order, a chunk at a time.
CREATE INDEX subscriptions_due ON subscriptions (schedule_id, id) WHERE active AND NOT completed;

INSERT INTO schema_migrations (name) VALUES ('0004_create_subscriptions');
COMMIT;
