-- Why: each tick wrote a row of the ledger for each member that it skipped because the message before
-- was not finished. 300 calls for 308 people, while the Message Sender was away, left 92,431 rows.
-- Now a member that is skipped again is only counted, in the row of the tick.
--
-- Stop the daemons of the version before: they would report ticks with such a count as unbalanced.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE ticks ADD COLUMN skipped_again bigint NOT NULL DEFAULT 0,
    ADD COLUMN skipped_again_since bigint,
    ADD CHECK ((skipped_again > 0) = (skipped_again_since IS NOT NULL));
COMMENT ON COLUMN ticks.triggers IS
    'How many sends it asked for: each ends in one ledger row, or is counted in skipped_again.';
COMMENT ON COLUMN ticks.skipped_again IS
    'Members without a row in the ledger: they were skipped, and their row of an earlier tick says why.';
COMMENT ON COLUMN ticks.skipped_again_since IS 'The first of those earlier ticks.';

-- A person's story looks for the ticks after a row of the ledger.
CREATE INDEX ticks_skipped_again ON ticks (schedule_id, id) WHERE skipped_again_since IS NOT NULL;

CREATE FUNCTION tells_unfinished(reason text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
-- Whether a tick skipped a member because the message before was not finished.
SELECT reason IN ('the tick before it was still being sent',
                  'a message is already owed to the subscription',
                  'another tick was sent to the subscription since it came')
$$;

CREATE FUNCTION skipped_before(members uuid[], of_tick bigint, of_schedule integer)
RETURNS TABLE (member uuid, since bigint)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 2000 SET enable_seqscan = off AS $$
-- Those members of a tick whose last row of the ledger says that an earlier tick of the schedule met
-- their message unfinished, and to whom nothing is owed by a later one; and that earlier tick. The
-- time limits the search: after a day, a new row is written. (It is a function because its partitions
-- are planned only if there is somebody to look up.)
BEGIN
    IF cardinality(members) > 0 THEN
        RETURN QUERY
        SELECT given.id, last.told
          FROM unnest(members) AS given (id) CROSS JOIN LATERAL (
               SELECT max(tick_id) AS tick_id,
                      max(tick_id) FILTER (WHERE outcome = 'skipped' AND tells_unfinished(reason))
                          AS told
                 FROM ledger
                WHERE ledger.subscription_id = given.id AND settled_at >= now() - interval '1 day'
                  AND kind = 'next' AND ledger.tick_id < of_tick
               OFFSET 0) last
         WHERE last.told = last.tick_id
           AND (SELECT schedule_id FROM ticks WHERE ticks.id = last.told) = of_schedule
           AND NOT EXISTS (SELECT FROM sends
                            WHERE sends.subscription_id = given.id AND kind = 'next'
                              AND sends.tick_id > last.told OFFSET 0);
    END IF;
END
$$;

INSERT INTO schema_migrations (name) VALUES ('0060_count_skipped_again');
COMMIT;
