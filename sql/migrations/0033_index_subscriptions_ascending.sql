-- Why: a new subscription is the newest of all, of its message set, of its schedule and of its
-- language. In a descending index it comes first. PostgreSQL divides a full page there in the middle,
-- and half of each page stays empty. At the end of an index, or of a group in it, a full page is left
-- as it is, and a new page begins. Lists read an ascending index backwards, at the same cost.
--
-- Measured with 20,000 subscriptions that were made one by one: see
-- docs/decisions/0103-statements-and-transactions.rst.
--
-- While the indexes are built, nothing can be written to the table: some seconds for a million rows.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

DROP INDEX subscriptions_newest;
DROP INDEX subscriptions_messageset_id;
DROP INDEX subscriptions_schedule_id;
DROP INDEX subscriptions_lang;

CREATE INDEX subscriptions_newest ON subscriptions (created_at, id)
       INCLUDE (messageset_id, schedule_id, process_status, version, initial_sequence_number,
                created_by, updated_by, active, completed, lang);
CREATE INDEX subscriptions_messageset_id ON subscriptions (messageset_id, created_at, id)
       INCLUDE (active, completed, process_status);
CREATE INDEX subscriptions_schedule_id ON subscriptions (schedule_id, created_at, id)
       INCLUDE (active, completed, process_status);
CREATE INDEX subscriptions_lang ON subscriptions (lang, created_at, id)
       INCLUDE (active, completed, process_status);

INSERT INTO schema_migrations (name) VALUES ('0033_index_subscriptions_ascending');
COMMIT;
