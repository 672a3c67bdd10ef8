-- What may slow the database down, or stop it soon. Any user who may connect can read it; of the
-- sessions of other users, such a user sees only that there are some.

-- name: find_longest_transaction :maybe
-- reads
-- The session of this database whose transaction has been open for longest, besides this one.
SELECT pid, COALESCE(usename, '') AS username, COALESCE(application_name, '') AS application,
       COALESCE(state, '') AS state, EXTRACT(epoch FROM now() - xact_start)::float8 AS seconds
  FROM pg_stat_activity
 WHERE xact_start IS NOT NULL AND datname = current_database() AND pid <> pg_backend_pid()
 ORDER BY xact_start, pid LIMIT 1;

-- name: measure_horizon :one
-- reads
-- How many transactions have begun since the oldest that somebody may still have to see: in a
-- session of this database, on a replica, or in a replication slot. Null: nobody has one. And how
-- many sessions cannot be seen into.
SELECT (SELECT max(age(xmin))
          FROM (SELECT backend_xmin AS xmin FROM pg_stat_activity
                 WHERE datname = current_database() OR datname IS NULL
                UNION ALL SELECT xmin FROM pg_replication_slots) held)::bigint AS oldest_age,
       (SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND query = '<insufficient privilege>') AS hidden;

-- name: list_hot_tables :many
-- reads
-- About how many rows of these tables live and are dead, and when they were last vacuumed.
SELECT relname::text AS name, n_live_tup AS live_rows, n_dead_tup AS dead_rows,
       GREATEST(last_vacuum, last_autovacuum) AS vacuumed_at
  FROM pg_stat_user_tables
 WHERE relid IN (SELECT to_regclass(name) FROM unnest(%(names)s::text[]) name)
 ORDER BY relname;

-- name: list_month_tables :many
-- reads
-- Whether the partitions of this month and of the next one are there, and whether rows had to go to
-- the default one, because theirs was missing.
SELECT parent AS name,
       to_regclass(parent || to_char(now() AT TIME ZONE 'UTC', '_YYYY_MM')) IS NOT NULL
           AS has_this_month,
       to_regclass(parent || to_char(date_trunc('month', now() AT TIME ZONE 'UTC')
                                     + interval '1 month', '_YYYY_MM')) IS NOT NULL
           AS has_next_month,
       CASE parent WHEN 'audit' THEN EXISTS (SELECT FROM audit_default)
                   WHEN 'deliveries' THEN EXISTS (SELECT FROM deliveries_default)
                   WHEN 'intake' THEN EXISTS (SELECT FROM intake_default)
                   ELSE EXISTS (SELECT FROM ledger_default) END AS has_strays
  FROM unnest(ARRAY['audit', 'deliveries', 'intake', 'ledger']) AS parent
 ORDER BY parent;

-- name: list_applied_migrations :many
-- reads
-- The migrations that made this schema, the newest first.
SELECT name, applied_at FROM schema_migrations ORDER BY name DESC;
