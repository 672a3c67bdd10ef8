-- What the Seed Scheduler is owed: the life of a chore, and what follows from how things stand.

-- name: set_scheduling
-- How schedules are scheduled from now on. No row: it was so before. It matters to nobody else where
-- there is no schedule yet.
UPDATE scheduling SET mode = %(mode)s WHERE mode <> %(mode)s
RETURNING EXISTS (SELECT FROM schedules) AS matters;

-- name: read_scheduling
-- How schedules are scheduled, as the daemon that was started last has said.
SELECT mode FROM scheduling;

-- name: claim_due_chores
-- Lease up to %(limit)s chores that are due, with what there is to tell. A chore that is about to
-- have a schedule made is marked before: should nobody come back from that, it is looked for.
-- The revision is the one that was there when the rest was read, not that of the locked row: what
-- was committed in between is not seen here, and has to be done after it. An id that the metadata
-- alone has is believed only where it is not that of another's, from whom it was copied.
WITH due AS MATERIALIZED (
    SELECT id, kind, target, unknown_since FROM chores
     WHERE state = 'owed' AND due_at <= now()
       AND (%(only)s::bigint[] IS NULL OR id = ANY(%(only)s::bigint[]))
     ORDER BY due_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), work AS MATERIALIZED (
    SELECT due.id, seen.revision, wanted.cron_definition, due.unknown_since,
           CASE WHEN due.kind = 'leftover' THEN due.target
                ELSE COALESCE(known.remote_id,
                              CASE WHEN s.remote_id <> ''
                                    AND NOT EXISTS (SELECT FROM remote_schedules others
                                                     WHERE others.remote_id = s.remote_id)
                                   THEN s.remote_id END) END AS remote_id,
           known.cron_definition AS told_cron, known.enabled AS told_enabled
      FROM due JOIN chores seen ON seen.id = due.id
     CROSS JOIN (SELECT scheduling_mode() AS mode) scheduling
      LEFT JOIN remote_schedules known ON known.kind = due.kind AND known.target = due.target
      LEFT JOIN LATERAL (
           SELECT schedule_id, active AND NOT completed AS is_under_way,
                  CASE WHEN jsonb_typeof(metadata) = 'object'
                       THEN metadata ->> 'scheduler_schedule_id' END AS remote_id
             FROM subscriptions
            WHERE id = CASE WHEN due.kind = 'subscription' THEN due.target::uuid END
           OFFSET 0) s ON true
      LEFT JOIN LATERAL (
           SELECT cron_definition(schedules) FROM schedules
            WHERE id = CASE WHEN due.kind = 'subscription' AND scheduling.mode = 'subscription'
                             AND s.is_under_way THEN s.schedule_id
                            WHEN due.kind = 'schedule' AND scheduling.mode = 'schedule'
                            THEN due.target::integer END
           OFFSET 0) wanted ON true
)
UPDATE chores
   SET state = 'claimed', attempt = chores.attempt + 1, lease_until = now() + %(lease)s,
       unknown_since = CASE WHEN work.cron_definition IS NOT NULL AND work.remote_id IS NULL
                            THEN COALESCE(chores.unknown_since, now() + %(lease)s)
                            ELSE chores.unknown_since END
  FROM work WHERE chores.id = ANY(ARRAY(SELECT id FROM due)) AND chores.id = work.id
RETURNING chores.id, chores.kind, chores.target, chores.attempt, work.revision, chores.faults,
          chores.owed_at, work.cron_definition, work.remote_id, work.told_cron, work.told_enabled,
          work.unknown_since IS NOT NULL AS is_doubtful,
          COALESCE(now() >= work.unknown_since + %(settle)s, true) AS is_late;

-- name: remember_in_metadata
-- The id of her schedule at the Scheduler, where clients look for it. Other than an object (there
-- are imported ones) the metadata stays as it is.
UPDATE subscriptions
   SET metadata = CASE WHEN %(remote_id)s::text IS NULL THEN metadata - 'scheduler_schedule_id'
                       ELSE COALESCE(metadata, '{}')
                            || jsonb_build_object('scheduler_schedule_id', %(remote_id)s::text) END,
       updated_at = now()
 WHERE id = %(subscription_id)s AND COALESCE(jsonb_typeof(metadata), 'object') = 'object'
   AND metadata ->> 'scheduler_schedule_id' IS DISTINCT FROM %(remote_id)s;

-- name: remember_remote
-- What the Scheduler was told. No row: another schedule is remembered for the same target.
INSERT INTO remote_schedules (kind, target, remote_id, cron_definition, enabled)
VALUES (%(kind)s, %(target)s, %(remote_id)s, %(cron_definition)s, %(enabled)s)
    ON CONFLICT (kind, target) DO UPDATE
   SET cron_definition = EXCLUDED.cron_definition, enabled = EXCLUDED.enabled, told_at = now()
 WHERE remote_schedules.remote_id = EXCLUDED.remote_id
RETURNING remote_id;

-- name: forget_remote
-- It is not there.
DELETE FROM remote_schedules WHERE kind = %(kind)s AND target = %(target)s;

-- name: forget_remote_of_nobody
-- It is disabled, and who it was for is deleted: nothing will ever be told of it again.
DELETE FROM remote_schedules r
 WHERE kind = %(kind)s AND target = %(target)s AND NOT enabled
   AND NOT EXISTS (SELECT FROM subscriptions
                    WHERE id = CASE WHEN r.kind = 'subscription' THEN r.target::uuid END)
   AND NOT EXISTS (SELECT FROM schedules
                    WHERE id = CASE WHEN r.kind = 'schedule' THEN r.target::integer END);

-- name: finish_chore
-- Done, unless something has changed since it was claimed: then it is owed again, at once.
WITH chore AS MATERIALIZED (
    SELECT id, revision FROM chores
     WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'claimed' FOR UPDATE
), done AS (
    DELETE FROM chores USING chore
     WHERE chores.id = chore.id AND chore.revision = %(revision)s AND NOT %(is_owed_again)s
)
UPDATE chores
   SET state = 'owed', lease_until = NULL, unknown_since = NULL, due_at = now(), faults = 0
  FROM chore
 WHERE chores.id = chore.id AND (chore.revision <> %(revision)s OR %(is_owed_again)s);

-- name: put_off_chore
-- Owed again, later.
UPDATE chores
   SET state = 'owed', lease_until = NULL, due_at = now() + %(delay)s, reason = %(reason)s,
       faults = faults + %(is_fault)s::integer,
       unknown_since = CASE %(doubt)s WHEN 'none' THEN NULL WHEN 'begun' THEN now()
                                      ELSE unknown_since END
 WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'claimed';

-- name: refuse_chore
-- Not tried again until something changes, or the two sides are compared. If something has changed
-- since it was claimed, it is owed again, at once.
UPDATE chores
   SET state = CASE WHEN revision = %(revision)s THEN 'refused' ELSE 'owed' END,
       due_at = now(), lease_until = NULL, unknown_since = NULL, reason = %(reason)s
 WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'claimed';

-- name: expire_chores
-- Who had claimed these fell silent. What it may have had made is looked for.
UPDATE chores SET state = 'owed', lease_until = NULL, due_at = now()
 WHERE id = ANY(ARRAY(
           SELECT id FROM chores WHERE state = 'claimed' AND lease_until < now()
            ORDER BY lease_until LIMIT %(limit)s FOR UPDATE SKIP LOCKED));

-- name: owe_chore
-- Somebody found out that the Scheduler is not in line.
SELECT owe_chore(%(kind)s, %(target)s);

-- name: stop_calling
-- The Scheduler still calls for a subscription that it should not call for. Whatever it was told
-- before, it is told again.
WITH subscription AS (
    SELECT id::text AS target, metadata FROM subscriptions WHERE id = %(subscription_id)s
), forgotten AS (
    UPDATE remote_schedules SET enabled = NULL
     WHERE kind = 'subscription' AND target = %(subscription_id)s::uuid::text
    RETURNING target
), owed AS MATERIALIZED (
    SELECT owe_chore('subscription', %(subscription_id)s::uuid::text)
     WHERE EXISTS (SELECT FROM forgotten)
        OR EXISTS (SELECT FROM subscription WHERE metadata ->> 'scheduler_schedule_id' <> '')
)
SELECT (SELECT count(*) FROM owed) AS owed, EXISTS (SELECT FROM subscription) AS found;

-- name: stop_calling_schedule
-- The same for a whole schedule, where it is known that the Scheduler has it, and where the clock
-- ticks or it was told to stop. No row: it may call.
WITH forgotten AS (
    UPDATE remote_schedules r SET enabled = NULL
     WHERE kind = 'schedule' AND target = %(schedule_id)s::integer::text
       AND (%(clock_ticks)s OR NOT enabled
            OR EXISTS (SELECT FROM chores WHERE chores.kind = r.kind AND chores.target = r.target))
    RETURNING target
)
SELECT owe_chore('schedule', target) FROM forgotten;

-- name: find_remote
-- What the Scheduler is known to hold for this target.
SELECT remote_id, cron_definition, enabled FROM remote_schedules
 WHERE kind = %(kind)s AND target = %(target)s;

-- name: lock_chore
-- Let nobody owe this chore again until the transaction ends. A statement of its own: only the next
-- one sees what whoever did so at this moment has changed.
SELECT id FROM chores WHERE id = %(id)s FOR UPDATE;

-- name: look_at_members
-- Of the next %(limit)s subscriptions of this schedule, those under way that the Scheduler was told
-- something else about are owed a chore.
-- Where there is nothing to tell, it is all that are not known to be disabled there.
WITH chore AS MATERIALIZED (
    SELECT id, target::integer AS schedule_id, up_to FROM chores
     WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'claimed'
), told AS MATERIALIZED (
    SELECT cron_definition(schedules) FROM schedules JOIN chore ON chore.schedule_id = schedules.id
), members AS MATERIALIZED (
    SELECT s.id FROM chore CROSS JOIN LATERAL (
           SELECT id FROM subscriptions
            WHERE schedule_id = chore.schedule_id AND active AND NOT completed AND id > chore.up_to
            ORDER BY id LIMIT %(limit)s) s
), owed AS MATERIALIZED (
    SELECT owe_chore('subscription', members.id::text)
      FROM members CROSS JOIN told
      LEFT JOIN remote_schedules known ON known.kind = 'subscription'
                                      AND known.target = members.id::text
     WHERE CASE WHEN told.cron_definition IS NULL THEN known.enabled IS DISTINCT FROM false
                ELSE known.cron_definition IS DISTINCT FROM told.cron_definition
                     OR known.enabled IS DISTINCT FROM true END
), looked_at AS (
    SELECT count(*) AS count, (array_agg(id ORDER BY id DESC))[1] AS last FROM members
)
UPDATE chores
   SET up_to = COALESCE(looked_at.last, chores.up_to), lease_until = now() + %(lease)s
  FROM chore, looked_at, (SELECT count(*) AS owed FROM owed) counted
 WHERE chores.id = chore.id
RETURNING looked_at.count;

-- name: list_refused
-- The chores that the Scheduler has refused, the newest %(limit)s.
SELECT kind, target, reason FROM chores WHERE state = 'refused' ORDER BY id DESC LIMIT %(limit)s;
