-- The ledger balance: for every tick, triggers = rows in the ledger + members skipped again + live
-- sends. Each statement that adds a trigger, or settles a send, changes both sides in one transaction.
-- So the balance holds in every snapshot: a statement that counts both sides at once never sees a
-- change of only one side.

-- name: take_ticks_to_check :many
-- Up to %(limit)s ticks that are not marked as checked, and that no daemon has begun to check for
-- %(rest)s: first those never checked, then those that have waited longest. So no tick delays the
-- others, not even one that takes too long to count. Rows that are locked (by a trigger, an
-- expansion, another daemon) are left for the next time. Those taken are locked for this statement
-- only, and not while they are counted. If the time of a check is in the future, a wrong clock has
-- written it.
WITH waiting AS MATERIALIZED (
    SELECT id FROM ticks
     WHERE NOT is_checked_off AND (checked_at IS NULL OR checked_at <= now() - %(rest)s::interval
                                   OR checked_at > now())
     ORDER BY checked_at NULLS FIRST, id LIMIT %(limit)s
       FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE ticks SET checked_at = now() FROM waiting WHERE ticks.id = waiting.id
RETURNING ticks.id, ticks.triggers, ticks.missing;

-- name: list_ticks :many
-- reads
-- The next ticks in the order of their ids.
SELECT id, triggers, missing FROM ticks WHERE id > %(after)s ORDER BY id LIMIT %(limit)s;

-- name: count_ticks :many
-- reads
-- Both sides of the balance for some ticks, in one snapshot. There are few sends. They have no
-- index by tick, because every claim would have to write it: one pass over them serves all the
-- ticks. The rows of the ledger are found by its index, and only in partitions that can have rows
-- of the tick. A tick is closed when it cannot change any more: no send is live, and it is expanded
-- (or was missed), or its minute is over, and so is every transaction that may have begun in that
-- minute. (No transaction lasts for ten minutes: statements, and idle transactions, are stopped
-- after seconds.) A tick is kept unless a partition that may have had rows of it was dropped: then
-- its balance is not known. (The type of the ids matters: with another type, the list of ids would
-- be searched for every send.)
WITH kept AS MATERIALIZED (
    SELECT to_date(min(right(child.relname::text, 7)), 'YYYY_MM')::timestamp
               AT TIME ZONE 'UTC' AS since
      FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
     WHERE inhparent = 'ledger'::regclass AND child.relname ~ '^ledger_\d{4}_\d{2}$'
), live AS MATERIALIZED (
    SELECT tick_id, count(*) AS count FROM sends WHERE tick_id = ANY(%(ids)s::bigint[])
     GROUP BY tick_id
)
SELECT ticks.id AS tick_id, ticks.source, ticks.state, ticks.due_at, ticks.triggers, settled.count AS settled,
       settled.outcomes, COALESCE(live.count, 0) AS live,
       live.count IS NULL AND CASE WHEN ticks.source = 'single'
                                   THEN ticks.due_at < now() - interval '11 minutes'
                                   ELSE ticks.state <> 'expanding' END AS is_closed,
       ticks.created_at >= COALESCE(kept.since, '-infinity') AS is_kept
  FROM kept, ticks LEFT JOIN live ON live.tick_id = ticks.id,
       -- A day more than needed, because the server's clock may have been set back meanwhile. Jumps
       -- that were recorded are added; and a tick with a time in the future was made before now.
       LATERAL (SELECT ticks.id, ticks.skipped_again,
                       LEAST(ticks.created_at + clock_reach(ticks.id), now()) - interval '1 day'
                           AS since OFFSET 0) own,
       LATERAL (SELECT COALESCE(sum(count), 0)::bigint AS count,
                       COALESCE(jsonb_object_agg(outcome, count), '{}') AS outcomes
                  FROM ({ended}) ended) settled
 WHERE ticks.id = ANY(%(ids)s::bigint[])
 ORDER BY ticks.id;

-- name: record_findings :exec
-- The findings about some ticks, for other daemons, and for the time after a restart. Ticks of
-- whole schedules get their outcomes, too, for clients that ask for the progress. A row is written
-- only if something is new. A tick is marked as checked only if it has got no other trigger since.
UPDATE ticks
   SET missing = COALESCE(o.missing, ticks.missing),
       is_checked_off = o.is_done AND ticks.triggers = o.triggers,
       outcomes = COALESCE(o.outcomes, ticks.outcomes),
       counted_at = CASE WHEN o.outcomes IS NULL THEN ticks.counted_at ELSE now() END
  FROM jsonb_to_recordset(%(findings)s)
    AS o (id bigint, triggers bigint, missing bigint, is_done boolean, outcomes jsonb)
 WHERE ticks.id = o.id AND (ticks.missing <> o.missing OR o.is_done OR o.outcomes IS NOT NULL);

-- name: count_unbalanced_ticks :one
-- reads
-- How many ticks were found unbalanced, by any daemon, and the time.
SELECT count(*) AS unbalanced_ticks, now() AS now FROM ticks WHERE missing <> 0;

-- name: list_orphans :many
-- reads
-- Live sends whose tick does not exist, in the order of their ids.
SELECT id AS send_id, tick_id FROM sends
 WHERE id > %(after)s AND NOT EXISTS (SELECT FROM ticks WHERE ticks.id = sends.tick_id)
 ORDER BY id LIMIT %(limit)s;

-- name: find_end_of_page :maybe
-- reads
-- The last subscription of a page, if the ledger is read in the order of subscriptions: that of the
-- row after %(limit)s rows, or the last one. No row: there are no more.
SELECT subscription_id AS last FROM (
    SELECT subscription_id FROM ledger WHERE subscription_id > %(after)s
     ORDER BY subscription_id LIMIT %(limit)s) page
 ORDER BY subscription_id DESC LIMIT 1;

-- name: list_doubles :many
-- reads
-- Sends that were sent more than once according to the ledger, of the subscriptions of one page.
-- All rows of a send have its subscription, by which there is an index; there is none by send.
SELECT send_id, subscription_id, count(*) AS times,
       array_agg(COALESCE(outbound_id, '?') ORDER BY settled_at, id) AS outbound_ids
  FROM ledger
 WHERE subscription_id > %(after)s AND subscription_id <= %(last)s
   AND outcome IN ('sent', 'adopted')
 GROUP BY send_id, subscription_id HAVING count(*) > 1
 ORDER BY subscription_id, send_id;

-- name: list_surplus :many
-- reads
-- The next outbounds that are known besides those that the ledger names, in the order in which they
-- were noticed, each with the data of its send in the ledger. There are few, so all rows of the
-- ledger about the subscription may be read for each.
SELECT doubles.id, send_id, subscription_id, outbound_id, noticed_at, settled.named,
       settled.rows > 0 AS is_settled
  FROM doubles,
       LATERAL (SELECT count(*) AS rows,
                       COALESCE(array_agg(COALESCE(ledger.outbound_id, '?')
                                          ORDER BY settled_at, ledger.id)
                                FILTER (WHERE outcome IN ('sent', 'adopted')), '{}') AS named
                  FROM ledger
                 WHERE ledger.subscription_id = doubles.subscription_id
                   AND ledger.send_id = doubles.send_id
                OFFSET 0) settled
 WHERE doubles.id > %(after)s
 ORDER BY doubles.id LIMIT %(limit)s;
