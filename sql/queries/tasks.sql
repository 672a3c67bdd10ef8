-- Work that clients ask the API to do in the background.

-- columns:
tasks.id, kind, state, tasks.requested_at, username AS requested_by, finished_at, reason, progress,
result

-- name: request_task :one
-- Ask for a task of this kind. If a task with the same meaning waits, the answer is that one: it
-- has not begun to look at anything yet.
INSERT INTO tasks (kind, requested_by, up_to, wanted)
VALUES (%(kind)s, %(requested_by)s, %(up_to)s, %(wanted)s)
ON CONFLICT (kind, wanted) WHERE state = 'waiting'
DO UPDATE SET up_to = GREATEST(tasks.up_to, EXCLUDED.up_to)
RETURNING id,
          pg_notify(CASE kind WHEN 'sync-audio-files' THEN 'sbm_audio_copies' ELSE 'sbm_tasks' END,
                    '');

-- name: begin_task :maybe
-- fires: date_moments
-- Take the oldest task of these kinds that no daemon does, or whose lease expired: its daemon
-- stopped renewing it. (While the clock is in doubt, no lease has expired.) Only the first waiting
-- task of each kind can be begun: if another transaction has locked it, those after it wait, too.
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

-- name: renew_task :exec
-- fires: date_moments
-- Renew the lease of a task, and store its progress (null: no news). No row is changed if the task
-- is not the owner's any more.
UPDATE tasks
   SET lease_until = now() + %(lease)s, progress = coalesce(%(progress)s::jsonb, progress)
 WHERE id = %(id)s AND owner = %(owner)s AND state = 'begun';

-- name: release_task :exec
-- fires: date_moments
-- The owner stops in the middle of the task: another daemon may begin it again at once.
UPDATE tasks SET lease_until = now() - interval '1 second'
 WHERE id = %(id)s AND owner = %(owner)s AND state = 'begun';

-- name: finish_task :exec
-- fires: date_moments
-- The task is done, or failed for a reason. Tasks that were finished long ago are deleted, unless
-- the clock was set within the last day: then it is not certain how long ago that was.
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

-- name: find_task :maybe
-- reads
-- One task, and the user who asked for it.
SELECT {columns} FROM tasks LEFT JOIN users ON users.id = requested_by
 WHERE tasks.id = %(id)s;

-- name: list_tasks :many
-- reads
-- page: requested_at DESC, id DESC
-- A page of them, newest first.
SELECT id, requested_at FROM tasks
 WHERE true
  [AND kind = %(kind)s]
  [AND state = %(state)s]
-- shown:
SELECT {columns}
  FROM page JOIN tasks ON tasks.id = page.id LEFT JOIN users ON users.id = requested_by;
