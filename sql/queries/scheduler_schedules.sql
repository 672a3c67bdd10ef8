-- The schedules that the Seed Scheduler holds, compared with those that it should hold.

-- name: list_remotes :exec
-- Note the entries of a page of the Scheduler's list. A schedule that was on an earlier page is
-- ignored. One that calls another address counts as ours only if its id is remembered.
INSERT INTO scheduler_listing (listing_id, remote_id, kind, target, cron_definition, made_with,
                            enabled, is_addressed, created_at)
SELECT %(listing_id)s, o.remote_id, COALESCE(known.kind, o.kind), COALESCE(known.target, o.target),
       o.cron_definition, o.made_with, o.enabled, o.is_addressed, o.created_at
  FROM jsonb_to_recordset(%(entries)s)
    AS o (remote_id text, kind text, target text, cron_definition text, made_with text,
          enabled boolean, is_addressed boolean, created_at timestamptz)
  LEFT JOIN LATERAL (
       SELECT kind, target FROM scheduler_schedules r WHERE r.remote_id = o.remote_id LIMIT 1
       ) known ON o.kind IS NULL
 WHERE COALESCE(known.kind, o.kind) IS NOT NULL
    ON CONFLICT DO NOTHING;

-- name: list_crons :exec
-- The schedules on a page of the list, ours and those of others, were made with these crons: the
-- Scheduler knows them.
INSERT INTO scheduler_crons AS crons (cron_definition, known_at)
SELECT cron, now() FROM unnest(%(crons)s::text[]) cron ORDER BY cron
    ON CONFLICT (cron_definition) DO UPDATE
   SET known_at = EXCLUDED.known_at, call_id = NULL, attempt = NULL, taken_until = NULL;

-- name: forget_unlisted_crons :exec
-- No schedule in the whole list was made with these crons, as far as it shows: the next schedule
-- with such a cron is made alone again. The Scheduler may have been replaced by another one.
UPDATE scheduler_crons SET known_at = NULL WHERE NOT known_at BETWEEN %(since)s AND now() + interval '1 minute';

-- name: forget_listings :exec
-- Delete this listing, which is not needed any more, and older ones that were abandoned.
DELETE FROM scheduler_listing
 WHERE listing_id = %(listing_id)s OR listed_at < now() - interval '1 day';

-- name: compare_subscriptions :many
-- reads
-- The next %(limit)s subscriptions after this id, and those for which the Scheduler holds something
-- else than it should. If several entries call for the same subscription, the one that is
-- remembered counts, or else the oldest. Subscriptions with a call since the listing began, or with
-- one that is owed, are not compared. (If the time of a call is in the future, a wrong clock has
-- written it, and the call may have been at any time.)
WITH members AS MATERIALIZED (
    SELECT id, id::text AS target, schedule_id, active AND NOT completed AS is_under_way,
           CASE WHEN jsonb_typeof(metadata) = 'object'
                THEN metadata ->> 'scheduler_schedule_id' END AS remote_id
      FROM subscriptions WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
), told AS MATERIALIZED (             -- once for each schedule: many subscriptions share it
    SELECT id, cron_definition(schedules) FROM schedules
     WHERE id IN (SELECT schedule_id FROM members WHERE is_under_way)
), compared AS MATERIALIZED (
    SELECT members.id, members.target, entry.remote_id, entry.cron_definition, entry.enabled,
           entry.is_addressed,
           CASE WHEN known.remote_id = entry.remote_id AND known.made_with IS NOT NULL
                THEN known.made_with ELSE entry.made_with END AS made_with,
           CASE WHEN %(mode)s = 'subscription' AND is_under_way
                THEN (SELECT told.cron_definition FROM told WHERE told.id = schedule_id)
           END AS wanted
      FROM members
      LEFT JOIN scheduler_schedules known ON known.kind = 'subscription'
                                      AND known.target = members.target
      LEFT JOIN LATERAL (
           SELECT * FROM scheduler_listing l
            WHERE l.listing_id = %(listing_id)s AND l.kind = 'subscription'
              AND l.target = members.target
            ORDER BY l.remote_id IS NOT DISTINCT FROM COALESCE(known.remote_id,
                                                               members.remote_id) DESC,
                     l.enabled DESC, l.created_at, l.remote_id LIMIT 1) entry ON true
     WHERE COALESCE(NOT known.told_at BETWEEN %(since)s AND now() + interval '1 minute', true)
       AND NOT EXISTS (SELECT FROM scheduler_calls calls
                        WHERE calls.kind = 'subscription' AND calls.target = members.target
                          AND calls.state <> 'refused')
)
SELECT 'subscription' AS kind, target, remote_id, cron_definition, made_with, enabled,
       is_addressed, wanted,
       CASE WHEN wanted IS NULL AND enabled THEN 'disable'
            WHEN wanted IS NULL THEN NULL
            WHEN remote_id IS NULL THEN 'create'
            WHEN wanted IS DISTINCT FROM cron_definition OR wanted IS DISTINCT FROM made_with
            THEN 'recreate'
            WHEN NOT is_addressed THEN 'update'
            WHEN NOT enabled THEN 'enable' END AS action,
       (SELECT id FROM members ORDER BY id DESC LIMIT 1) AS last
  FROM compared
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       (SELECT id FROM members ORDER BY id DESC LIMIT 1);

-- name: compare_schedules :many
-- reads
-- The same for schedules; they are few.
WITH compared AS MATERIALIZED (
    SELECT schedules.id::text AS target, entry.remote_id, entry.cron_definition, entry.enabled,
           entry.is_addressed,
           CASE WHEN known.remote_id = entry.remote_id AND known.made_with IS NOT NULL
                THEN known.made_with ELSE entry.made_with END AS made_with,
           CASE WHEN %(mode)s = 'schedule' THEN cron_definition(schedules) END AS wanted
      FROM schedules
      LEFT JOIN scheduler_schedules known ON known.kind = 'schedule'
                                      AND known.target = schedules.id::text
      LEFT JOIN LATERAL (
           SELECT * FROM scheduler_listing l
            WHERE l.listing_id = %(listing_id)s AND l.kind = 'schedule'
              AND l.target = schedules.id::text
            ORDER BY l.remote_id IS NOT DISTINCT FROM known.remote_id DESC, l.enabled DESC,
                     l.created_at, l.remote_id LIMIT 1) entry ON true
     WHERE COALESCE(NOT known.told_at BETWEEN %(since)s AND now() + interval '1 minute', true)
       AND NOT EXISTS (SELECT FROM scheduler_calls calls
                        WHERE calls.kind = 'schedule' AND calls.target = schedules.id::text
                          AND calls.state <> 'refused')
)
SELECT 'schedule' AS kind, target, remote_id, cron_definition, made_with, enabled, is_addressed,
       wanted,
       CASE WHEN wanted IS NULL AND enabled THEN 'disable'
            WHEN wanted IS NULL THEN NULL
            WHEN remote_id IS NULL THEN 'create'
            WHEN wanted IS DISTINCT FROM cron_definition OR wanted IS DISTINCT FROM made_with
            THEN 'recreate'
            WHEN NOT is_addressed THEN 'update'
            WHEN NOT enabled THEN 'enable' END AS action
  FROM compared;

-- name: list_surplus :many
-- reads
-- Entries that are enabled and call for a target that does not exist any more, or for which another
-- entry calls; the next %(limit)s after this id.
WITH entries AS MATERIALIZED (
    SELECT * FROM scheduler_listing
     WHERE listing_id = %(listing_id)s AND remote_id > %(after)s
     ORDER BY remote_id LIMIT %(limit)s
)
SELECT e.kind, e.target, e.remote_id,
       e.enabled AND NOT EXISTS (SELECT FROM scheduler_calls
                                  WHERE kind = 'leftover' AND target = e.remote_id
                                    AND state <> 'refused')
       AND (chosen.remote_id IS DISTINCT FROM e.remote_id) AS is_surplus
  FROM entries e
  LEFT JOIN LATERAL (
       SELECT CASE WHEN jsonb_typeof(metadata) = 'object'
                   THEN metadata ->> 'scheduler_schedule_id' END AS remote_id
         FROM subscriptions
        WHERE id = CASE WHEN e.kind = 'subscription' THEN e.target::uuid END OFFSET 0) s ON true
  LEFT JOIN scheduler_schedules known ON known.kind = e.kind AND known.target = e.target
  LEFT JOIN LATERAL (
       SELECT l.remote_id FROM scheduler_listing l
        WHERE l.listing_id = %(listing_id)s AND l.kind = e.kind AND l.target = e.target
          AND (EXISTS (SELECT FROM subscriptions
                        WHERE id = CASE WHEN e.kind = 'subscription' THEN e.target::uuid END)
               OR EXISTS (SELECT FROM schedules
                           WHERE id = CASE WHEN e.kind = 'schedule' THEN e.target::integer END))
        ORDER BY l.remote_id IS NOT DISTINCT FROM COALESCE(known.remote_id, s.remote_id) DESC,
                 l.enabled DESC, l.created_at, l.remote_id LIMIT 1) chosen ON true
 ORDER BY e.remote_id;

-- name: apply_differences :exec
-- fires: date_moments
-- Store what the Scheduler was found to hold, and owe the calls that bring it up to date. Calls
-- since the listing began are newer than the findings. Facts that were known already are not
-- written again. If a schedule has to be made again, it is not known when the old one fires.
WITH found AS MATERIALIZED (
    SELECT kind, target, remote_id, enabled, is_addressed, action,
           CASE WHEN action IS DISTINCT FROM 'recreate' THEN cron_definition END AS cron_definition,
           CASE WHEN action IS DISTINCT FROM 'recreate' THEN made_with END AS made_with
      FROM jsonb_to_recordset(%(differences)s)
        AS o (kind text, target text, remote_id text, cron_definition text, made_with text,
              enabled boolean, is_addressed boolean, action text)
), corrected AS (
    INSERT INTO scheduler_schedules AS known (kind, target, remote_id, cron_definition, made_with,
                                              enabled, is_addressed)
    SELECT kind, target, remote_id, cron_definition, made_with, enabled, is_addressed FROM found
     WHERE remote_id IS NOT NULL AND kind <> 'leftover' ORDER BY kind, target
        ON CONFLICT (kind, target) DO UPDATE
       SET remote_id = EXCLUDED.remote_id, cron_definition = EXCLUDED.cron_definition,
           made_with = EXCLUDED.made_with, enabled = EXCLUDED.enabled,
           is_addressed = EXCLUDED.is_addressed, told_at = now()
     WHERE NOT known.told_at BETWEEN %(since)s AND now() + interval '1 minute'
       AND ROW(known.remote_id, known.cron_definition, known.made_with, known.enabled,
               known.is_addressed)
           IS DISTINCT FROM ROW(EXCLUDED.remote_id, EXCLUDED.cron_definition, EXCLUDED.made_with,
                                EXCLUDED.enabled, EXCLUDED.is_addressed)
), forgotten AS (
    DELETE FROM scheduler_schedules r USING found
     WHERE r.kind = found.kind AND r.target = found.target AND found.remote_id IS NULL
       AND NOT r.told_at BETWEEN %(since)s AND now() + interval '1 minute'
)
SELECT count(*), CASE WHEN count(*) > 0 THEN pg_notify('sbm_scheduler_calls', '') END
  FROM (SELECT owe_scheduler_call(kind, target) FROM found
         WHERE action IS NOT NULL ORDER BY kind, target) owed;
