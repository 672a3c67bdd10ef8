-- All that happened to one person, and what comes next. A person has few rows of each kind, which
-- are found by the identity, also if the subscriptions were deleted.

-- name: list_person_events :many
-- reads
-- The next events after this one, the newest first. Each is of a source and has a name there, so that
-- events of one moment have an order. A new subscription is told by the audit, or else by its row:
-- the pipeline has no author; or, if it was deleted and the audit is gone, by its request, which also
-- tells the key and the caller. Requests that made nothing are events. A completed subscription does
-- not say when: it was when the last row of the ledger was written. No event follows whose details
-- are beyond the first %(most_bytes)s bytes of all; found says how many there are without this limit.
-- Ticks that skipped a member again are told with the row that says why: those after it, up to the
-- next tick that asked for the member.
WITH rows AS MATERIALIZED (
    SELECT * FROM ledger WHERE identity = %(identity)s
), subscribed AS MATERIALIZED (
    SELECT * FROM subscriptions WHERE identity = %(identity)s
), subscription_ids AS MATERIALIZED (
    SELECT id FROM subscribed UNION SELECT subscription_id FROM rows
), asked_for AS MATERIALIZED (
    SELECT subscription_id, tick_id FROM rows WHERE kind = 'next'
    UNION ALL
    SELECT subscription_id, tick_id FROM sends
     WHERE kind = 'next' AND subscription_id = ANY(ARRAY(SELECT id FROM subscription_ids))
), requests AS MATERIALIZED (
    SELECT * FROM intake WHERE identity = %(identity)s
), changes AS MATERIALIZED (
    SELECT * FROM audit WHERE identity = %(identity)s
    UNION ALL
    -- A subscription that was another person's before.
    SELECT * FROM audit
     WHERE operation = 'update' AND after ? 'identity' AND after ->> 'identity' = %(identity)s
       AND identity <> %(identity)s
), events AS (
    SELECT l.settled_at AS at, 'ledger' AS source, lpad(l.id::text, 20, '0') AS ref,
           l.outcome AS event, l.subscription_id, l.actor, l.reason,
           jsonb_build_object(
               'kind', l.kind, 'stage', l.stage,
               'reason_kind', reason_kind(l.kind, l.outcome, l.stage, l.reason),
               'messageset', l.messageset_id, 'short_name', ms.short_name,
               'sequence_number', l.sequence_number, 'lang', l.lang, 'attempts', l.attempts,
               'tick', l.tick_id, 'outbound', l.outbound_id, 'version', l.message_version_id,
               'text', v.text_content, 'prepend', l.prepend, 'file', v.file_name,
               'delivered', d.delivered, 'delivery_attempts', d.attempts,
               'nack_reason', d.nack_reason, 'skipped_again', again.told) AS details
      FROM rows l
      LEFT JOIN messagesets ms ON ms.id = l.messageset_id
      LEFT JOIN message_versions v ON v.id = l.message_version_id
      LEFT JOIN LATERAL (
           SELECT delivered, attempts, nack_reason FROM deliveries
            WHERE deliveries.settled_at = l.settled_at AND ledger_id = l.id OFFSET 0) d ON true
      LEFT JOIN LATERAL (
           SELECT jsonb_build_object('ticks', count(*), 'first_due_at', min(due_at),
                                     'last_due_at', max(due_at)) AS told
             FROM ticks
            WHERE schedule_id = (SELECT schedule_id FROM ticks WHERE id = l.tick_id)
              AND skipped_again_since <= l.tick_id AND id > l.tick_id
              AND id < COALESCE((SELECT min(next.tick_id) FROM asked_for next
                                  WHERE next.subscription_id = l.subscription_id
                                    AND next.tick_id > l.tick_id), 9223372036854775807)
           HAVING count(*) > 0 OFFSET 0) again
        ON l.kind = 'next' AND l.outcome = 'skipped' AND tells_unfinished(l.reason)
    UNION ALL
    SELECT a.done_at, 'audit', lpad(a.id::text, 20, '0'),
           CASE WHEN a.table_name = 'subscriptions' AND a.operation = 'insert' THEN 'registered'
                WHEN a.operation = 'delete' THEN 'deleted' ELSE 'changed' END,
           CASE WHEN a.table_name = 'subscriptions' THEN a.row_id::uuid END, a.actor, a.reason,
           jsonb_build_object('action', a.action, 'request_id', a.request_id,
                              'idempotency_key', made.idempotency_key, 'before', a.before,
                              'after', a.after, 'table', a.table_name, 'entry', a.id)
      FROM changes a
      LEFT JOIN requests made
        ON made.outcome = 'created' AND made.subscription_id::text = a.row_id
       AND a.table_name = 'subscriptions' AND a.operation = 'insert'
       AND made.request_id IS NOT DISTINCT FROM a.request_id
    UNION ALL
    SELECT s.created_at, 'subscription', s.id::text,
           CASE WHEN s.chained_from IS NULL THEN 'registered' ELSE 'chained' END, s.id,
           COALESCE(made.caller, u.username), '',
           jsonb_build_object('messageset', s.messageset_id, 'short_name', ms.short_name,
                              'lang', s.lang, 'schedule', s.schedule_id,
                              'chained_from', s.chained_from, 'action', made.action,
                              'request_id', made.request_id,
                              'idempotency_key', made.idempotency_key)
      FROM subscribed s
      JOIN messagesets ms ON ms.id = s.messageset_id
      LEFT JOIN users u ON u.id = s.created_by
      LEFT JOIN requests made ON made.outcome = 'created' AND made.subscription_id = s.id
     WHERE NOT EXISTS (
               SELECT FROM audit
                WHERE table_name = 'subscriptions' AND row_id = s.id::text AND operation = 'insert'
               OFFSET 0)
    UNION ALL
    SELECT r.received_at, 'intake', lpad(r.id::text, 20, '0'),
           CASE r.outcome WHEN 'created' THEN 'registered' ELSE 'request-' || r.outcome END,
           r.subscription_id, r.caller, concat_ws(': ', NULLIF(r.reason, ''),
                                                  NULLIF(array_to_string(r.fields, ', '), '')),
           jsonb_build_object('action', r.action, 'request_id', r.request_id,
                              'idempotency_key', r.idempotency_key, 'payload', r.payload,
                              'request', r.id)
      FROM requests r
     WHERE r.outcome <> 'created'
        OR NOT EXISTS (SELECT FROM subscribed s WHERE s.id = r.subscription_id)
       AND NOT EXISTS (SELECT FROM changes a
                        WHERE a.table_name = 'subscriptions' AND a.operation = 'insert'
                          AND a.row_id = r.subscription_id::text)
    UNION ALL
    SELECT COALESCE((SELECT max(settled_at) FROM rows WHERE subscription_id = s.id), s.updated_at),
           'progress', s.id::text, 'completed', s.id, NULL, '',
           jsonb_build_object('messageset', s.messageset_id, 'short_name', ms.short_name,
                              'next_set', ms.next_set_id)
      FROM subscribed s JOIN messagesets ms ON ms.id = s.messageset_id WHERE s.completed
    UNION ALL
    SELECT r.received_at, 'resend', lpad(r.id::text, 20, '0'), 'resend-requested',
           r.subscription_id, NULL, '',
           jsonb_build_object('message', r.message_id, 'outbound', r.outbound_id)
      FROM resend_requests r
     WHERE r.subscription_id = ANY(ARRAY(SELECT id FROM subscription_ids))
    UNION ALL
    SELECT d.noticed_at, 'double', lpad(d.id::text, 20, '0'), 'sent-twice', d.subscription_id, NULL,
           '', jsonb_build_object('outbound', d.outbound_id, 'send', d.send_id)
      FROM doubles d
     WHERE d.subscription_id = ANY(ARRAY(SELECT id FROM subscription_ids))
)
SELECT at, source, ref, event, subscription_id, actor, reason, details, found
  FROM (SELECT *, count(*) OVER () AS found, sum(octet_length(details))
                  OVER (ORDER BY at DESC, source DESC, ref DESC ROWS UNBOUNDED PRECEDING)
                  - octet_length(details) AS bytes_before
          FROM (SELECT at, source, ref, event, subscription_id, actor, reason,
                       details::text AS details
                  FROM events
                 WHERE (at, source, ref)
                     < (%(from_at)s::timestamptz, %(from_source)s::text, %(from_ref)s::text)
                 ORDER BY at DESC, source DESC, ref DESC LIMIT %(limit)s OFFSET 0) AS following
       ) AS sized
 WHERE %(most_bytes)s::bigint IS NULL OR bytes_before < %(most_bytes)s::bigint
 ORDER BY at DESC, source DESC, ref DESC;

-- name: list_person_plans :many
-- reads
-- The subscriptions of a person that are under way, each with the next numbers of its content and the
-- language of each (null: the subscription waits for a translation), its live send, and what holds it back: a pause, a hold of its tick, or that it cannot be ticked.
SELECT s.id AS subscription_id, s.messageset_id, ms.short_name, ms.next_set_id, s.lang, s.schedule_id,
       s.next_sequence_number, s.active, s.process_status,
       schedules.minute, schedules.hour, schedules.day_of_week, schedules.day_of_month,
       schedules.month_of_year, schedules.time_zone,
       COALESCE(schedules.send_hours, ms.send_hours)::text AS send_hours,
       COALESCE(coming.numbers, '{}') AS numbers, COALESCE(coming.langs, '{}') AS langs,
       has_places(s.messageset_id, s.lang) AS has_content,
       live.state AS live_state, live.owed_at AS live_since, live.reason AS live_reason,
       hold_of(live.queue_tick_id, live.queue_schedule_id, live.queue_messageset_id) AS live_hold,
       (SELECT reason FROM pauses
         WHERE ended_at IS NULL
           AND (kind <> 'operator' OR pause_covers(pauses, 1, s.schedule_id, s.messageset_id))
         ORDER BY since LIMIT 1) AS paused_for,
       told.made_with AS told, now() AS now
  FROM subscriptions s
  JOIN messagesets ms ON ms.id = s.messageset_id
  JOIN schedules ON schedules.id = s.schedule_id
 CROSS JOIN LATERAL (
       SELECT array_agg(sequence_number ORDER BY sequence_number) AS numbers,
              array_agg(lang ORDER BY sequence_number) AS langs
         FROM (SELECT place.sequence_number, place.lang
                 FROM places(s.messageset_id, s.lang) place
                WHERE place.sequence_number >= s.next_sequence_number
                ORDER BY place.sequence_number LIMIT %(limit)s::bigint + 1) next) coming
  LEFT JOIN LATERAL (
       SELECT * FROM sends WHERE subscription_id = s.id AND kind = 'next' OFFSET 0) live ON true
  LEFT JOIN LATERAL (
       SELECT made_with FROM scheduler_schedules
        WHERE enabled AND CASE %(mode)s WHEN 'schedule' THEN kind = 'schedule'
                                             AND target = s.schedule_id::text
                                        ELSE kind = 'subscription' AND target = s.id::text END
       OFFSET 0) told ON true
 WHERE s.identity = %(identity)s AND NOT s.completed
 ORDER BY s.created_at, s.id;

-- name: find_person_of_subscription :maybe
-- reads
-- Whose subscription this is, or was.
SELECT identity FROM (
    SELECT identity, 1 AS choice FROM subscriptions WHERE id = %(subscription_id)s
    UNION ALL
    SELECT identity, 2 FROM ledger WHERE subscription_id = %(subscription_id)s
    UNION ALL
    SELECT identity, 3 FROM audit
     WHERE table_name = 'subscriptions' AND row_id = %(subscription_id)s::uuid::text) found
 WHERE identity IS NOT NULL ORDER BY choice LIMIT 1;
