-- Why: a subscription that stands beyond the end of its content completes, but not while an editor
-- is at work, who may delete a message and add it anew. So it has to be known when the content of a
-- set in a language last changed, deletions included, whoever changes it: the API, a deleted file
-- that takes its messages along, an import, or psql. Those who complete in this way go on to the
-- next set if the ledger has a send of this set to them; the search for those behind agrees. The
-- ledger also has to tell a failure after which the subscription went on as if it had been sent to:
-- that message counts as the last one sent.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE TABLE content_changes (
    messageset_id integer NOT NULL REFERENCES messagesets ON DELETE CASCADE,
    lang text NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (messageset_id, lang)
);
COMMENT ON TABLE content_changes IS
    'When the messages of a set in a language last changed: written by triggers on messages.';

-- Nothing changes between this and the triggers.
LOCK TABLE messages IN SHARE ROW EXCLUSIVE MODE;

-- What was deleted before this is not known: as if it had been just now.
INSERT INTO content_changes (messageset_id, lang, changed_at)
SELECT DISTINCT messageset_id, lang, clock_timestamp() FROM messages;

CREATE FUNCTION note_content_changes() RETURNS trigger
LANGUAGE plpgsql AS $$
-- One row for each set and language that a statement has changed, in one order, so that two
-- statements do not wait for each other. A message that is written again as it was is no change.
-- Of a set that is being deleted, there is nothing to note.
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO content_changes (messageset_id, lang, changed_at)
        SELECT messageset_id, lang, clock_timestamp() FROM new_messages
         GROUP BY messageset_id, lang ORDER BY messageset_id, lang
            ON CONFLICT (messageset_id, lang) DO UPDATE SET changed_at = EXCLUDED.changed_at;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO content_changes (messageset_id, lang, changed_at)
        SELECT messageset_id, lang, clock_timestamp() FROM old_messages
         WHERE EXISTS (SELECT FROM messagesets WHERE id = messageset_id)
         GROUP BY messageset_id, lang ORDER BY messageset_id, lang
            ON CONFLICT (messageset_id, lang) DO UPDATE SET changed_at = EXCLUDED.changed_at;
    ELSE
        INSERT INTO content_changes (messageset_id, lang, changed_at)
        SELECT place.messageset_id, place.lang, clock_timestamp()
          FROM old_messages was
          JOIN new_messages is_now ON is_now.id = was.id
           AND (is_now.messageset_id, is_now.lang, is_now.sequence_number, is_now.text_content,
                is_now.binary_content_id, is_now.metadata)
               IS DISTINCT FROM
               (was.messageset_id, was.lang, was.sequence_number, was.text_content,
                was.binary_content_id, was.metadata)
         CROSS JOIN LATERAL (VALUES (was.messageset_id, was.lang),
                                    (is_now.messageset_id, is_now.lang))
               place (messageset_id, lang)
         WHERE EXISTS (SELECT FROM messagesets WHERE id = place.messageset_id)
         GROUP BY place.messageset_id, place.lang ORDER BY place.messageset_id, place.lang
            ON CONFLICT (messageset_id, lang) DO UPDATE SET changed_at = EXCLUDED.changed_at;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER messages_inserted AFTER INSERT ON messages
    REFERENCING NEW TABLE AS new_messages
    FOR EACH STATEMENT EXECUTE FUNCTION note_content_changes();
CREATE TRIGGER messages_updated AFTER UPDATE ON messages
    REFERENCING OLD TABLE AS old_messages NEW TABLE AS new_messages
    FOR EACH STATEMENT EXECUTE FUNCTION note_content_changes();
CREATE TRIGGER messages_deleted AFTER DELETE ON messages
    REFERENCING OLD TABLE AS old_messages
    FOR EACH STATEMENT EXECUTE FUNCTION note_content_changes();

ALTER TABLE ledger ADD COLUMN is_assumed boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN ledger.is_assumed IS
    'It may have been sent, and the subscription went on as if it had been.';

INSERT INTO schema_migrations (name) VALUES ('0027_note_content_changes');
COMMIT;
