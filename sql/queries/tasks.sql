-- Work that the API is asked to do in the background.

-- name: request_task
-- Ask for a task of this kind. While one is waiting that means the same, it is the one: nothing that
-- it will find has been looked at yet.
INSERT INTO tasks (kind, requested_by, up_to, wanted)
VALUES (%(kind)s, %(requested_by)s, %(up_to)s, %(wanted)s)
ON CONFLICT (kind, wanted) WHERE state = 'waiting'
DO UPDATE SET up_to = GREATEST(tasks.up_to, EXCLUDED.up_to)
RETURNING id,
          pg_notify(CASE kind WHEN 'sync-audio-files' THEN 'sbm_audio_copies' ELSE 'sbm_tasks' END,
                    '');

-- name: begin_task
-- Take the oldest task of these kinds that nobody is at, or whose owner fell silent (while the clock
-- is in doubt, that cannot be told). Only the first
-- of its kind that waits can be begun: whoever finds it locked leaves those behind it alone, too.
UPDATE tasks
   SET state = 'begun', owner = %(owner)s, lease_until = now() + %(lease)s
 WHERE id = (
       SELECT id FROM tasks waiting
        WHERE kind = ANY(%(kinds)s) AND (%(only)s::uuid IS NULL OR id = %(only)s)
          AND (state = 'begun' AND lease_until < now() AND NOT %(is_doubted)s
               OR state = 'waiting' AND NOT EXISTS (
                   SELECT FROM tasks begun
                    WHERE begun.kind = waiting.kind AND begun.state = 'begun')
               AND NOT EXISTS (
                   SELECT FROM tasks earlier
                    WHERE earlier.kind = waiting.kind AND earlier.state = 'waiting'
                      AND (earlier.requested_at, earlier.id) < (waiting.requested_at, waiting.id)))
        ORDER BY requested_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, kind, up_to, wanted;

-- name: renew_task
-- Its owner is at it, and says how far it has come, or (null) nothing new. No row: it is not the
-- owner's any more.
UPDATE tasks
   SET lease_until = now() + %(lease)s, progress = coalesce(%(progress)s::jsonb, progress)
 WHERE id = %(id)s AND owner = %(owner)s AND state = 'begun'
RETURNING id;

-- name: release_task
-- Its owner stops in the middle: somebody else may begin it again at once.
UPDATE tasks SET lease_until = now() - interval '1 second'
 WHERE id = %(id)s AND owner = %(owner)s AND state = 'begun';

-- name: finish_task
-- It is done, or failed for a reason. What finished long ago is forgotten, unless the clock was set
-- within the last day: then it is not certain how long ago that was.
WITH forgotten AS (
    DELETE FROM tasks
     WHERE finished_at < now() - interval '90 days'
       AND NOT EXISTS (SELECT FROM clock_jumps WHERE seen_at > now() - interval '1 day')
)
UPDATE tasks
   SET state = CASE WHEN %(reason)s = '' THEN 'done' ELSE 'failed' END, reason = %(reason)s,
       progress = coalesce(%(progress)s::jsonb, progress),
       result = coalesce(%(result)s::jsonb, result),
       owner = NULL, lease_until = NULL, finished_at = now()
 WHERE id = %(id)s AND owner = %(owner)s AND state = 'begun';

-- name: find_task
-- One of them, and who asked for it.
SELECT tasks.id, kind, state, requested_at, username AS requested_by, finished_at, reason,
       progress, result
  FROM tasks LEFT JOIN users ON users.id = requested_by
 WHERE tasks.id = %(id)s;

-- name: list_tasks
-- A page of them, newest first. A null parameter is no filter.
-- A row more than the page has tells whether the list goes on; the count is worked out only where
-- the page alone does not tell it, and comes with a row of nulls where nothing was found.
WITH wanted AS NOT MATERIALIZED (
    SELECT id, requested_at FROM tasks
     WHERE (%(kind)s IS NULL OR kind = %(kind)s)
       AND (%(state)s IS NULL OR state = %(state)s)
), page AS MATERIALIZED (
    (SELECT * FROM wanted
      WHERE NOT %(backwards)s
        AND (requested_at, id) < (coalesce(%(from_time)s::timestamptz, 'infinity'),
                                  coalesce(%(from_id)s,
                                           'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
      ORDER BY requested_at DESC, id DESC LIMIT %(limit)s + 1 OFFSET %(offset)s)
    UNION ALL
    (SELECT * FROM wanted
      WHERE %(backwards)s AND (requested_at, id) > (%(from_time)s::timestamptz, %(from_id)s::uuid)
      ORDER BY requested_at, id LIMIT %(limit)s + 1)
), total AS (
    SELECT CASE WHEN %(count)s IS NOT NULL THEN %(count)s
                WHEN found <= %(limit)s AND (found > 0 OR %(offset)s = 0) THEN %(offset)s + found
                ELSE (SELECT count(*) FROM wanted)
           END AS count
      FROM (SELECT count(*) AS found FROM page) AS counted
)
SELECT total.count, rows.* FROM total LEFT JOIN (
    SELECT tasks.id, kind, state, tasks.requested_at, username AS requested_by, finished_at, reason,
           progress, result
      FROM page JOIN tasks ON tasks.id = page.id LEFT JOIN users ON users.id = requested_by
) AS rows ON true
 ORDER BY rows.requested_at DESC, rows.id DESC;
