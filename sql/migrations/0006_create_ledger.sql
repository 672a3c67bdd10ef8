-- Why: the ledger answers "who did not get it, and why", and makes a law that SQL can check: for
-- every tick, triggers = rows in the ledger + live sends. It only grows, so it is partitioned by
-- month: a month that is no longer kept is dropped, not deleted row by row.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE SEQUENCE ledger_id AS bigint;
CREATE TABLE ledger (
    id bigint NOT NULL DEFAULT nextval('ledger_id'),
    send_id uuid NOT NULL,
    tick_id bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('next', 'resend')),
    outcome text NOT NULL
        CHECK (outcome IN ('sent', 'adopted', 'dry-run', 'skipped', 'refused', 'failed')),
    stage text NOT NULL CHECK (stage IN ('trigger', 'content', 'address', 'post')),
    reason text NOT NULL DEFAULT '',
    subscription_id uuid NOT NULL,
    identity text NOT NULL,
    messageset_id integer,
    sequence_number integer,
    lang text,
    attempts integer NOT NULL DEFAULT 0,
    outbound_id text,
    owed_at timestamptz NOT NULL DEFAULT now(),
    first_attempt_at timestamptz,
    settled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, settled_at)
) PARTITION BY RANGE (settled_at);
COMMENT ON COLUMN ledger.stage IS 'How far it came: trigger, content, address or post.';
COMMENT ON COLUMN ledger.reason IS 'Why it was not sent; empty where it was.';
COMMENT ON COLUMN ledger.outbound_id IS 'The id of the outbound in the Message Sender.';
CREATE INDEX ledger_subscription_id ON ledger (subscription_id, settled_at);
CREATE INDEX ledger_tick_id ON ledger (tick_id);

-- Rows of a month that nobody made a partition for land here, so that settling never stops.
CREATE TABLE ledger_default PARTITION OF ledger DEFAULT;

CREATE FUNCTION make_ledger_partitions(months_ahead integer) RETURNS integer
LANGUAGE plpgsql AS $$
-- Makes the partitions of this month and the next ones, in UTC, and moves into them what the
-- default partition holds of those months. Answers how many it made; safe to repeat.
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

CREATE FUNCTION drop_ledger_partitions(months_kept integer) RETURNS integer
LANGUAGE plpgsql AS $$
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

SELECT make_ledger_partitions(2);

INSERT INTO schema_migrations (name) VALUES ('0006_create_ledger');
COMMIT;
