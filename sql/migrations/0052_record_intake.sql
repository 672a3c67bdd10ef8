-- Why: nobody could say how many requests for subscriptions came, from whom, and what became of
-- them. Now each one that is authenticated ends in one row. The statement that makes the
-- subscription writes the row, too, so a registration costs no more round trips than before.
--
-- It is partitioned by month, as the ledger and the audit are.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

SELECT set_config('search_path', format('%I, pg_temp', nspname), true)
  FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
 WHERE pg_class.oid = 'ledger'::regclass;

CREATE SEQUENCE intake_entry_id AS bigint;
CREATE TABLE intake (
    id bigint NOT NULL DEFAULT nextval('intake_entry_id'),
    received_at timestamptz NOT NULL DEFAULT now(),
    outcome text NOT NULL CHECK (outcome IN ('created', 'replayed', 'twin', 'refused')),
    reason text NOT NULL DEFAULT '',
    fields text[] NOT NULL DEFAULT '{}',
    caller text NOT NULL,
    user_id integer,
    action text NOT NULL,
    request_id text,
    idempotency_key text,
    identity text,
    subscription_id uuid,
    payload jsonb,
    PRIMARY KEY (id, received_at),
    CONSTRAINT intake_reason_check CHECK ((outcome = 'refused') = (reason <> ''))
) PARTITION BY RANGE (received_at);
COMMENT ON TABLE intake IS
    'The account of requests for subscriptions: each one that was authenticated ends in one row.';
COMMENT ON COLUMN intake.outcome IS
    'created: it made a subscription; replayed: its key was used before, and the first answer was given again; twin: the same was requested a short while ago; refused: it made nothing.';
COMMENT ON COLUMN intake.reason IS 'Why it was refused, in the words of the counters.';
COMMENT ON COLUMN intake.fields IS 'The fields that were refused.';
COMMENT ON COLUMN intake.caller IS 'The name of the user whose token or password it had.';
COMMENT ON COLUMN intake.action IS 'The method and the path.';
COMMENT ON COLUMN intake.request_id IS 'X-Request-ID of the request.';
COMMENT ON COLUMN intake.idempotency_key IS
    'Idempotency-Key of the request; null: it had none, or none that can be read.';
COMMENT ON COLUMN intake.identity IS 'The person; null: the request named none that can be read.';
COMMENT ON COLUMN intake.subscription_id IS
    'The subscription that it made, or that the first request made.';
COMMENT ON COLUMN intake.payload IS
    'refused: the members of the body, without values of personal data; null: it is not JSON.';
CREATE INDEX intake_identity ON intake (identity, id) WHERE identity IS NOT NULL;
CREATE INDEX intake_not_created ON intake (outcome, reason, id) WHERE outcome <> 'created';
CREATE TABLE intake_default PARTITION OF intake DEFAULT;

-- It belongs to the same role as the ledger, and the same roles may use it.
DO $$
DECLARE
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'ledger'::regclass);
    one record;
BEGIN
    IF owner <> current_user THEN
        EXECUTE format('ALTER TABLE intake OWNER TO %I', owner);
        EXECUTE format('ALTER TABLE intake_default OWNER TO %I', owner);
        EXECUTE format('ALTER SEQUENCE intake_entry_id OWNER TO %I', owner);
    END IF;
    FOR one IN
        SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
                   AS grantee,
               string_agg(privilege_type, ', ') AS privileges
          FROM pg_class, aclexplode(relacl)
         WHERE pg_class.oid = 'ledger'::regclass AND grantee <> relowner
         GROUP BY 1
    LOOP
        EXECUTE format('GRANT %s ON intake TO %s', one.privileges, one.grantee);
        EXECUTE format('GRANT USAGE ON SEQUENCE intake_entry_id TO %s', one.grantee);
    END LOOP;
END
$$;

SELECT make_partitions('intake', 1);

INSERT INTO schema_migrations (name) VALUES ('0052_record_intake');
COMMIT;
