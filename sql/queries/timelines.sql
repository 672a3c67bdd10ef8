-- The servers on which the database has been. The watch of the hosts runs these outside of
-- transactions, and on standbys, too.

-- name: find_server :one
-- reads
-- What a server is at this moment. The timeline is read from the WAL: the control file still has
-- the old one for a while after a promotion. A standby has none.
SELECT system_identifier::text AS cluster,
       CASE WHEN pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean THEN NULL
            ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline,
       pg_postmaster_start_time()::text AS started_at
  FROM pg_control_system();

-- name: find_role :one
-- reads
-- Whether a server accepts writes, if the user may not ask for more.
SELECT '' AS cluster,
       CASE WHEN NOT (pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean)
            THEN '0' END AS timeline,
       pg_postmaster_start_time()::text AS started_at;

-- name: list_timelines :many
-- reads
-- The history of the database, from its beginning.
SELECT cluster, timeline, token FROM timelines ORDER BY first_seen_at, timeline;

-- name: record_timeline :exec
-- Record that the database is on this timeline now, unless another daemon was faster.
INSERT INTO timelines (cluster, timeline) VALUES (%(cluster)s, %(timeline)s)
ON CONFLICT DO NOTHING;
