-- Why: nobody could say what a tick would send before it was opened. A simulation counts that, and
-- the tick that is opened with its token is refused if the counts have changed too much.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE FUNCTION covered_below(seen pg_snapshot) RETURNS xid8
LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- A tick with this snapshot covers whoever joined before this transaction, as tick_covers says. Null:
-- the snapshot is of another server.
SELECT CASE WHEN pg_snapshot_xmax(seen) <= pg_snapshot_xmax(pg_current_snapshot())
            THEN pg_snapshot_xmin(seen) END
$$;

CREATE TABLE simulations (
    token uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    schedule_id integer NOT NULL REFERENCES schedules ON DELETE CASCADE,
    made_at timestamptz NOT NULL DEFAULT now(),
    made_by text NOT NULL,
    allowed_change integer NOT NULL CHECK (allowed_change BETWEEN 0 AND 100),
    counts jsonb NOT NULL
);
COMMENT ON TABLE simulations IS 'What ticks would have done, for whoever opens one with the token.';
COMMENT ON COLUMN simulations.made_by IS 'The name of the user, or "sbm simulate".';
COMMENT ON COLUMN simulations.allowed_change IS
    'By how many percent of the members the results may have changed when the tick is opened.';
COMMENT ON COLUMN simulations.counts IS
    'How many members have which result, by set, language, number, outcome, stage and reason.';
CREATE INDEX simulations_made_at ON simulations (made_at);
CREATE INDEX simulations_schedule_id ON simulations (schedule_id);

INSERT INTO schema_migrations (name) VALUES ('0055_simulate_ticks');
COMMIT;
