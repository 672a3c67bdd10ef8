-- Why: partitions of the ledger belonged to the daemon that had made them. If its user was only a
-- member of the role that owns the tables, the owner could not alter the ledger any more: that needs
-- the right to alter each partition. Now the functions work as their owner, who owns the tables, and
-- so the daemon's user only needs to be allowed to call them. Partitions that another user has made
-- are given to the owner by `sbm migrate`, before this, or it says which.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

-- What works as somebody else has to know where its tables are.
SELECT set_config('search_path', format('%I, pg_temp', nspname), true)
  FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
 WHERE pg_class.oid = 'ledger'::regclass;

CREATE OR REPLACE FUNCTION make_ledger_partitions(months_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
-- Makes the partitions of this month and the next ones, in UTC, and moves into them what the
-- default partition holds of those months. Answers how many it made; safe to repeat. They
-- belong to the owner of the ledger, whoever calls this.
DECLARE
    this_month timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
    month_start timestamptz;
    month_end timestamptz;
    partition_name text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(736266, 2);
    FOR ahead IN 0..months_ahead LOOP
        month_start := (this_month + make_interval(months => ahead)) AT TIME ZONE 'UTC';
        month_end := (this_month + make_interval(months => ahead + 1)) AT TIME ZONE 'UTC';
        partition_name := 'ledger_' || to_char(month_start AT TIME ZONE 'UTC', 'YYYY_MM');
        CONTINUE WHEN to_regclass(partition_name) IS NOT NULL;
        -- No row may arrive while they move. Not before it is needed: settling waits meanwhile.
        LOCK TABLE ledger_default IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('CREATE TABLE %I (LIKE ledger INCLUDING ALL)', partition_name);
        EXECUTE format(
            'WITH moved AS (DELETE FROM ledger_default WHERE settled_at >= %L AND settled_at < %L'
            ' RETURNING *) INSERT INTO %I SELECT * FROM moved',
            month_start, month_end, partition_name);
        EXECUTE format('ALTER TABLE ledger ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            partition_name, month_start, month_end);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

CREATE OR REPLACE FUNCTION drop_ledger_partitions(months_kept integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
-- Drops the partitions that end before this month less so many, in UTC. Answers how many.
DECLARE
    oldest_kept text := 'ledger_' || to_char(
        (now() AT TIME ZONE 'UTC') - make_interval(months => months_kept), 'YYYY_MM');
    partition_name text;
    dropped integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(736266, 2);
    FOR partition_name IN
        SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
         WHERE inhparent = 'ledger'::regclass AND child.relname ~ '^ledger_\d{4}_\d{2}$'
           AND child.relname COLLATE "C" < oldest_kept COLLATE "C"
    LOOP
        EXECUTE format('DROP TABLE %I', partition_name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;

-- They drop what others may only read.
REVOKE ALL ON FUNCTION make_ledger_partitions(integer), drop_ledger_partitions(integer) FROM PUBLIC;

DO $$
-- Where the tables were given to another role without their functions.
DECLARE
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'ledger'::regclass);
    function regprocedure;
BEGIN
    FOR function IN
        SELECT oid FROM pg_proc
         WHERE oid IN ('make_ledger_partitions(integer)'::regprocedure,
                       'drop_ledger_partitions(integer)'::regprocedure)
           AND pg_get_userbyid(proowner) <> owner
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO %I', function, owner);
    END LOOP;
END
$$;

INSERT INTO schema_migrations (name) VALUES ('0025_own_ledger_partitions');
COMMIT;
