-- Why: clients page through the subscriptions and filter them, by any column, and may do so in a
-- table of millions. Nothing that a send changes on its way (next_sequence_number, updated_at) is
-- indexed, or its update would no longer be heap-only; these two are looked for in one pass over
-- the table.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

-- The order of the list, with all that a filter may ask for and that stands still from one send to
-- the next: any combination of filters, and its count, is answered from this index alone, in one
-- pass at worst, however the rows that match are strewn.
DROP INDEX subscriptions_newest;
CREATE INDEX subscriptions_newest ON subscriptions (created_at DESC, id DESC)
    INCLUDE (messageset_id, schedule_id, process_status, version, initial_sequence_number,
             created_by, updated_by, active, completed, lang);

-- Where matches may be few and far between, they stand together, in that same order, with what is
-- most often asked besides.
DROP INDEX subscriptions_messageset_id;
CREATE INDEX subscriptions_messageset_id ON subscriptions
    (messageset_id, created_at DESC, id DESC) INCLUDE (active, completed, process_status);
DROP INDEX subscriptions_schedule_id;
CREATE INDEX subscriptions_schedule_id ON subscriptions
    (schedule_id, created_at DESC, id DESC) INCLUDE (active, completed, process_status);
CREATE INDEX subscriptions_lang ON subscriptions
    (lang, created_at DESC, id DESC) INCLUDE (active, completed, process_status);

-- The exceptions only: most subscriptions are under way, and cost nothing here until they end.
CREATE INDEX subscriptions_inactive ON subscriptions (created_at DESC, id DESC) WHERE NOT active;
CREATE INDEX subscriptions_completed ON subscriptions (created_at DESC, id DESC) WHERE completed;
CREATE INDEX subscriptions_process_status
    ON subscriptions (process_status, created_at DESC, id DESC) WHERE process_status <> 0;

-- Keys of metadata, and metadata that is one text. Without the list of pending entries, which some
-- unlucky insert would have to work off.
CREATE INDEX subscriptions_metadata ON subscriptions USING gin (metadata) WITH (fastupdate = off);

INSERT INTO schema_migrations (name) VALUES ('0009_index_filters');
COMMIT;
