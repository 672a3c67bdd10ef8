-- Why: the ledger says what the Message Sender has accepted, and not what has reached a phone. A daemon
-- reads the outbounds again, an hour and a day after they were made, and notes whether they were
-- delivered. Counts are kept by day, set and language, and for each person how many messages in a row
-- were not delivered, so that neither has to be counted from all rows.
--
-- The functions for partitions find the column of the time by themselves: there are more such tables.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

SELECT set_config('search_path', format('%I, pg_temp', nspname), true)
  FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
 WHERE pg_class.oid = 'ledger'::regclass;

CREATE TABLE deliveries (
    settled_at timestamptz NOT NULL,
    ledger_id bigint NOT NULL,
    messageset_id integer NOT NULL,
    lang text NOT NULL,
    delivered boolean NOT NULL,
    attempts integer,
    nack_reason text,
    looked_at timestamptz NOT NULL DEFAULT now(),
    is_final boolean NOT NULL,
    PRIMARY KEY (settled_at, ledger_id)
) PARTITION BY RANGE (settled_at);
COMMENT ON TABLE deliveries IS
    'What the Message Sender says about outbounds: a row for a row of the ledger, by its key.';
COMMENT ON COLUMN deliveries.attempts IS 'How often the Message Sender has tried.';
COMMENT ON COLUMN deliveries.nack_reason IS 'Why the network has refused it, if it has.';
COMMENT ON COLUMN deliveries.is_final IS 'It is not looked at again.';
CREATE INDEX deliveries_undelivered ON deliveries (settled_at, ledger_id) WHERE NOT delivered;
CREATE INDEX deliveries_undelivered_messageset
    ON deliveries (messageset_id, settled_at, ledger_id) WHERE NOT delivered;
CREATE TABLE deliveries_default PARTITION OF deliveries DEFAULT;

CREATE TABLE delivery_counts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    day date NOT NULL,
    messageset_id integer NOT NULL,
    lang text NOT NULL,
    seen bigint NOT NULL DEFAULT 0,
    delivered bigint NOT NULL DEFAULT 0,
    final bigint NOT NULL DEFAULT 0,
    UNIQUE (day, messageset_id, lang)
);
COMMENT ON TABLE delivery_counts IS 'Rows of deliveries, by the day of settled_at in UTC.';
COMMENT ON COLUMN delivery_counts.seen IS 'How many were looked at.';
COMMENT ON COLUMN delivery_counts.final IS 'How many of them are not looked at again.';
CREATE INDEX delivery_counts_newest ON delivery_counts (day, id);

CREATE TABLE undelivered_people (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    identity text NOT NULL UNIQUE,
    in_row integer NOT NULL,
    since timestamptz NOT NULL,
    last_at timestamptz NOT NULL
);
COMMENT ON TABLE undelivered_people IS 'People whose last messages were not delivered.';
COMMENT ON COLUMN undelivered_people.in_row IS 'How many, by the last look at each.';
COMMENT ON COLUMN undelivered_people.since IS 'When the first of them was sent; last_at: the last.';
CREATE INDEX undelivered_people_most ON undelivered_people (in_row, id);

CREATE TABLE delivery_places (
    look text PRIMARY KEY CHECK (look IN ('first', 'last')),
    place timestamptz,
    owner uuid,
    lease_until timestamptz NOT NULL DEFAULT '-infinity'
);
COMMENT ON TABLE delivery_places IS 'How far the outbounds of the Message Sender were looked at.';
COMMENT ON COLUMN delivery_places.place IS
    'By the clock of the Message Sender. Null: not begun; what was sent before that is not looked at.';
INSERT INTO delivery_places (look) VALUES ('first'), ('last');

CREATE FUNCTION partition_column(parent text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
-- The column by which a table has a partition for each month. Raises an error for other tables.
DECLARE
    found text := (SELECT attname FROM pg_partitioned_table
                     JOIN pg_attribute ON attrelid = partrelid AND attnum = partattrs[0]
                    WHERE partrelid = to_regclass(quote_ident(parent)) AND partstrat = 'r');
BEGIN
    IF found IS NULL THEN
        RAISE EXCEPTION '% has no partitions of months', parent
              USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN found;
END
$$;

CREATE OR REPLACE FUNCTION make_partitions(parent text, months_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
-- Makes the partitions of this month and the next ones, in UTC, and moves into them what the
-- default partition holds of those months. Answers how many it made; safe to repeat. They
-- belong to the owner of the table, whoever calls this.
DECLARE
    time_column CONSTANT text := partition_column(parent);
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
        partition_name := parent || to_char(month_start AT TIME ZONE 'UTC', '_YYYY_MM');
        CONTINUE WHEN to_regclass(partition_name) IS NOT NULL;
        -- No row may arrive while they move. Not before it is needed: settling waits meanwhile.
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', partition_name, parent);
        EXECUTE format(
            'WITH moved AS (DELETE FROM %1$I WHERE %2$I >= %3$L AND %2$I < %4$L RETURNING *)'
            ' INSERT INTO %5$I SELECT * FROM moved',
            parent || '_default', time_column, month_start, month_end, partition_name);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            parent, partition_name, month_start, month_end);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

CREATE OR REPLACE FUNCTION drop_partitions(parent text, months_kept integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
-- Drops the partitions that end before this month less so many, in UTC. Answers how many.
DECLARE
    oldest_kept text := parent || to_char(
        (now() AT TIME ZONE 'UTC') - make_interval(months => months_kept), '_YYYY_MM');
    partition_name text;
    dropped integer := 0;
BEGIN
    PERFORM partition_column(parent);
    PERFORM pg_advisory_xact_lock(736266, 2);
    FOR partition_name IN
        SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
         WHERE inhparent = to_regclass(quote_ident(parent))
           AND child.relname ~ ('^' || parent || '_\d{4}_\d{2}$')
           AND child.relname COLLATE "C" < oldest_kept COLLATE "C"
    LOOP
        EXECUTE format('DROP TABLE %I', partition_name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;

-- They belong to the same role as the ledger, and the same roles may use them. The functions work as
-- that role, so they could not make partitions of another one's table.
DO $$
DECLARE
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'ledger'::regclass);
    made text;
    one record;
BEGIN
    FOREACH made IN ARRAY ARRAY['deliveries', 'deliveries_default', 'delivery_counts',
                                'undelivered_people', 'delivery_places'] LOOP
        IF owner <> current_user THEN
            EXECUTE format('ALTER TABLE %I OWNER TO %I', made, owner);
        END IF;
        FOR one IN
            SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
                       AS grantee,
                   string_agg(privilege_type, ', ') AS privileges
              FROM pg_class, aclexplode(relacl)
             WHERE pg_class.oid = 'ledger'::regclass AND grantee <> relowner
             GROUP BY 1
        LOOP
            EXECUTE format('GRANT %s ON %I TO %s', one.privileges, made, one.grantee);
        END LOOP;
    END LOOP;
END
$$;

SELECT make_partitions('deliveries', 2);

INSERT INTO schema_migrations (name) VALUES ('0051_note_deliveries');
COMMIT;
