-- Why: now() is the time at which a transaction began. A row that was written by a transaction that
-- began later, and was first at a lock, looked as if a wrong clock had written it. Then the settle
-- time of an unknown send began earlier than it should, by the age of the transaction; and a tick
-- without a usable snapshot counted a subscription that had joined after it was opened.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE OR REPLACE FUNCTION date_send() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.dated_at > clock_timestamp()
       AND (NEW.unknown_since = OLD.unknown_since OR NEW.unknown_since = OLD.lease_until) THEN
        NEW.unknown_since := NEW.unknown_since - (OLD.dated_at - clock_timestamp());
    END IF;
    IF NEW.first_attempt_at > clock_timestamp() THEN
        NEW.first_attempt_at := now();
    END IF;
    NEW.dated_at := now();
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION date_unknown() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.dated_at > clock_timestamp()
       AND (NEW.unknown_since = OLD.unknown_since OR NEW.unknown_since = OLD.lease_until) THEN
        NEW.unknown_since := NEW.unknown_since - (OLD.dated_at - clock_timestamp());
    END IF;
    NEW.dated_at := now();
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION tick_covers(
    seen pg_snapshot, opened_at timestamptz, joined_xid xid8, joined_at timestamptz,
    created_at timestamptz
) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- Whether a tick, by its snapshot and the time it was opened, covers a subscription that is a
-- member now: it was one, and committed, when the tick was opened. A snapshot, or a transaction,
-- that is ahead of all of this server's came with the data of another server; so did a transaction
-- that the snapshot does not have, though it is a day older than the tick. Without a snapshot, the
-- times have to do. A time that lies in the future was told by a wrong clock: such a tick was opened
-- by now, and such a subscription is one that it covers. The time of the statement is compared: the
-- transaction may have begun before the one in which the subscription joined.
SELECT CASE WHEN pg_snapshot_xmax(seen) <= pg_snapshot_xmax(pg_current_snapshot())
            THEN joined_xid IS NULL OR pg_visible_in_snapshot(joined_xid, seen)
                 OR joined_at < LEAST(opened_at, now()) - interval '1 day'
                 OR joined_xid >= pg_snapshot_xmax(pg_current_snapshot())
            ELSE COALESCE(joined_at, created_at) <= opened_at
                 OR COALESCE(joined_at, created_at) > statement_timestamp() END
$$;

INSERT INTO schema_migrations (name) VALUES ('0037_compare_times_of_now');
COMMIT;
