-- Pauses of daemons: while one has not ended, the daemons that it concerns do no work by themselves.
-- Those of sends, which a person began, are in send_pauses.sql.

-- name: list_pauses :many
-- reads
-- The pauses that concern a daemon now, oldest first.
SELECT kind, reason, since FROM pauses
 WHERE ended_at IS NULL AND kind <> 'operator' AND (daemon IS NULL OR daemon = %(daemon)s)
 ORDER BY id;

-- name: list_all_pauses :many
-- reads
-- The pauses of all daemons that live, and of all together, oldest first.
SELECT kind, reason, since FROM pauses
 WHERE ended_at IS NULL AND kind <> 'operator'
   AND (daemon IS NULL OR daemon IN (SELECT id FROM daemons))
 ORDER BY id;

-- name: is_setting_resumed :maybe
-- reads
-- Whether the pause of a daemon's setting has ended; no row: there is no such pause.
SELECT ended_at IS NOT NULL AS is_resumed FROM pauses
 WHERE kind = 'setting' AND daemon = %(daemon)s ORDER BY id DESC LIMIT 1;

-- name: pause_by_setting :exec
-- A daemon was started with SBM_PAUSED.
INSERT INTO pauses (kind, daemon, reason) VALUES ('setting', %(daemon)s, %(reason)s);

-- name: forget_setting :exec
-- A daemon stops: its setting concerns nobody any more.
DELETE FROM pauses WHERE kind = 'setting' AND daemon = %(daemon)s;

-- name: pause_restored :exec
-- The database went back: all daemons wait for an operator. If they do already, the evidence is
-- added, and a repair that came before it does not count. A newest outbound in the future would make
-- all outbounds until then count as accepted.
WITH told AS (SELECT pg_notify('sbm_pauses', '')),
     newest AS (SELECT %(outbounds_until)s::timestamptz AS outbound_at)
INSERT INTO pauses (kind, reason, seen_at, outbounds_until, formerly)
SELECT 'restored', %(reason)s, installation.seen_at,
       CASE WHEN outbound_at < now() + interval '1 hour' THEN outbound_at
            WHEN outbound_at IS NOT NULL THEN now() + interval '1 hour' END,
       %(formerly)s::uuid[]
  FROM told, installation, newest
    ON CONFLICT (kind) WHERE kind = 'restored' AND ended_at IS NULL
    DO UPDATE SET repaired_at = NULL,
                  outbounds_until = GREATEST(pauses.outbounds_until, EXCLUDED.outbounds_until),
                  formerly = pauses.formerly || EXCLUDED.formerly;

-- name: mark_repaired :exec
-- The repair was run to its end.
UPDATE pauses SET repaired_at = now() WHERE kind = 'restored' AND ended_at IS NULL;

-- name: is_repair_missing :one
-- reads
-- Whether there is a pause because the database went back, without a repair.
SELECT EXISTS (SELECT FROM pauses
                WHERE kind = 'restored' AND ended_at IS NULL AND repaired_at IS NULL) AS is_missing;

-- name: read_accepted :one
-- reads
-- The evidence that operators have accepted: the newest outbound, and earlier installation ids.
SELECT max(outbounds_until) AS outbounds_until,
       ARRAY(SELECT DISTINCT unnest(formerly) FROM pauses
              WHERE kind = 'restored' AND ended_at IS NOT NULL) AS formerly
  FROM pauses WHERE kind = 'restored' AND ended_at IS NOT NULL;

-- name: end_pauses :many
-- End all pauses of daemons.
UPDATE pauses SET ended_at = now() WHERE ended_at IS NULL AND kind <> 'operator'
RETURNING kind, reason, since, pg_notify('sbm_pauses', '');
