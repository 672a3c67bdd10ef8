-- The daemons that live.

-- name: record_daemon :exec
-- A daemon lives.
INSERT INTO daemons (id, role, version, commit, host, pid, since, pause, services)
VALUES (%(id)s, %(role)s, %(version)s, %(commit)s, %(host)s, %(pid)s, %(since)s, %(pause)s,
        %(services)s)
    ON CONFLICT (id) DO UPDATE
   SET seen_at = now(), pause = EXCLUDED.pause, services = EXCLUDED.services;

-- name: forget_dead_daemons :exec
-- Daemons that did not write their rows for a day.
DELETE FROM daemons WHERE seen_at < now() - interval '1 day';

-- name: forget_their_pauses :exec
-- The pauses by setting of daemons that do not live any more.
DELETE FROM pauses
 WHERE kind = 'setting' AND since < now() - interval '1 day'
   AND daemon NOT IN (SELECT id FROM daemons);

-- name: forget_daemon :exec
-- A daemon stops.
DELETE FROM daemons WHERE id = %(id)s;

-- name: list_daemons :many
-- reads
-- The daemons, those that have lived longest first. is_silent: it did not write its row for a minute.
SELECT id, role, version, commit, host, pid, since, seen_at, pause, services,
       seen_at < now() - interval '1 minute' AS is_silent
  FROM daemons ORDER BY since, id;
