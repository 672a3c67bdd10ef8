-- Parts of statements. What is decided in several statements is written once, here.

-- part: opening
-- What a tick of %(schedule_id)s would be if it was opened now, with the tick that it follows.
-- If a tick of the last hour is still being sent (it is being expanded, or some of its sends are
-- owed or claimed), this tick follows the latest such tick, and the members of that one are not owed
-- a second send. Older ticks are late because of an incident, and do not prevent the sends that are
-- due now. Those that a person has stopped do not, either; and neither do ticks that only skip the
-- members of an earlier tick, which was sent meanwhile: a member of such a tick is not skipped
-- again. Otherwise, if ticks came faster than they can be expanded, they would follow each other for
-- ever, and nothing would be sent. (The latest ticks are read: as many as come in an hour, if one comes every second. The time
-- of a tick is corrected by later jumps of the clock, as clock_shift does: else a tick of a clock
-- that was wrong by a day could count as one of the last hour for a day. The correction is written
-- out here, as there are many ticks.) If a time is still in the future, it was written by a wrong
-- clock that no daemon noticed. Times are compared with clock_timestamp(): a transaction that began
-- later may have locked the schedule first, and its tick and sends are then later than the now() of
-- this one. The ids of the sends follow from the moment of the tick: if one of the latest ticks has
-- the same moment, a repetition makes them other ones.
latest AS MATERIALIZED (
    SELECT id, state, due_at, created_at, follows, follows_beyond, stopped_by FROM ticks
     WHERE schedule_id = %(schedule_id)s AND source <> 'single'
     ORDER BY id DESC LIMIT 3600
), recent AS MATERIALIZED (
    SELECT id, state = 'expanding' AS is_expanding, follows, follows_beyond
      FROM latest
     WHERE state <> 'missed' AND stopped_by IS NULL
       AND created_at + (SELECT COALESCE(sum(size), interval '0') FROM clock_jumps
                          WHERE last_tick_id >= latest.id
                            AND NOT latest.created_at BETWEEN earliest_at AND seen_at)
           BETWEEN now() - interval '1 hour' AND clock_timestamp()
), under_way AS (
    SELECT min(id) AS first,
           CASE WHEN bool_and(follows IS NOT NULL AND follows_beyond IS NULL)
                THEN min(follows) END AS beyond
      FROM recent
     WHERE is_expanding
        OR EXISTS (SELECT FROM sends
                    WHERE state = 'owed' AND queue_tick_id = recent.id
                      AND due_at <= (SELECT clock_timestamp())
                   OFFSET 0)
        OR id = ANY(ARRAY(SELECT queue_tick_id FROM sends WHERE state = 'claimed'))
), opening AS (
    SELECT %(schedule_id)s::integer AS schedule_id,
           COALESCE(%(due_at)s::timestamptz, now()) AS due_at, pg_current_snapshot() AS snapshot,
           (SELECT max(id) FROM recent WHERE id >= under_way.first) AS follows,
           under_way.beyond AS follows_beyond,
           CASE WHEN %(is_repeated)s
                  OR EXISTS (SELECT FROM latest
                              WHERE due_at = COALESCE(%(due_at)s::timestamptz, now()))
                THEN gen_random_uuid() END AS repetition,
           (SELECT array_agg(id) FROM pauses
             WHERE ended_at IS NULL AND kind = 'operator' AND on_ticks = 'skip'
               AND COALESCE(lane, 'tick') = 'tick'
               AND COALESCE(schedule_id, %(schedule_id)s) = %(schedule_id)s) AS skipped_by
      FROM under_way
)

-- part: tick_and_those_before
-- A tick, "this", with the ticks that it follows.
this.*, covered_below(this.snapshot) AS covered_below,
           concat_ws(' ', installation.id, this.schedule_id, EXTRACT(epoch FROM this.due_at),
                     this.repetition) AS moment,
           COALESCE(LEAST(this.due_at, this.created_at) <= installation.ask_first_until, false)
               AS is_doubted,
           before.snapshot AS before_snapshot, before.created_at AS before_created_at,
           before.skipped_by AS before_skipped_by, before.stopped_by AS before_stopped_by,
           covered_below(before.snapshot) AS before_covered_below,
           beyond.snapshot AS beyond_snapshot, beyond.created_at AS beyond_created_at,
           beyond.skipped_by AS beyond_skipped_by, beyond.stopped_by AS beyond_stopped_by,
           covered_below(beyond.snapshot) AS beyond_covered_below,
           EXISTS (SELECT FROM schedules WHERE id = this.schedule_id AND max_age IS NOT NULL)
           OR EXISTS (SELECT FROM messagesets WHERE max_age IS NOT NULL) AS has_max_age
      FROM this
      LEFT JOIN ticks before ON before.id = this.follows
      LEFT JOIN ticks beyond ON beyond.id = this.follows_beyond
     CROSS JOIN installation

-- part: is_member
-- Whether a subscription is a member of the only row of "tick". That row is read in subqueries, so
-- that a million members are not joined with it. A subscription that joined below the first
-- transaction of the snapshot needs no call of tick_covers.
schedule_id = (SELECT schedule_id FROM tick) AND active AND NOT completed AND process_status >= 0
              AND (COALESCE(joined_xid, '0') < (SELECT covered_below FROM tick)
                   OR tick_covers((SELECT snapshot FROM tick), (SELECT created_at FROM tick),
                                  joined_xid, joined_at, created_at))

-- part: is_spared
-- Whether the member s of "tick" gets nothing: because it is a member of a tick that is under way, or
-- because a pause skips it.
(SELECT before_created_at FROM tick) IS NOT NULL
           AND (COALESCE(s.joined_xid, '0') < (SELECT before_covered_below FROM tick)
                OR tick_covers((SELECT before_snapshot FROM tick),
                               (SELECT before_created_at FROM tick),
                               s.joined_xid, s.joined_at, s.created_at))
           AND NOT was_skipped((SELECT before_skipped_by FROM tick), s.messageset_id)
           AND NOT ((SELECT before_stopped_by FROM tick) IS NOT NULL
                    AND was_stopped((SELECT follows FROM tick),
                                    (SELECT before_stopped_by FROM tick),
                                    (SELECT before_created_at FROM tick), s.id))
           AND NOT ((SELECT beyond_created_at FROM tick) IS NOT NULL
                    AND (COALESCE(s.joined_xid, '0') < (SELECT beyond_covered_below FROM tick)
                         OR tick_covers((SELECT beyond_snapshot FROM tick),
                                        (SELECT beyond_created_at FROM tick),
                                        s.joined_xid, s.joined_at, s.created_at))
                    AND NOT was_skipped((SELECT beyond_skipped_by FROM tick), s.messageset_id)
                    AND NOT ((SELECT beyond_stopped_by FROM tick) IS NOT NULL
                             AND was_stopped((SELECT follows_beyond FROM tick),
                                             (SELECT beyond_stopped_by FROM tick),
                                             (SELECT beyond_created_at FROM tick), s.id)))
           AND NOT ((SELECT has_max_age FROM tick) AND EXISTS (
                        SELECT FROM ledger
                         WHERE ledger.subscription_id = s.id
                           AND settled_at >= (SELECT before_created_at FROM tick)
                                             - interval '1 day'
                           AND tick_id = (SELECT follows FROM tick)
                           AND reason = 'it is older than max_age'
                        OFFSET 0)) AS is_spared,
           (SELECT skipped_by FROM tick) IS NOT NULL
           AND was_skipped((SELECT skipped_by FROM tick), s.messageset_id) AS is_paused

-- part: is_skipped
-- Whether a simulated tick owes its member no send.
is_settled OR is_paused OR is_spared OR is_too_old OR is_live

-- part: was_paused
-- Why a tick owes a member no send because of a pause.
'it was paused when the tick came'

-- part: why_stopped
-- Why a tick that a person has stopped owes nothing to a member; the name follows.
'stopped by '

-- part: why_skipped
-- Why a tick does not owe its member a send.
CASE WHEN is_settled THEN 'the Message Sender had the message of this tick already'
                WHEN is_paused THEN {was_paused}
                WHEN is_spared THEN 'the tick before it was still being sent'
                WHEN is_too_old THEN 'it is older than max_age'
                ELSE 'a message is already owed to the subscription' END

-- part: ended
-- How many members the tick "own" has with each outcome: by the rows of the ledger since
-- "own.since", and by the count of those that were skipped again.
SELECT outcome, sum(count)::bigint AS count FROM (
                      SELECT outcome, count(*) AS count FROM ledger
                       WHERE tick_id = own.id AND settled_at >= own.since
                       GROUP BY outcome
                       UNION ALL
                      SELECT 'skipped', own.skipped_again WHERE own.skipped_again > 0) counted
                  GROUP BY outcome

-- part: content
-- What the send "due" to the subscription s says: the set and language, and the message in them; or
-- the number of the message that it waits for; or "lack", which says why there is no message: the
-- set has none in this language; or it waits for a translation; or the content changed less than
-- %(content_settle)s before the send was owed, so that an editor may still be working; or else the
-- subscription is at the end. (If a wrong clock owed a send in the future, the time of now counts.)
which.messageset_id, s.next_sequence_number,
           CASE WHEN due.kind = 'next' THEN COALESCE(m.lang, s.lang)
                ELSE which.lang END AS lang, ms.short_name, ms.content_type,
           ms.channel, m.sequence_number, m.version_id,
           CASE WHEN due.kind = 'resend' THEN due.sequence_number
                ELSE COALESCE(m.sequence_number, place.number) END AS claimed_number,
           CASE WHEN due.kind = 'next' AND m.id IS NULL
                THEN CASE WHEN place.number IS NOT NULL THEN 'translation'
                          WHEN NOT has_places(s.messageset_id, s.lang)
                          THEN 'content'
                          WHEN has_changed_since(s.messageset_id, s.lang, LEAST(due.owed_at, now())
                                                 - %(content_settle)s::interval) THEN 'rest'
                          ELSE 'end' END END AS lack

-- part: content_of_due
-- Where these columns come from.
LEFT JOIN messagesets ms ON ms.id = which.messageset_id
     CROSS JOIN LATERAL (
           SELECT CASE WHEN due.kind = 'resend' THEN due.message_id
                       ELSE (SELECT id FROM messages
                              WHERE messageset_id = s.messageset_id AND lang = s.lang
                                AND sequence_number = s.next_sequence_number) END AS message_id
           OFFSET 0) exact
      LEFT JOIN LATERAL (
           SELECT message_id, sequence_number AS number
             FROM next_place(s.messageset_id, s.lang, s.next_sequence_number)
            WHERE due.kind = 'next' AND exact.message_id IS NULL
           OFFSET 0) place ON true
      LEFT JOIN LATERAL (
           SELECT * FROM messages WHERE id = COALESCE(exact.message_id, place.message_id)
           OFFSET 0) m ON true

-- part: prepend
-- The prepend of the next send to the subscription s, and the JSON type of one that is not a text.
CASE WHEN given.type = 'string'
                THEN NULLIF(s.metadata ->> 'prepend_next_delivery', '') END AS prepend,
           NULLIF(NULLIF(given.type, 'string'), 'null') AS odd_prepend

-- part: given_prepend
-- The JSON type of the prepend of s.
CASE WHEN jsonb_typeof(s.metadata) = 'object'
                       THEN jsonb_typeof(s.metadata -> 'prepend_next_delivery') END

-- part: has_more
-- Whether the set has a further message for the subscription s after the number that was sent.
EXISTS (SELECT FROM messages m
                        WHERE m.messageset_id = s.messageset_id AND m.lang = s.lang
                          AND m.sequence_number = settled.sequence_number::bigint + 1
                       OFFSET 0)
               OR EXISTS (SELECT FROM next_place(s.messageset_id, s.lang,
                                                 settled.sequence_number::bigint + 1))

-- part: no_next_set
-- What is added to the reason at the end of a set if the subscription does not go on.
'; no message of the set was sent to it from here, so that no next set begins'

-- part: simulated_tick
-- A tick of %(schedule_id)s that would be opened now; or %(tick_id)s, which is open.
{opening}, this AS (
    SELECT NULL::bigint AS id, schedule_id, due_at, repetition, snapshot, now() AS created_at,
           follows, follows_beyond, skipped_by
      FROM opening WHERE %(tick_id)s::bigint IS NULL
     UNION ALL
    SELECT id, schedule_id, due_at, repetition, snapshot, created_at, follows, follows_beyond,
           skipped_by
      FROM ticks WHERE id = %(tick_id)s
), tick AS MATERIALIZED (
    SELECT {tick_and_those_before}
), waiting AS MATERIALIZED (
    -- None of them is too old: this tick asks for their messages again.
    {waiting_ticks}
       AND waiting.schedule_id = %(schedule_id)s AND waiting.id IS DISTINCT FROM %(tick_id)s
), members AS NOT MATERIALIZED (
    SELECT s.id, s.identity, s.messageset_id, s.lang, s.next_sequence_number, s.metadata,
           COALESCE(s.metadata ->> 'prepend_next_delivery' <> '', false) AS is_prepended,
           {is_spared}, false AS is_settled, false AS is_too_old, {is_live}
      FROM (SELECT * FROM subscriptions WHERE {is_member}) s
      LEFT JOIN sends live ON live.subscription_id = s.id AND live.kind = 'next'
), judged AS NOT MATERIALIZED (
    SELECT *, CASE WHEN {is_skipped} THEN {why_skipped} END AS reason FROM members
)

-- part: waiting_ticks
-- The open ticks whose members will be owed a message, if they wait for it still. (What a tick skips
-- because of two ticks before it is not looked at; those have all come in one hour.)
SELECT waiting.schedule_id, waiting.snapshot, waiting.created_at, waiting.expanded_up_to,
           waiting.skipped_by, before.snapshot AS before_snapshot,
           before.created_at AS before_created_at, before.skipped_by AS before_skipped_by,
           before.id AS before_id, before.stopped_by AS before_stopped_by
      FROM ticks waiting LEFT JOIN ticks before ON before.id = waiting.follows
     WHERE waiting.state = 'expanding' AND waiting.stopped_by IS NULL

-- part: is_live
-- Whether the subscription s is owed a message, or will be as soon as a tick of "waiting" is
-- expanded; "live" is its send. What is owed by a tick that a person has stopped will be skipped.
live.id IS NOT NULL
          AND NOT (live.state = 'owed'
                   AND live.queue_tick_id = ANY(ARRAY(SELECT tick_id FROM watched_ticks
                                                       WHERE hold = 'stopped')))
       OR EXISTS (SELECT FROM waiting)
          AND EXISTS (SELECT FROM waiting
                       WHERE waiting.schedule_id = s.schedule_id AND s.id > expanded_up_to
                         AND tick_covers(snapshot, waiting.created_at, s.joined_xid, s.joined_at,
                                         s.created_at)
                         AND NOT was_skipped(skipped_by, s.messageset_id)
                         AND (before_created_at IS NULL
                              OR NOT tick_covers(before_snapshot, before_created_at, s.joined_xid,
                                                 s.joined_at, s.created_at)
                              OR was_skipped(before_skipped_by, s.messageset_id)
                              OR before_stopped_by IS NOT NULL
                                 AND was_stopped(before_id, before_stopped_by,
                                                 before_created_at, s.id))) AS is_live

-- part: failure_cause
-- Why a failed task has failed, without what differs from person to person: long numbers, with
-- or without spaces in them, and ids. It stands in addresses, so it must tell no telephone number.
left(regexp_replace(reason, '[0-9a-f]{8}-[0-9a-f-]{27}|[+]?[0-9](?:[ ()./-]{0,2}[0-9]){4,}', '…',
                    'gi'), 200)

-- part: requeue_refusal
-- Why the failed task "taken" of the subscription s is not owed again, if it is not.
CASE WHEN s.id IS NULL THEN 'the subscription was deleted'
                WHEN kind = 'resend' THEN NULL
                WHEN s.completed THEN 'the subscription is completed'
                WHEN NOT s.active THEN 'the subscription is not active'
                WHEN s.process_status < 0 THEN 'the subscription is in error'
                WHEN s.messageset_id IS DISTINCT FROM taken.messageset_id
                  OR s.next_sequence_number IS DISTINCT FROM taken.next_sequence_number
                THEN 'the subscription has moved on' END

-- part: already_owed
-- Why a failed task is not owed again if another send of its kind is live.
CASE WHEN kind = 'resend' THEN 'a resend is already owed to the subscription'
                ELSE 'a message is already owed to the subscription' END
