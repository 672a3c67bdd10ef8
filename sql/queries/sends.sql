-- The states of a send, from owed to settled. Each statement is complete: if the daemon stops
-- between any two of them, a later statement goes on from the state that is left.
--
-- The statements help the planner. Statistics of this table are out of date whenever a tick begins
-- or ends; then the planner would join a batch with the whole table. So the rows of a batch are
-- looked up by "id = ANY(ARRAY(...))", for which only the primary key can be used, and "OFFSET 0"
-- keeps a look-up by key from becoming a join. The statements that are executed for each batch are
-- prepared, because to plan them takes longer than to execute them. They are planned without
-- sequential scans: a plan that was made while there were few sends would otherwise read all sends
-- of a tick. The next message is first looked up by its number: a search for the first number from
-- there on reads all later numbers on the same page of the index.

-- name: owe_send :maybe
-- fires: sends_queue
-- One trigger for one subscription. It counts in the tick that the single triggers of this minute
-- share, and opens one send. If there is nothing to send, or a send is owed already, it is skipped,
-- and the ledger says why; the age of that send counts from now. No row: there is no such
-- subscription.
WITH subscription AS (
    SELECT id, identity, messageset_id, lang,
           CASE WHEN completed THEN 'the subscription is completed'
                WHEN NOT active THEN 'the subscription is not active'
                WHEN process_status < 0 THEN 'the subscription is in error'
           END AS refusal
      FROM subscriptions WHERE id = %(subscription_id)s
), minute AS (
    INSERT INTO ticks (source, state, due_at, shard, triggers, expanded_at)
    SELECT 'single', 'expanded', date_trunc('minute', now()), pg_backend_pid() %% 16, 1, now()
      FROM subscription
        ON CONFLICT (due_at, shard) WHERE source = 'single'
        DO UPDATE SET triggers = ticks.triggers + 1
    RETURNING id
), owed AS (
    INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)
    SELECT 'next', 'single', subscription.id, subscription.identity, minute.id
      FROM subscription, minute WHERE refusal IS NULL
        ON CONFLICT (subscription_id, kind) DO NOTHING
    RETURNING id
), wanted AS (
    UPDATE sends SET wanted_at = now()
      FROM subscription
     WHERE sends.subscription_id = subscription.id AND kind = 'next' AND refusal IS NULL
       AND NOT EXISTS (SELECT FROM owed)
), answer AS (
    SELECT subscription.*, owed.id AS send_id,
           CASE WHEN owed.id IS NULL
                THEN COALESCE(refusal, 'a message is already owed to the subscription')
           END AS reason
      FROM subscription LEFT JOIN owed ON true
), skipped AS (
    INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,
                        messageset_id, lang)
    SELECT gen_random_uuid(), minute.id, 'next', 'skipped', 'trigger', reason, answer.id, identity,
           messageset_id, lang
      FROM answer, minute WHERE send_id IS NULL
)
SELECT send_id, reason FROM answer;

-- name: lock_due_places :one
-- tells: transaction
-- Lock up to %(limit)s sends that are due, single ones before those of a tick, for the claim that
-- comes next in this transaction; at most %(of_ticks)s are of a tick: none at all if only the places
-- that are reserved for single sends are free. The function takes the lock that a pause begins with,
-- so the claim has to be a later statement: only then does it see what changed before that. If a
-- single send probes whether a service is back, sends for the identities in %(but)s, whose last
-- calls failed, are left. %(only)s are the parts of a batch that could not be claimed as a whole.
-- Returns their places in the table, which do not change while this transaction has locked them, as a
-- text that goes back to the server as it is. If nothing was locked, there is nothing to commit.
SELECT places::text, pg_current_xact_id_if_assigned()::text AS transaction_id,
       pg_backend_pid() AS pid
  FROM (SELECT lock_due_places(%(limit)s, %(of_ticks)s, %(but)s, %(only)s::uuid[],
                               %(owner)s) AS places OFFSET 0) locked;

-- name: claim_due_sends :many
-- fires: date_moments, sends_queue_again
-- prepared
-- indexed
-- Lease these sends, which are locked, and return all data for their delivery, except what their
-- messages say: many have the same, so find_contents reads that by its version. The claimed set,
-- numbers, language and prepend are stored: a step is compared with them later; so is the version
-- of the message, which the ledger names. A resend has the message that was fixed for it, in the set
-- and language of that message. The look-up is done only for these rows. A send that is in the wrong
-- queue, because its subscription was moved while it was being owed, is not claimed: it moves to its
-- queue, which may be held back. The limits of its schedule and set are the same for all sends of a
-- queue: their rate, for how long messages may still leave, and when what is asked for becomes too
-- old. A later tick of the schedule asks for it again. (A tick may have been expanded long after it
-- came, so the time of the tick counts, and not when its send was owed.)
WITH due AS MATERIALIZED (
    SELECT ctid AS place, id, kind, subscription_id, message_id, messageset_id, sequence_number,
           lang, owed_at, tick_id, wanted_at, queue_schedule_id, queue_messageset_id
      FROM (SELECT ctid, * FROM sends
             WHERE ctid = ANY(ARRAY(SELECT unnest(%(places)s::tid[]))) OFFSET 0) locked
     WHERE state = 'owed'
), limits AS MATERIALIZED (
    SELECT queue.*, schedules.max_rate,
           leaves_for(queue.schedule_id, queue.messageset_id) AS leaves_for,
           now() - make_interval(secs => least.max_age) AS oldest,
           CASE WHEN least.max_age IS NOT NULL
                THEN GREATEST(latest_tick(queue.schedule_id, queue.tick_id),
                              (SELECT created_at + clock_shift(id, created_at) FROM ticks
                                WHERE id = queue.tick_id AND source <> 'single')) END AS asked_at
      FROM (SELECT DISTINCT tick_id, queue_schedule_id AS schedule_id,
                   queue_messageset_id AS messageset_id FROM due) queue
      LEFT JOIN schedules ON schedules.id = queue.schedule_id
      LEFT JOIN messagesets ON messagesets.id = queue.messageset_id
     CROSS JOIN LATERAL (
           SELECT LEAST(schedules.max_age, messagesets.max_age) AS max_age) least
), work AS MATERIALIZED (
    SELECT due.place, s.id IS NOT NULL AS subscribed, s.active, s.completed, s.process_status,
           {content},
           s.schedule_id IS NOT NULL
           AND (s.schedule_id <> due.queue_schedule_id
                OR COALESCE(which.messageset_id, due.queue_messageset_id)
                   <> due.queue_messageset_id) AS is_moved, s.schedule_id,
           limits.max_rate, EXTRACT(epoch FROM limits.leaves_for)::float8 AS leaves_for,
           COALESCE(GREATEST(COALESCE(limits.asked_at, LEAST(due.owed_at, now())),
                             due.wanted_at) < limits.oldest, false) AS is_too_old,
           {prepend}
      FROM due
      JOIN limits ON limits.tick_id = due.tick_id
                 AND limits.schedule_id = due.queue_schedule_id
                 AND limits.messageset_id = due.queue_messageset_id
      LEFT JOIN LATERAL (
           SELECT * FROM subscriptions WHERE id = due.subscription_id OFFSET 0) s ON true
     CROSS JOIN LATERAL (
           SELECT CASE WHEN due.kind = 'resend' THEN due.messageset_id
                       ELSE s.messageset_id END AS messageset_id,
                  CASE WHEN due.kind = 'resend' THEN due.lang ELSE s.lang END AS lang) which
      {content_of_due}
     CROSS JOIN LATERAL (
           SELECT CASE WHEN due.kind = 'next' THEN {given_prepend} END AS type) given
), moved AS (
    UPDATE sends
       SET queue_schedule_id = work.schedule_id,
           queue_messageset_id = COALESCE(work.messageset_id, queue_messageset_id)
      FROM work WHERE sends.ctid = work.place AND is_moved
)
UPDATE sends
   SET state = 'claimed', attempt = sends.attempt + 1, owner = %(owner)s,
       lease_until = now() + %(lease)s::interval,
       first_attempt_at = COALESCE(sends.first_attempt_at, now()),
       messageset_id = work.messageset_id, next_sequence_number = work.next_sequence_number,
       sequence_number = work.claimed_number, lang = work.lang, prepend = work.prepend,
       message_version_id = work.version_id, is_fault = false, dated_at = now()
  FROM work WHERE sends.ctid = work.place AND NOT is_moved
RETURNING sends.id, sends.kind, sends.lane, sends.queue_schedule_id AS schedule_id, sends.tick_id,
          work.max_rate, work.leaves_for, work.is_too_old, sends.attempt, sends.faults,
          sends.subscription_id, sends.identity, sends.answers, work.subscribed, work.active,
          work.completed, work.process_status, work.messageset_id, work.short_name,
          work.content_type, work.channel, work.lang, work.sequence_number, work.version_id,
          work.prepend, work.odd_prepend, work.lack, work.claimed_number,
          (SELECT id::text FROM installation) AS installation_id;

-- name: find_contents :many
-- reads
-- prepared
-- What these versions of messages say, each once, however many sends there are of it.
SELECT id, sequence_number, text_content, file_name, metadata::text AS metadata
  FROM message_versions WHERE id = ANY(%(ids)s::bigint[]);

-- name: give_back_strays :exec
-- fires: date_moments, sends_queue_again
-- Claims of this owner that it does not know: the answer to the claiming statement was lost. No
-- daemon can have begun a POST for them.
UPDATE sends SET state = 'owed', owner = NULL, lease_until = NULL
 WHERE state = 'claimed' AND owner = %(owner)s AND id <> ALL(%(known)s::uuid[]);

-- name: renew_leases :many
-- fires: date_moments
-- Renew the leases of these claims. Returns those that still belong to this owner; only claimed
-- sends have an owner. What is paused is not renewed: so a pause is in force after one lease at the
-- latest, even if a daemon hangs.
WITH operators AS MATERIALIZED (
    SELECT pauses FROM pauses WHERE ended_at IS NULL AND kind = 'operator'
)
UPDATE sends SET lease_until = now() + %(lease)s
 WHERE id = ANY(ARRAY(SELECT unnest(%(ids)s::uuid[]))) AND owner = %(owner)s
   AND NOT EXISTS (SELECT FROM operators
                    WHERE pause_covers(operators.pauses, queue_tick_id, queue_schedule_id,
                                       queue_messageset_id))
RETURNING id;

-- name: settle_sends :one
-- fires: judge_tick, owe_scheduler_call_of_changed, owe_scheduler_call_of_new, subscriptions_join
-- prepared
-- indexed
-- tells: transaction
-- A batch of outcomes, each with everything that follows from it: the send is deleted, the
-- subscription steps to its next number or completes, a prepend that was sent is deleted, the next
-- set begins, the ledger gets its row, a failure its row in failed_tasks (but not one that marks
-- the subscription, because it has no address). Requests to resend get their outbounds by the
-- statement after it, answer_resends. Results are fenced by the attempt and the owner: if the claim
-- was lost, nothing is changed, and the send is not in the answer. The attempt alone would not do:
-- after a failover that lost the claim, another daemon may claim the send with the same attempt. A
-- claim is not lost when its lease ends: the result of its owner still counts, until the send is
-- claimed again. The id of an outbound is
-- evidence: it settles the send, no matter which daemon has claimed it by now. The subscription
-- steps only if it is still at the number at which the send was claimed; else the changes of an
-- operator stay, and a subscription that was made inactive meanwhile does not go on to the next
-- set. It is locked before it is judged, so that it is not changed in between. A subscription
-- beyond the end of its content (at_end) completes without a message, if it is still there and the
-- content is the same as when the send was owed. It goes on to the next set only if the ledger has
-- a send of this set to it, because an imported subscription may have been there for years. If
-- another transaction has locked a subscription, the statement does not wait: the send is left
-- unchanged, and returned as locked. Most sends are settled, so those are returned that are not; the
-- outbound of each resend; for the metrics, how many messages of each set were sent, and how many
-- people have no address; and how many subscriptions to a next set have begun.
WITH outcomes AS MATERIALIZED (
    -- What is empty or false is left out. A result that moves a subscription names it.
    SELECT id, attempt, owner, outcome, stage, COALESCE(reason, '') AS reason, outbound_id,
           subscription_id, COALESCE(delivered, false) AS delivered,
           COALESCE(unaddressed, false) AS unaddressed, COALESCE(assumed, false) AS assumed,
           COALESCE(at_end, false) AS at_end
      FROM jsonb_to_recordset(%(outcomes)s)
        AS o (id uuid, attempt integer, owner uuid, outcome text, stage text, reason text,
              outbound_id text, subscription_id uuid, delivered boolean, unaddressed boolean,
              assumed boolean, at_end boolean)
), held AS MATERIALIZED (
    SELECT id, active, completed, process_status, messageset_id, lang, next_sequence_number
      FROM subscriptions
     WHERE id = ANY(ARRAY(SELECT subscription_id FROM outcomes))
     ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), missing AS MATERIALIZED (
    -- "NOT IN" is looked up in a hash table; a join might compare all with all.
    SELECT subscription_id FROM outcomes WHERE subscription_id NOT IN (SELECT id FROM held)
), locked AS MATERIALIZED (
    SELECT subscription_id FROM missing
     WHERE EXISTS (SELECT FROM subscriptions WHERE id = missing.subscription_id OFFSET 0)
), settled AS (
    -- Only sends of kind "next" move their subscription.
    DELETE FROM sends USING outcomes o
     WHERE sends.id = ANY(ARRAY(SELECT id FROM outcomes)) AND sends.id = o.id
       AND (o.outbound_id IS NOT NULL
            OR sends.attempt = o.attempt
               AND (sends.state = 'unknown' OR sends.state = 'claimed' AND sends.owner = o.owner))
       AND NOT (sends.kind = 'next' AND o.subscription_id IS NOT NULL
                AND o.subscription_id = ANY(ARRAY(SELECT subscription_id FROM locked)))
    RETURNING sends.id, sends.kind, sends.tick_id, sends.subscription_id, sends.identity,
              sends.messageset_id, sends.next_sequence_number, sends.sequence_number, sends.lang,
              sends.prepend, sends.message_id, sends.message_version_id, sends.attempt,
              sends.faults, sends.owed_at, sends.first_attempt_at, sends.actor, o.outcome, o.stage,
              o.reason AS why, o.outbound_id, o.delivered, o.unaddressed, o.assumed, o.at_end
), watched AS MATERIALIZED (
    -- The ticks of these sends that have a brake or a canary, locked in order.
    SELECT tick_id FROM watched_ticks WHERE tick_id = ANY(ARRAY(SELECT tick_id FROM settled))
     ORDER BY tick_id FOR UPDATE
), counted AS (
    -- A send with a fault was counted as posted and failed at its first fault.
    UPDATE watched_ticks w
       SET posted = GREATEST(w.posted + result.posted, 0),
           failed = GREATEST(w.failed + result.failed, 0)
      FROM (SELECT tick_id,
                   sum((outcome <> 'skipped')::integer - (faults > 0)::integer) AS posted,
                   sum((outcome IN ('refused', 'failed'))::integer - (faults > 0)::integer)
                       AS failed
              FROM settled WHERE tick_id = ANY(ARRAY(SELECT tick_id FROM watched))
             GROUP BY tick_id) result
     WHERE w.tick_id = ANY(ARRAY(SELECT tick_id FROM watched)) AND w.tick_id = result.tick_id
), standing AS MATERIALIZED (
    SELECT s.id, s.active, settled.id AS send_id, settled.at_end, settled.sequence_number, a.steps,
           a.ends,
           a.ends OR a.steps AND NOT (
               {has_more}) AS finishes,
           NOT a.ends OR was_sent_of(s.id, s.messageset_id) AS was_sent_to,
           CASE WHEN settled.delivered THEN settled.prepend END AS carried,
           settled.unaddressed AND NOT s.completed AS unaddressed
      FROM settled
      JOIN held s ON s.id = settled.subscription_id,
           LATERAL (SELECT NOT s.completed AND s.messageset_id = settled.messageset_id
                       AND s.next_sequence_number = settled.next_sequence_number AS stands) b,
           LATERAL (SELECT settled.delivered AND stands AS steps,
                           settled.at_end AND stands AND s.active AND s.process_status >= 0
                       AND s.lang = settled.lang
                       AND has_places(s.messageset_id, s.lang)
                       AND NOT EXISTS (SELECT FROM next_place(s.messageset_id, s.lang,
                                                              s.next_sequence_number))
                       AND NOT has_changed_since(s.messageset_id, s.lang,
                                                 LEAST(settled.owed_at, now())) AS ends) a
     WHERE settled.kind = 'next' AND (settled.delivered OR settled.unaddressed OR settled.at_end)
), moved AS (
    UPDATE subscriptions s
       SET next_sequence_number = CASE WHEN steps AND NOT finishes
                                       THEN standing.sequence_number + 1
                                       ELSE s.next_sequence_number END,
           completed = s.completed OR finishes,
           active = s.active AND NOT finishes,
           process_status = CASE WHEN finishes THEN 2 WHEN unaddressed THEN -1
                                 ELSE s.process_status END,
           metadata = CASE WHEN standing.carried = s.metadata ->> 'prepend_next_delivery'
                           THEN jsonb_set(s.metadata, '{prepend_next_delivery}', 'null')
                           ELSE s.metadata END,
           updated_at = now()
      FROM standing WHERE s.id = standing.id AND (standing.ends OR NOT standing.at_end)
    RETURNING s.id, s.identity, s.lang, s.messageset_id,
              finishes AND standing.active AND was_sent_to AS goes_on
), chained AS (
    INSERT INTO subscriptions (identity, lang, messageset_id, schedule_id, chained_from)
    SELECT moved.identity, moved.lang, following.id, following.default_schedule_id, moved.id
      FROM moved
      JOIN messagesets current ON current.id = moved.messageset_id
      JOIN messagesets following ON following.id = current.next_set_id
     WHERE moved.goes_on
        ON CONFLICT (chained_from) DO NOTHING
    RETURNING id
), recorded AS (
    INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,
                        messageset_id, sequence_number, lang, attempts, outbound_id, owed_at,
                        first_attempt_at, actor, is_assumed, message_version_id, prepend)
    SELECT settled.id, tick_id, kind, outcome, stage,
           CASE WHEN NOT at_end THEN why
                WHEN ended.ends IS NOT TRUE
                THEN 'the subscription, or the content of its set, changed meanwhile'
                WHEN NOT ended.was_sent_to
                THEN why || {no_next_set}
                ELSE why END,
           subscription_id, identity, messageset_id, sequence_number, lang, attempt, outbound_id,
           owed_at, first_attempt_at, actor, assumed, message_version_id, prepend
      FROM settled
      LEFT JOIN LATERAL (
           -- For the few that are at the end: to compare all with all would be slow.
           SELECT ends, was_sent_to FROM standing
            WHERE settled.at_end AND standing.send_id = settled.id
           OFFSET 0) ended ON true
), failures AS (
    INSERT INTO failed_tasks (send_id, kind, stage, reason, subscription_id, identity,
                              initiated_at, attempt, first_attempt_at, messageset_id,
                              next_sequence_number, sequence_number, lang, message_id)
    SELECT id, kind, stage, why, subscription_id, identity, COALESCE(first_attempt_at, owed_at),
           attempt, first_attempt_at, messageset_id, next_sequence_number, sequence_number, lang,
           message_id
      FROM settled
     WHERE outcome IN ('refused', 'failed') AND NOT (kind = 'next' AND unaddressed)
        ON CONFLICT (send_id) DO NOTHING
)
SELECT ARRAY(SELECT id FROM outcomes WHERE id NOT IN (SELECT id FROM settled)) AS unsettled,
       ARRAY(SELECT id FROM outcomes
              WHERE subscription_id = ANY(ARRAY(SELECT subscription_id FROM locked))
                AND id NOT IN (SELECT id FROM settled)) AS locked,
       (SELECT jsonb_object_agg(id, outbound_id) FROM settled
         WHERE kind = 'resend' AND outbound_id IS NOT NULL) AS resent,
       (SELECT jsonb_agg(jsonb_build_array(content_type, short_name, count)) FROM (
            SELECT messageset_id, count(*) FROM settled WHERE outcome IN ('sent', 'adopted')
             GROUP BY messageset_id) sent
          JOIN messagesets ON messagesets.id = sent.messageset_id) AS sent,
       (SELECT count(*) FROM settled WHERE unaddressed AND kind = 'next') AS unaddressed,
       (SELECT count(*) FROM chained) AS chained,
       pg_current_xact_id()::text AS transaction_id, pg_backend_pid() AS pid;

-- name: keep_doubles :many
-- Doubles: outbounds of sends that were settled without them. An outbound that the ledger names is
-- not a double, and one of a person who was forgotten is not kept. There are few, so all rows of
-- the ledger about the subscription may be read for each.
INSERT INTO doubles (send_id, subscription_id, outbound_id)
SELECT o.send_id, o.subscription_id, o.outbound_id
  FROM jsonb_to_recordset(%(outbounds)s)
    AS o (send_id uuid, subscription_id uuid, outbound_id text)
 WHERE NOT EXISTS (
           SELECT FROM ledger
            WHERE ledger.subscription_id = o.subscription_id AND ledger.send_id = o.send_id
              AND ledger.outbound_id = o.outbound_id
           OFFSET 0)
   AND NOT EXISTS (SELECT FROM forgotten_sends WHERE digest = send_digest(o.send_id))
    ON CONFLICT DO NOTHING
RETURNING send_id, outbound_id;

-- name: give_back_sends :many
-- fires: date_moments, judge_tick, sends_queue_again
-- Owe claims again, later: their owner knows that no POST was begun. Fenced like settling. A first
-- fault counts for the brake of a tick, which need not wait until the send has failed for good.
WITH given_back AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(given_back)s)
        AS o (id uuid, attempt integer, owner uuid, reason text, seconds double precision,
              fault boolean)
), owed AS (
    UPDATE sends
       SET state = 'owed', owner = NULL, lease_until = NULL, unknown_since = NULL,
           reason = o.reason, faults = faults + o.fault::integer,
           due_at = now() + make_interval(secs => o.seconds),
           answers = CASE WHEN o.fault AND o.reason <> ALL(answers) AND cardinality(answers) < 5
                          THEN answers || o.reason ELSE answers END
      FROM given_back o
     WHERE sends.id = ANY(ARRAY(SELECT id FROM given_back)) AND sends.id = o.id
       AND sends.attempt = o.attempt
       AND (sends.state = 'unknown' OR sends.state = 'claimed' AND sends.owner = o.owner)
    RETURNING sends.id, tick_id, o.fault AND faults = 1 AS is_first_fault
), watched AS MATERIALIZED (
    SELECT tick_id FROM watched_ticks
     WHERE tick_id = ANY(ARRAY(SELECT tick_id FROM owed WHERE is_first_fault))
     ORDER BY tick_id FOR UPDATE
), counted AS (
    UPDATE watched_ticks w SET posted = w.posted + result.count, failed = w.failed + result.count
      FROM (SELECT tick_id, count(*) AS count FROM owed WHERE is_first_fault GROUP BY tick_id) result
     WHERE w.tick_id = ANY(ARRAY(SELECT tick_id FROM watched)) AND w.tick_id = result.tick_id
)
SELECT id FROM owed;

-- name: mark_unknown :many
-- fires: date_moments, sends_queue_again
-- A POST was begun, and no answer came: the send is neither sent nor owed, until the Message Sender
-- is asked. The settle time begins at the end of the attempt or of its lease, whichever is later.
-- is_fault: the failure counts against the message or its person if the Message Sender does not
-- have the send; but not if the lease had ended before the owner reported it.
WITH unknown AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(unknown)s)
        AS o (id uuid, attempt integer, owner uuid, reason text, fault boolean)
)
UPDATE sends
   SET state = 'unknown', owner = NULL, lease_until = NULL, reason = o.reason, due_at = now(),
       unknown_since = GREATEST(now(), lease_until, unknown_since),
       is_fault = o.fault AND sends.state = 'claimed',
       answers = CASE WHEN o.fault AND sends.state = 'claimed' AND o.reason <> ALL(answers)
                       AND cardinality(answers) < 5
                      THEN answers || o.reason ELSE answers END
  FROM unknown o
 WHERE sends.id = ANY(ARRAY(SELECT id FROM unknown)) AND sends.id = o.id
   AND sends.attempt = o.attempt
   AND (sends.state = 'unknown' OR sends.state = 'claimed' AND sends.owner = o.owner)
RETURNING sends.id;

-- name: expire_leases :exec
-- fires: date_moments, sends_queue_again
-- Claims whose lease expired: their daemon stopped renewing it. It may have begun a POST, so they
-- are unknown, never owed.
WITH ended AS MATERIALIZED (
    SELECT id FROM sends WHERE state = 'claimed' AND lease_until < now()
     ORDER BY lease_until LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE sends
   SET state = 'unknown', owner = NULL, lease_until = NULL, due_at = now(),
       reason = 'its lease ended: its daemon stopped renewing it', unknown_since = lease_until
 WHERE id = ANY(ARRAY(SELECT id FROM ended));

-- name: take_unknown_sends :many
-- fires: date_moments
-- Lease up to %(limit)s sends of unknown outcome, to ask about them. The lease is due_at: until
-- then no other daemon asks; a daemon that asks later has another due_at, so it also serves as a
-- fence. is_late: the settle time is over, so that an answer from now on is conclusive.
WITH due AS MATERIALIZED (
    SELECT id FROM sends
     WHERE state = 'unknown' AND due_at <= now()
       AND (%(only)s::uuid[] IS NULL OR id = ANY(%(only)s::uuid[]))
     ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE sends SET due_at = now() + %(lease)s
 WHERE id = ANY(ARRAY(SELECT id FROM due))
RETURNING id, attempt, due_at AS token, subscription_id,
          COALESCE(asked_identity, identity) AS identity, first_attempt_at, faults,
          is_fault, now() >= unknown_since + %(settle)s AS is_late;

-- name: owe_again :one
-- fires: date_moments, judge_tick, sends_queue_again
-- The Message Sender does not have these sends: owe them again, with the same key. If the owner has
-- recorded a fault, it counts against the message, and a first one for the brake of its tick. The
-- sends of one question have the same token. The state is not a condition, because its index would
-- find all of them for each.
WITH absent AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(absent)s)
        AS o (id uuid, attempt integer, token timestamptz, seconds double precision)
), before AS MATERIALIZED (
    SELECT sends.id, o.attempt, o.token, o.seconds, sends.is_fault
      FROM sends JOIN absent o ON sends.id = o.id
     WHERE sends.id = ANY(ARRAY(SELECT id FROM absent))
), owed AS (
    UPDATE sends
       SET state = 'owed', unknown_since = NULL,
           due_at = now() + make_interval(secs => before.seconds), reason = %(reason)s,
           faults = faults + sends.is_fault::integer, is_fault = false
      FROM before
     WHERE sends.id = ANY(ARRAY(SELECT id FROM before)) AND sends.id = before.id
       AND sends.attempt = before.attempt AND sends.unknown_since IS NOT NULL
       AND sends.due_at = before.token
    RETURNING tick_id, before.is_fault AND faults = 1 AS is_first_fault
), watched AS MATERIALIZED (
    SELECT tick_id FROM watched_ticks
     WHERE tick_id = ANY(ARRAY(SELECT tick_id FROM owed WHERE is_first_fault))
     ORDER BY tick_id FOR UPDATE
), counted AS (
    UPDATE watched_ticks w SET posted = w.posted + result.count, failed = w.failed + result.count
      FROM (SELECT tick_id, count(*) AS count FROM owed WHERE is_first_fault GROUP BY tick_id) result
     WHERE w.tick_id = ANY(ARRAY(SELECT tick_id FROM watched)) AND w.tick_id = result.tick_id
)
SELECT count(*) AS count FROM owed;

-- name: ask_again_later :exec
-- fires: date_moments
-- Nothing is proven yet: ask again when the time since has doubled, and as soon as the settle time
-- is over.
WITH asked AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(asked)s) AS o (id uuid, attempt integer, token timestamptz)
)
UPDATE sends
   SET due_at = CASE WHEN now() < unknown_since + %(settle)s::interval
                     THEN LEAST(now() + GREATEST(now() - unknown_since, %(settle)s::interval / 8),
                                unknown_since + %(settle)s::interval)
                     ELSE now() + LEAST(now() - unknown_since, %(longest)s::interval) END
  FROM asked o
 WHERE sends.id = ANY(ARRAY(SELECT id FROM asked)) AND sends.id = o.id
   AND sends.attempt = o.attempt AND sends.unknown_since IS NOT NULL AND sends.due_at = o.token;
