-- Why: when a text was wrong, nobody could say who got it: the ledger named the number of a message,
-- and the message had changed since. Now each content of a message is kept as a version, and the
-- ledger names the version that was sent, and the prepend before it. The version is written by the
-- statement that changes the message, whoever makes it: the API, a command, an import, or psql. A
-- file of another name is another content of all messages that use it.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE SEQUENCE message_version_id AS bigint;

CREATE TABLE message_versions (
    id bigint NOT NULL DEFAULT nextval('message_version_id') PRIMARY KEY,
    message_id integer NOT NULL,
    messageset_id integer NOT NULL,
    sequence_number integer NOT NULL,
    lang text NOT NULL,
    text_content text,
    file_name text,
    metadata jsonb NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by text
);
ALTER SEQUENCE message_version_id OWNED BY message_versions.id;
COMMENT ON TABLE message_versions IS
    'Each content that a message has had. They stay when the message is changed or deleted.';
COMMENT ON COLUMN message_versions.made_by IS
    'The user or the operator; null: the pipeline, psql, or before this was recorded.';
CREATE INDEX message_versions_place
    ON message_versions (messageset_id, lang, sequence_number, id);
CREATE INDEX message_versions_message_id ON message_versions (message_id, id);

-- Nothing changes between this and the triggers.
LOCK TABLE messages, binary_contents IN ACCESS EXCLUSIVE MODE;

ALTER TABLE messages ADD COLUMN version_id bigint;
COMMENT ON COLUMN messages.version_id IS 'The version that has its content of now.';
-- The content stays: no trigger of messages has anything to do.
ALTER TABLE messages DISABLE TRIGGER USER;
UPDATE messages SET version_id = nextval('message_version_id');
ALTER TABLE messages ENABLE TRIGGER USER;
ALTER TABLE messages ALTER COLUMN version_id SET DEFAULT nextval('message_version_id'),
                     ALTER COLUMN version_id SET NOT NULL;
INSERT INTO message_versions (id, message_id, messageset_id, sequence_number, lang, text_content,
                              file_name, metadata, made_at)
SELECT m.version_id, m.id, m.messageset_id, m.sequence_number, m.lang, m.text_content, b.content,
       m.metadata, m.updated_at
  FROM messages m LEFT JOIN binary_contents b ON b.id = m.binary_content_id;

CREATE FUNCTION number_message_version() RETURNS trigger
LANGUAGE plpgsql AS $$
-- Another content is another version, whatever the statement says.
BEGIN
    NEW.version_id := nextval('message_version_id');
    RETURN NEW;
END
$$;

CREATE FUNCTION keep_message_versions() RETURNS trigger
LANGUAGE plpgsql AS $$
-- The versions that a statement has made. A message that is put back as it was has one already.
BEGIN
    INSERT INTO message_versions (id, message_id, messageset_id, sequence_number, lang,
                                  text_content, file_name, metadata, made_by)
    SELECT m.version_id, m.id, m.messageset_id, m.sequence_number, m.lang, m.text_content,
           b.content, m.metadata, author() ->> 'actor'
      FROM new_messages m LEFT JOIN binary_contents b ON b.id = m.binary_content_id
     ORDER BY m.version_id
        ON CONFLICT (id) DO NOTHING;
    RETURN NULL;
END
$$;

CREATE FUNCTION renew_message_versions() RETURNS trigger
LANGUAGE plpgsql AS $$
-- All messages with this file have another content now.
BEGIN
    UPDATE messages SET version_id = nextval('message_version_id')
     WHERE binary_content_id = NEW.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER messages_renumber BEFORE UPDATE ON messages
    FOR EACH ROW
    WHEN ((OLD.messageset_id, OLD.sequence_number, OLD.lang, OLD.text_content,
           OLD.binary_content_id, OLD.metadata)
          IS DISTINCT FROM
          (NEW.messageset_id, NEW.sequence_number, NEW.lang, NEW.text_content,
           NEW.binary_content_id, NEW.metadata))
    EXECUTE FUNCTION number_message_version();
CREATE TRIGGER messages_versions_of_inserted AFTER INSERT ON messages
    REFERENCING NEW TABLE AS new_messages
    FOR EACH STATEMENT EXECUTE FUNCTION keep_message_versions();
CREATE TRIGGER messages_versions_of_updated AFTER UPDATE ON messages
    REFERENCING NEW TABLE AS new_messages
    FOR EACH STATEMENT EXECUTE FUNCTION keep_message_versions();
CREATE TRIGGER binary_contents_renamed AFTER UPDATE OF content ON binary_contents
    FOR EACH ROW WHEN (OLD.content <> NEW.content)
    EXECUTE FUNCTION renew_message_versions();

-- The audit tells what people change: the number of a version follows from that.
CREATE OR REPLACE FUNCTION audited_columns(whole jsonb, secret text[]) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
-- Columns of a row as the audit stores them: secrets are hidden, and what the service derives is
-- left out.
DECLARE
    name text;
    stored jsonb := whole - ARRAY[
        'updated_at', 'updated_by', 'joined_xid', 'joined_at', 'next_tick_at', 'next_tick_rule',
        'next_tick_set_at', 'paused_at', 'seen_at', 'last_used_at', 'version_id'];
BEGIN
    FOREACH name IN ARRAY secret LOOP
        IF stored -> name <> 'null' THEN
            stored := jsonb_set(stored, ARRAY[name], '"***"');
        END IF;
    END LOOP;
    RETURN stored;
END
$$;

ALTER TABLE sends ADD COLUMN message_version_id bigint;
ALTER TABLE ledger ADD COLUMN message_version_id bigint, ADD COLUMN prepend text;
COMMENT ON COLUMN ledger.message_version_id IS
    'The content of the message, in message_versions. Null: none was claimed, or before this was recorded.';
COMMENT ON COLUMN ledger.prepend IS 'What was sent before the text; null: nothing.';

CREATE OR REPLACE FUNCTION blank_forgotten_result() RETURNS trigger
LANGUAGE plpgsql AS $$
-- The result of a send to a person who was forgotten meanwhile, without what leads to the person.
BEGIN
    NEW.send_id := gen_random_uuid();
    NEW.outbound_id := NULL;
    NEW.prepend := NULL;
    IF NEW.reason <> '' THEN
        NEW.reason := 'the person was forgotten';
    END IF;
    RETURN NEW;
END
$$;

INSERT INTO schema_migrations (name) VALUES ('0049_keep_message_versions');
COMMIT;
