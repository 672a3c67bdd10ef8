-- Why: after a failover, the old primary can be started again, and accepts writes. A daemon that
-- uses it claims sends again that were sent from the new primary. Each promotion begins a new
-- timeline, so the server on the highest timeline is the right one, if the histories show that it
-- follows the others.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE TABLE timelines (
    cluster text NOT NULL,
    timeline bigint NOT NULL,
    token uuid NOT NULL DEFAULT gen_random_uuid(),
    first_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (cluster, timeline)
);
COMMENT ON TABLE timelines IS 'The servers on which this database has been, one row for each timeline on which a daemon has written. A standby that is promoted has the rows of its old primary, and begins a new timeline.';
COMMENT ON COLUMN timelines.cluster IS 'The system identifier of the database cluster: a server and all its standbys have the same.';
COMMENT ON COLUMN timelines.timeline IS 'Each promotion begins the next one.';
COMMENT ON COLUMN timelines.token IS 'Random: tells whether two servers on a timeline of the same number have it in common.';

INSERT INTO schema_migrations (name) VALUES ('0035_record_timelines');
COMMIT;
