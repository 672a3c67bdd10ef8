-- The identity of this database, and how far the daemons have come with it.

-- name: read_installation :one
-- reads
-- The only row, and the present time.
SELECT id, beat, seen_at, cluster, timeline, now() AS now FROM installation;

-- name: find_time_of_dump :one
-- reads
-- When the daemons last worked with the database; if it is paused because it went back, before that
-- pause.
SELECT COALESCE((SELECT seen_at FROM pauses WHERE kind = 'restored' AND ended_at IS NULL),
                seen_at) AS seen_at
  FROM installation;

-- name: advance_beat :maybe
-- A daemon works: the beat grows. After a restore it is smaller than one that was seen before. No
-- row: the database went back, so nobody may work.
UPDATE installation SET beat = beat + 1, seen_at = now()
 WHERE NOT EXISTS (SELECT FROM pauses WHERE kind = 'restored' AND ended_at IS NULL)
RETURNING id, beat, seen_at;

-- name: accept_server :exec
-- The daemons may work with this server.
UPDATE installation SET cluster = %(cluster)s, timeline = %(timeline)s
 WHERE (cluster, timeline) IS DISTINCT FROM (%(cluster)s, %(timeline)s::bigint);

-- name: accept_past :exec
-- The beat grows beyond all that was seen before the database went back.
UPDATE installation SET beat = beat + 1000000;

-- name: ask_first :exec
-- The Message Sender is asked about the sends of all ticks up to now before they are sent.
UPDATE installation SET ask_first_until = now(), posts_end_at = now() + %(lease)s;

-- name: change_installation :one
-- Make this database another installation than the one from which it was copied.
WITH before AS (SELECT id FROM installation)
UPDATE installation SET id = gen_random_uuid() FROM before
RETURNING installation.id AS present, before.id AS former;
