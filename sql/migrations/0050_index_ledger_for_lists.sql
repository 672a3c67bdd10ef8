-- Why: the ledger can be listed: by time, tick, message, outcome and kind of reason, and each page
-- comes from an index, also of 24 months with a million sends a week. Rows that were not sent are few,
-- so they have indexes of their own, which cost a send that goes out nothing. Of the others, one is
-- new (the message), one has two more columns (the tick), and the primary key begins with the time,
-- which is the order of the list.
--
-- While they are built nothing can be written to the ledger: about ten seconds for a million rows.
-- Partitions that have such indexes already are not read again: see "Upgrading" in the manual.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE FUNCTION reason_kind(kind text, outcome text, stage text, reason text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
-- Why a message was not sent, as one of a few kinds; null: it was sent. Indexes are built with it: if
-- it changes, they have to be built again.
SELECT CASE
       WHEN outcome IN ('sent', 'adopted', 'dry-run') THEN NULL
       WHEN kind = 'move' THEN 'moved'
       WHEN reason = 'it was paused when the tick came' THEN 'paused'
       WHEN reason = 'it is older than max_age' THEN 'too-old'
       WHEN reason IN ('the tick before it was still being sent',
                       'a message is already owed to the subscription',
                       'a resend is already owed to the subscription',
                       'the Message Sender had the message of this tick already') THEN 'already-owed'
       WHEN reason LIKE 'the subscription is completed%' THEN 'completed'
       WHEN reason LIKE 'the subscription is not active%' THEN 'inactive'
       WHEN reason LIKE 'the subscription is in error%' THEN 'in-error'
       WHEN reason LIKE 'the subscription was deleted%' THEN 'deleted'
       WHEN stage = 'content' AND reason LIKE 'message % is missing in %: the subscription waits for it'
       THEN 'no-translation'
       WHEN stage = 'content' AND reason LIKE '% has no message in %' THEN 'no-language'
       WHEN stage = 'content' AND reason LIKE '% has no further message in %' THEN 'at-end'
       WHEN stage = 'content' THEN 'content'
       WHEN stage = 'address' THEN 'no-address'
       WHEN stage = 'post' AND outcome = 'refused' THEN 'refused'
       WHEN stage = 'post' THEN 'failed'
       ELSE 'other' END
$$;

ALTER TABLE ledger DROP CONSTRAINT ledger_pkey;
ALTER TABLE ledger ADD CONSTRAINT ledger_pkey PRIMARY KEY (settled_at, id);

CREATE INDEX ledger_tick ON ledger (tick_id, settled_at, id);
DROP INDEX ledger_tick_id;
-- The set is written as another type, so that these two serve the lists alone: a planner with wrong
-- statistics would also read one of them for a subscription, of which it then finds a whole set.
CREATE INDEX ledger_message
    ON ledger ((messageset_id::bigint), sequence_number, lang, settled_at, id);

CREATE INDEX ledger_unsent_outcome ON ledger (outcome, settled_at, id)
 WHERE outcome NOT IN ('sent', 'adopted', 'dry-run');
CREATE INDEX ledger_unsent_stage ON ledger (outcome, stage, settled_at, id)
 WHERE outcome NOT IN ('sent', 'adopted', 'dry-run');
CREATE INDEX ledger_unsent_kind
    ON ledger (reason_kind(kind, outcome, stage, reason), settled_at, id)
 WHERE outcome NOT IN ('sent', 'adopted', 'dry-run');
CREATE INDEX ledger_unsent_tick ON ledger (tick_id, outcome, settled_at, id)
 WHERE outcome NOT IN ('sent', 'adopted', 'dry-run');
CREATE INDEX ledger_unsent_messageset ON ledger ((messageset_id::bigint), outcome, settled_at, id)
 WHERE outcome NOT IN ('sent', 'adopted', 'dry-run');

INSERT INTO schema_migrations (name) VALUES ('0050_index_ledger_for_lists');
COMMIT;
