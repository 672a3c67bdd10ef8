-- Why: changes by the API left no trace, and those by commands only what the command told. Now each
-- change of content, schedules, subscriptions, users, tokens and settings leaves a row in the audit
-- with the values before and after. A trigger writes it, so it belongs to the statement that does
-- the work and needs no round trip. The author comes with the first
-- statement that writes: SET LOCAL sbm.author.
-- What the pipeline changes has no author, and leaves no row here: the ledger has it.
--
-- The audit is partitioned by month, as the ledger is. The functions for the partitions serve both.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

SELECT set_config('search_path', format('%I, pg_temp', nspname), true)
  FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
 WHERE pg_class.oid = 'ledger'::regclass;

ALTER TABLE audit RENAME TO former_audit;
ALTER TABLE former_audit DROP CONSTRAINT audit_pkey, DROP CONSTRAINT audit_actor_check;

CREATE SEQUENCE audit_entry_id AS bigint;
CREATE TABLE audit (
    id bigint NOT NULL DEFAULT nextval('audit_entry_id'),
    done_at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL CHECK (char_length(actor) BETWEEN 1 AND 200),
    user_id integer,
    action text NOT NULL,
    reason text NOT NULL DEFAULT '',
    request_id text,
    table_name text,
    row_id text,
    operation text CHECK (operation IN ('insert', 'update', 'delete')),
    before jsonb,
    after jsonb,
    details jsonb NOT NULL DEFAULT '{}',
    identity text,
    undoes bigint,
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (id, done_at),
    CONSTRAINT audit_row_check CHECK (
        (operation IS NULL) = (table_name IS NULL) AND (operation IS NULL) = (row_id IS NULL))
) PARTITION BY RANGE (done_at);
COMMENT ON TABLE audit IS
    'The changes by the API and by commands. A row tells of one changed row, or of a whole command.';
COMMENT ON COLUMN audit.actor IS
    'The name of the user. Of a command: as given by --by, or else the user of the machine.';
COMMENT ON COLUMN audit.user_id IS 'The user of the API; null: a command, or the Scheduler.';
COMMENT ON COLUMN audit.action IS 'The request, or the command.';
COMMENT ON COLUMN audit.request_id IS
    'X-Request-ID of the request, which a client may have chosen; each run of a command has one, too.';
COMMENT ON COLUMN audit.operation IS 'What was done to the row; null: the entry tells of a command.';
COMMENT ON COLUMN audit.before IS
    'The row before, without secrets; of an update, only the columns that differ.';
COMMENT ON COLUMN audit.after IS 'The row after, in the same way.';
COMMENT ON COLUMN audit.details IS
    'Of a command: counts, ids, and the values before.';
COMMENT ON COLUMN audit.identity IS 'The identity, if the change concerns one person.';
COMMENT ON COLUMN audit.undoes IS 'The entry whose change this one undoes.';
COMMENT ON COLUMN audit.transaction_id IS 'The transaction of the change.';
CREATE INDEX audit_row ON audit (table_name, row_id, id);
CREATE INDEX audit_actor ON audit (actor, id);
CREATE INDEX audit_request_id ON audit (request_id);
CREATE INDEX audit_identity ON audit (identity, id) WHERE identity IS NOT NULL;
-- The other identity of a subscription that was given to another person.
CREATE INDEX audit_new_identity ON audit ((after ->> 'identity'))
    WHERE operation = 'update' AND after ? 'identity';

CREATE TABLE audit_default PARTITION OF audit DEFAULT;

INSERT INTO audit (id, done_at, actor, action, reason, details)
SELECT id, done_at, actor, command, reason, details FROM former_audit;
SELECT setval('audit_entry_id', max(id)) FROM former_audit HAVING max(id) IS NOT NULL;
-- It belongs to the same role as before, and the same roles may use it.
DO $$
DECLARE
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class
                    WHERE oid = 'former_audit'::regclass);
    one record;
BEGIN
    IF owner <> current_user THEN
        EXECUTE format('ALTER TABLE audit OWNER TO %I', owner);
        EXECUTE format('ALTER TABLE audit_default OWNER TO %I', owner);
        EXECUTE format('ALTER SEQUENCE audit_entry_id OWNER TO %I', owner);
    END IF;
    FOR one IN
        SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
                   AS grantee,
               string_agg(privilege_type, ', ') AS privileges
          FROM pg_class, aclexplode(relacl)
         WHERE pg_class.oid = 'former_audit'::regclass AND grantee <> relowner
         GROUP BY 1
    LOOP
        EXECUTE format('GRANT %s ON audit TO %s', one.privileges, one.grantee);
        IF one.privileges LIKE '%INSERT%' THEN
            EXECUTE format('GRANT USAGE ON SEQUENCE audit_entry_id TO %s', one.grantee);
        END IF;
    END LOOP;
END
$$;
DROP TABLE former_audit;

CREATE FUNCTION make_partitions(parent text, months_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
-- Makes the partitions of this month and the next ones, in UTC, and moves into them what the
-- default partition holds of those months. Answers how many it made; safe to repeat. They
-- belong to the owner of the table, whoever calls this.
DECLARE
    time_column CONSTANT text := CASE parent WHEN 'ledger' THEN 'settled_at'
                                             WHEN 'audit' THEN 'done_at' END;
    this_month timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
    month_start timestamptz;
    month_end timestamptz;
    partition_name text;
    made integer := 0;
BEGIN
    IF time_column IS NULL THEN
        RAISE EXCEPTION '% has no partitions of months', parent
              USING ERRCODE = 'invalid_parameter_value';
    END IF;
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

CREATE FUNCTION drop_partitions(parent text, months_kept integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
-- Drops the partitions that end before this month less so many, in UTC, and deletes such rows from
-- the default partition. Answers how many partitions it dropped.
DECLARE
    time_column CONSTANT text := CASE parent WHEN 'ledger' THEN 'settled_at'
                                             WHEN 'audit' THEN 'done_at' END;
    oldest_kept text := parent || to_char(
        (now() AT TIME ZONE 'UTC') - make_interval(months => months_kept), '_YYYY_MM');
    partition_name text;
    dropped integer := 0;
BEGIN
    IF time_column IS NULL THEN
        RAISE EXCEPTION '% has no partitions of months', parent
              USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(736266, 2);
    FOR partition_name IN
        SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
         WHERE inhparent = to_regclass(parent) AND child.relname ~ ('^' || parent || '_\d{4}_\d{2}$')
           AND child.relname COLLATE "C" < oldest_kept COLLATE "C"
    LOOP
        EXECUTE format('DROP TABLE %I', partition_name);
        dropped := dropped + 1;
    END LOOP;
    EXECUTE format('DELETE FROM %I WHERE %I < $1', parent || '_default', time_column)
      USING (date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => months_kept))
            AT TIME ZONE 'UTC';
    RETURN dropped;
END
$$;

-- They drop what others may only read. Whoever might call the former ones may call them.
REVOKE ALL ON FUNCTION make_partitions(text, integer), drop_partitions(text, integer) FROM PUBLIC;
DO $$
DECLARE
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'ledger'::regclass);
    one record;
BEGIN
    FOR one IN
        SELECT CASE proname WHEN 'make_ledger_partitions' THEN 'make_partitions(text, integer)'
                            ELSE 'drop_partitions(text, integer)' END AS function,
               CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
                   AS grantee
          FROM pg_proc, aclexplode(proacl)
         WHERE pg_proc.oid IN ('make_ledger_partitions(integer)'::regprocedure,
                               'drop_ledger_partitions(integer)'::regprocedure)
           AND grantee <> proowner
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', one.function, one.grantee);
    END LOOP;
    IF owner <> current_user THEN
        EXECUTE format('ALTER FUNCTION make_partitions(text, integer) OWNER TO %I', owner);
        EXECUTE format('ALTER FUNCTION drop_partitions(text, integer) OWNER TO %I', owner);
    END IF;
END
$$;
DROP FUNCTION make_ledger_partitions(integer), drop_ledger_partitions(integer);
SELECT make_partitions('audit', 1);

CREATE FUNCTION author() RETURNS jsonb
LANGUAGE sql STABLE AS $$
-- The author of the changes of this transaction; null: it is the pipeline, or somebody with psql.
SELECT nullif(current_setting('sbm.author', true), '')::jsonb
$$;

CREATE FUNCTION author_id() RETURNS integer
LANGUAGE sql STABLE AS $$
-- The user of the API who is the author of the changes of this transaction, if one is.
SELECT (author() ->> 'user_id')::integer
$$;

CREATE FUNCTION audited_columns(whole jsonb, secret text[]) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
-- Columns of a row as the audit stores them: secrets are hidden, and what the service derives is
-- left out.
DECLARE
    name text;
    stored jsonb := whole - ARRAY[
        'updated_at', 'updated_by', 'joined_xid', 'joined_at', 'next_tick_at', 'next_tick_rule',
        'next_tick_set_at', 'paused_at', 'seen_at', 'last_used_at'];
BEGIN
    FOREACH name IN ARRAY secret LOOP
        IF stored -> name <> 'null' THEN
            stored := jsonb_set(stored, ARRAY[name], '"***"');
        END IF;
    END LOOP;
    RETURN stored;
END
$$;

CREATE FUNCTION audit_row() RETURNS trigger
LANGUAGE plpgsql AS $$
-- Writes what an author has changed in a row. The first argument of the trigger is the column that
-- names the row; the others are secrets.
DECLARE
    author CONSTANT jsonb := author();
    -- The place of a subscription. It has moved on if one of them has changed, whichever it is.
    place CONSTANT text[] := CASE TG_TABLE_NAME WHEN 'subscriptions' THEN ARRAY[
        'messageset_id', 'lang', 'next_sequence_number', 'active', 'completed', 'process_status']
        ELSE '{}' END;
    is_placed boolean;
    secret CONSTANT text[] := COALESCE(TG_ARGV[1:], '{}');
    whole jsonb;
    was jsonb;
    becomes jsonb;
BEGIN
    IF TG_OP = 'INSERT' THEN
        whole := to_jsonb(NEW);
        becomes := audited_columns(whole, secret);
    ELSIF TG_OP = 'DELETE' THEN
        whole := to_jsonb(OLD);
        was := audited_columns(whole, secret);
    ELSE
        whole := to_jsonb(OLD);
        is_placed := EXISTS (
            SELECT FROM unnest(place) name WHERE whole -> name <> to_jsonb(NEW) -> name);
        SELECT audited_columns(jsonb_object_agg(key, former.value), secret),
               audited_columns(jsonb_object_agg(key, latter.value), secret)
          INTO was, becomes
          FROM jsonb_each(whole) AS former JOIN jsonb_each(to_jsonb(NEW)) AS latter USING (key)
         WHERE former.value <> latter.value OR is_placed AND key = ANY (place);
        IF becomes IS NULL OR becomes = '{}' THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO audit (actor, user_id, action, reason, request_id, undoes, table_name, row_id,
                       operation, before, after, identity)
    VALUES (author ->> 'actor', (author ->> 'user_id')::integer, author ->> 'action',
            COALESCE(author ->> 'reason', ''), author ->> 'request_id',
            (author ->> 'undoes')::bigint, TG_TABLE_NAME, whole ->> TG_ARGV[0], lower(TG_OP),
            was, becomes, whole ->> 'identity');
    RETURN NULL;
END
$$;

DO $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT * FROM (VALUES
            ('binary_contents', '''id'''), ('messages', '''id'''), ('messagesets', '''id'''),
            ('pauses', '''id'''), ('schedules', '''id'''),
            ('subscriptions', '''id'''), ('tokens', '''id'', ''digest'''),
            ('user_permissions', '''user_id'''), ('users', '''id'', ''password''')
        ) AS audited (name, arguments)
    LOOP
        EXECUTE format(
            'CREATE TRIGGER audit_row AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH ROW'
            ' WHEN (current_setting(''sbm.author'', true) <> '''') EXECUTE FUNCTION audit_row(%s)',
            one.name, one.arguments);
    END LOOP;
END
$$;

-- The last author of a message or a set, as subscriptions have it.
ALTER TABLE messages ADD COLUMN updated_by integer
    CONSTRAINT messages_updated_by_fkey REFERENCES users (id) ON DELETE SET NULL;
ALTER TABLE messagesets ADD COLUMN updated_by integer
    CONSTRAINT messagesets_updated_by_fkey REFERENCES users (id) ON DELETE SET NULL;

CREATE FUNCTION key_of_audited(table_name text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
-- The condition for a row whose change can be undone: $1 is its row_id, $2 its values in the audit.
-- Null: changes of this table cannot be undone.
SELECT CASE
    WHEN table_name IN ('binary_contents', 'messages', 'messagesets', 'schedules', 'users')
        THEN 'one.id = $1::integer'
    WHEN table_name = 'subscriptions' THEN 'one.id = $1::uuid'
    WHEN table_name = 'user_permissions'
        THEN 'one.user_id = $1::integer AND one.permission = $2 ->> ''permission'''
END
$$;

CREATE FUNCTION lock_audited(table_name text, row_id text, audited jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
-- The row as it is now, locked; null: there is none.
DECLARE
    found jsonb;
BEGIN
    EXECUTE format('SELECT to_jsonb(one) FROM %I one WHERE %s FOR UPDATE',
                   table_name, key_of_audited(table_name))
       INTO found USING row_id, audited;
    RETURN found;
END
$$;

CREATE FUNCTION put_back_row(table_name text, before jsonb) RETURNS void
LANGUAGE plpgsql AS $$
-- Makes a row again that was deleted, with its id.
DECLARE
    columns text;
BEGIN
    IF EXISTS (SELECT FROM pg_attribute
                WHERE attrelid = to_regclass(table_name) AND attname = 'updated_by') THEN
        before := before || jsonb_build_object('updated_by', author_id());
    END IF;
    columns := (SELECT string_agg(quote_ident(key), ', ') FROM jsonb_object_keys(before) key);
    EXECUTE format('INSERT INTO %1$I (%2$s) SELECT %2$s FROM jsonb_populate_record(NULL::%1$I, $1)',
                   table_name, columns)
      USING before;
END
$$;

INSERT INTO schema_migrations (name) VALUES ('0044_audit_changes');
COMMIT;
