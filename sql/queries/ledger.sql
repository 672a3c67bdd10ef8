-- The ledger as a list, the newest rows first. Nothing is counted: there may be a hundred million.
-- Each statement is for filters that an index serves: see sbm/operations/ledger.py. A page begins
-- after the row with this time and id; the time is a condition by itself, too, because that leaves
-- out the partitions of later months.

-- columns:
l.id, l.settled_at, l.send_id, l.tick_id, l.kind, l.outcome, l.stage, l.reason,
       reason_kind(l.kind, l.outcome, l.stage, l.reason) AS reason_kind, l.subscription_id,
       l.identity, l.messageset_id, l.sequence_number, l.lang, l.attempts, l.outbound_id, l.owed_at,
       l.first_attempt_at, l.actor, l.message_version_id, l.prepend

-- name: list_ledger :many
-- reads
-- The next rows that match: of all, a tick, a message, an outcome that is not "sent", or a kind of
-- reason. Such outcomes and reasons have partial indexes, whose condition is repeated here. Within a
-- tick, stages and reasons are compared in a way that no index has: the index of the tick finds few
-- rows, and those of stages and reasons might find those of years.
WITH page AS MATERIALIZED (
    SELECT * FROM ledger
     WHERE settled_at <= %(from_settled_at)s
       AND (settled_at, id) < (%(from_settled_at)s::timestamptz, %(from_id)s::bigint)
      [AND tick_id = %(tick_id)s]
      [AND messageset_id::bigint = %(messageset_id)s]
      [AND sequence_number = %(sequence_number)s]
      [AND lang = %(lang)s]
      [AND message_version_id = %(message_version_id)s]
      [AND outcome NOT IN ('sent', 'adopted', 'dry-run') AND outcome = %(outcome)s]
      [AND stage = %(stage)s]
      [AND outcome NOT IN ('sent', 'adopted', 'dry-run')
       AND reason_kind(kind, outcome, stage, reason) = %(reason_kind)s]
      [AND stage || '' = %(stage_in_tick)s]
      [AND reason_kind(kind, outcome, stage, reason) || '' = %(reason_kind_in_tick)s]
      [AND settled_at >= %(settled_after)s]
      [AND settled_at <= %(settled_before)s]
     ORDER BY settled_at DESC, id DESC LIMIT %(limit)s
)
SELECT {columns}, d.delivered, d.attempts AS delivery_attempts, d.nack_reason
  FROM page l LEFT JOIN LATERAL (
       SELECT delivered, attempts, nack_reason FROM deliveries
        WHERE deliveries.settled_at = l.settled_at AND ledger_id = l.id OFFSET 0) d ON true
 ORDER BY l.settled_at DESC, l.id DESC;

-- name: list_ledger_of_person :many
-- reads
-- The next rows of a person, or of a subscription, that match. They are few, so all are read.
WITH own AS MATERIALIZED (
    SELECT * FROM ledger
     WHERE true
      [AND identity = %(identity)s]
      [AND subscription_id = %(subscription_id)s]
)
SELECT {columns}, d.delivered, d.attempts AS delivery_attempts, d.nack_reason
  FROM own l LEFT JOIN LATERAL (
       SELECT delivered, attempts, nack_reason FROM deliveries
        WHERE deliveries.settled_at = l.settled_at AND ledger_id = l.id OFFSET 0) d ON true
 WHERE (l.settled_at, l.id) < (%(from_settled_at)s::timestamptz, %(from_id)s::bigint)
  [AND tick_id = %(tick_id)s]
  [AND messageset_id = %(messageset_id)s]
  [AND sequence_number = %(sequence_number)s]
  [AND lang = %(lang)s]
  [AND message_version_id = %(message_version_id)s]
  [AND outcome = %(outcome)s]
  [AND stage = %(stage)s]
  [AND reason_kind(kind, outcome, stage, reason) = %(reason_kind)s]
  [AND d.delivered = %(delivered)s]
  [AND l.settled_at >= %(settled_after)s]
  [AND l.settled_at <= %(settled_before)s]
 ORDER BY l.settled_at DESC, l.id DESC LIMIT %(limit)s;

-- name: list_undelivered :many
-- reads
-- The next rows whose messages were not delivered, of all or of a set.
WITH page AS MATERIALIZED (
    SELECT settled_at, ledger_id, delivered, attempts, nack_reason FROM deliveries
     WHERE NOT delivered AND settled_at <= %(from_settled_at)s
       AND (settled_at, ledger_id) < (%(from_settled_at)s::timestamptz, %(from_id)s::bigint)
      [AND messageset_id = %(messageset_id)s]
      [AND settled_at >= %(settled_after)s]
      [AND settled_at <= %(settled_before)s]
     ORDER BY settled_at DESC, ledger_id DESC LIMIT %(limit)s
)
SELECT {columns}, d.delivered, d.attempts AS delivery_attempts, d.nack_reason
  FROM page d CROSS JOIN LATERAL (
       SELECT * FROM ledger
        WHERE ledger.settled_at = d.settled_at AND ledger.id = d.ledger_id OFFSET 0) l
 ORDER BY l.settled_at DESC, l.id DESC;

-- name: find_version :maybe
-- reads
-- A version of a message, and when the next one took its place.
SELECT v.id, v.message_id, v.messageset_id, v.sequence_number, v.lang, v.text_content, v.file_name,
       v.metadata::text AS metadata, v.made_at, v.made_by,
       (SELECT made_at FROM message_versions later
         WHERE later.message_id = v.message_id AND later.id > v.id
         ORDER BY later.id LIMIT 1) AS replaced_at
  FROM message_versions v WHERE v.id = %(id)s;

-- name: list_versions :many
-- reads
-- page: id DESC
-- sized: metadata, text_content
-- A page of the versions of messages, the newest first.
SELECT id FROM message_versions
 WHERE true
  [AND message_id = %(message_id)s]
  [AND messageset_id = %(messageset_id)s]
  [AND lang = %(lang)s]
  [AND sequence_number = %(sequence_number)s]
-- shown:
SELECT v.id, v.message_id, v.messageset_id, v.sequence_number, v.lang, v.text_content, v.file_name,
       v.metadata::text AS metadata, v.made_at, v.made_by,
       (SELECT made_at FROM message_versions later
         WHERE later.message_id = v.message_id AND later.id > v.id
         ORDER BY later.id LIMIT 1) AS replaced_at
  FROM page JOIN message_versions v USING (id);
