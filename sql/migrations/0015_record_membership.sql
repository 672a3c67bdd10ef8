-- Why: a tick covers those who were members of its schedule, and committed, when it was opened. By
-- the time of creation alone that cannot be told: what a transaction under way inserts is as old as
-- the transaction, and a subscription that is made active again is as old as ever. And a tick over
-- a million members takes minutes, in which people want to see how far it has come, and whether
-- another one of the same schedule came meanwhile.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

-- No default at first, so that no row is written: whoever is there already was so before any tick.
ALTER TABLE subscriptions ADD COLUMN joined_xid xid8, ADD COLUMN joined_at timestamptz;
ALTER TABLE subscriptions
    ALTER COLUMN joined_xid SET DEFAULT pg_current_xact_id(),
    ALTER COLUMN joined_at SET DEFAULT now();
COMMENT ON COLUMN subscriptions.joined_xid IS
    'The transaction in which it became one that its schedule''s ticks cover; null: before all.';
COMMENT ON COLUMN subscriptions.joined_at IS
    'When that was. It tells the numbers of this server''s transactions from those that came with'
    ' the data of another one.';

CREATE FUNCTION join_schedule() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.joined_xid := pg_current_xact_id();
    NEW.joined_at := now();
    RETURN NEW;
END
$$;

-- A send steps its subscription and changes nothing of this: the condition is all that it costs.
CREATE TRIGGER subscriptions_join
    BEFORE UPDATE OF active, completed, process_status, schedule_id ON subscriptions
    FOR EACH ROW
    WHEN (NEW.active AND NOT NEW.completed AND NEW.process_status >= 0
          AND (NOT (OLD.active AND NOT OLD.completed AND OLD.process_status >= 0)
               OR OLD.schedule_id <> NEW.schedule_id))
    EXECUTE FUNCTION join_schedule();

ALTER TABLE ticks
    ADD COLUMN snapshot pg_snapshot,
    ADD COLUMN follows bigint,
    ADD COLUMN follows_beyond bigint,
    ADD COLUMN opened_by text,
    ADD COLUMN outcomes jsonb,
    ADD COLUMN counted_at timestamptz;
COMMENT ON COLUMN ticks.snapshot IS
    'What was committed when it was opened; null: single, or opened before this was recorded.';
COMMENT ON COLUMN ticks.follows IS
    'The tick before it, of the same schedule, if that was still being sent: whom that one covers'
    ' is skipped.';
COMMENT ON COLUMN ticks.follows_beyond IS
    'A tick before those that were still being sent: they skip whom it covers, and it was sent, so'
    ' this one does not skip them.';
COMMENT ON COLUMN ticks.opened_by IS 'Whose POST-back it was; null: nobody''s.';
COMMENT ON COLUMN ticks.outcomes IS
    'How many rows of each outcome the ledger had for it when it was last counted.';

CREATE FUNCTION tick_covers(seen pg_snapshot, opened_at timestamptz, joined_xid xid8,
                            joined_at timestamptz, created_at timestamptz) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- Whether a tick, by its snapshot and the time it was opened, covers a subscription that is a
-- member now: it was one, and committed, when the tick was opened. A snapshot, or a transaction,
-- that is ahead of all of this server's came with the data of another server; so did a transaction
-- that the snapshot does not have, though it is a day older than the tick. Without a snapshot, the
-- times have to do.
SELECT CASE WHEN pg_snapshot_xmax(seen) <= pg_snapshot_xmax(pg_current_snapshot())
            THEN joined_xid IS NULL OR pg_visible_in_snapshot(joined_xid, seen)
                 OR joined_at < opened_at - interval '1 day'
                 OR joined_xid >= pg_snapshot_xmax(pg_current_snapshot())
            ELSE COALESCE(joined_at, created_at) <= opened_at END
$$;

-- The ticks of whole schedules, which people list; beside them there are sixteen a minute.
CREATE INDEX ticks_of_schedules ON ticks (id) WHERE source <> 'single';
CREATE INDEX ticks_of_one_schedule ON ticks (schedule_id, id) WHERE source <> 'single';

INSERT INTO schema_migrations (name) VALUES ('0015_record_membership');
COMMIT;
