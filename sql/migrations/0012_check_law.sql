-- Why: the law (for every tick, triggers = rows in the ledger + live sends) is checked by the
-- daemons: ticks that still move every minute, and each one once after it has closed. This is where
-- they remember which ticks that were, and what they found.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE ticks
    ADD COLUMN checked_at timestamptz,
    ADD COLUMN is_checked_off boolean NOT NULL DEFAULT false,
    ADD COLUMN missing bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN ticks.checked_at IS 'When a daemon last began to check the law for it.';
COMMENT ON COLUMN ticks.is_checked_off IS
    'It was closed when it was checked, and the law held: it is not checked again.';
COMMENT ON COLUMN ticks.missing IS
    'Triggers that were neither in the ledger nor live when it was last checked; negative: so many '
    'were there twice. 0: the law held.';

-- In the order in which they are checked: whoever was not yet, then whoever has waited longest.
CREATE INDEX ticks_to_check ON ticks (checked_at NULLS FIRST, id) WHERE NOT is_checked_off;
CREATE INDEX ticks_broken ON ticks (id) WHERE missing <> 0;

INSERT INTO schema_migrations (name) VALUES ('0012_check_law');
COMMIT;
