-- Why: a person's data must be erasable, also while a message to them is being sent. The sums and
-- the balance of the ledger stay true, so its rows stay, with a random mark in place of the identity.
--
-- A send that a daemon has in hand, or whose outcome is unknown, gets the mark while it is live. Its
-- identity is needed until it is known whether it was sent, and is in asked_identity until then.
-- Whoever settles it writes the mark. So nothing has to wait, and nothing of the person comes back.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE sends ADD COLUMN asked_identity text;
COMMENT ON COLUMN sends.asked_identity IS
    'Of a person who was forgotten: the identity, until it is known whether it was sent.';
CREATE INDEX sends_asked_identity ON sends (asked_identity) WHERE asked_identity IS NOT NULL;

CREATE TABLE forgotten_sends (
    digest bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    forgotten_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE forgotten_sends IS
    'Sends of people who were forgotten: the Message Sender may still have their outbounds, which are no evidence that this database lost anything.';
COMMENT ON COLUMN forgotten_sends.digest IS 'SHA-256 of the id of the send.';
CREATE INDEX forgotten_sends_forgotten_at ON forgotten_sends (forgotten_at);

CREATE INDEX failed_tasks_identity ON failed_tasks (identity);
CREATE INDEX audit_commands ON audit (id) WHERE operation IS NULL;

CREATE FUNCTION send_digest(send_id uuid) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
-- As forgotten_sends has it.
SELECT sha256(uuid_send(send_id))
$$;

CREATE FUNCTION unlinked_id(secret text, former uuid) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
-- The id that replaces this one in all rows: without the secret, which is not stored, neither leads
-- to the other.
SELECT member_send_id(secret, former)
$$;

CREATE FUNCTION mentions(told text, needles text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
-- Whether a text has one of these in it; they are in lower case.
SELECT EXISTS (SELECT FROM unnest(needles) needle WHERE strpos(lower(told), needle) > 0)
$$;

CREATE FUNCTION blank_forgotten_result() RETURNS trigger
LANGUAGE plpgsql AS $$
-- The result of a send to a person who was forgotten meanwhile, without what leads to the person.
BEGIN
    NEW.send_id := gen_random_uuid();
    NEW.outbound_id := NULL;
    IF NEW.reason <> '' THEN
        NEW.reason := 'the person was forgotten';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER forgotten_result BEFORE INSERT ON ledger FOR EACH ROW
    WHEN (starts_with(NEW.identity, 'forgotten-')) EXECUTE FUNCTION blank_forgotten_result();

CREATE FUNCTION drop_forgotten_failure() RETURNS trigger
LANGUAGE plpgsql AS $$
-- What failed for a person who was forgotten cannot be sent again. The ledger has it.
BEGIN
    RETURN NULL;
END
$$;
CREATE TRIGGER forgotten_result BEFORE INSERT ON failed_tasks FOR EACH ROW
    WHEN (starts_with(NEW.identity, 'forgotten-')) EXECUTE FUNCTION drop_forgotten_failure();

CREATE OR REPLACE FUNCTION queue_send() RETURNS trigger
LANGUAGE plpgsql AS $$
-- Puts a send that becomes owed into its queue. It was surely not sent, so that nobody has to ask
-- about it: of a person who was forgotten, nothing is left in it.
BEGIN
    SELECT s.schedule_id,
           CASE WHEN NEW.kind = 'resend' THEN COALESCE(NEW.messageset_id, s.messageset_id)
                ELSE s.messageset_id END
      INTO NEW.queue_schedule_id, NEW.queue_messageset_id
      FROM subscriptions s WHERE s.id = NEW.subscription_id;
    NEW.queue_schedule_id := COALESCE(NEW.queue_schedule_id, 0);
    NEW.queue_messageset_id := COALESCE(NEW.queue_messageset_id, 0);
    IF NEW.asked_identity IS NOT NULL THEN
        NEW.asked_identity := NULL;
        NEW.reason := '';
        NEW.answers := '{}';
    END IF;
    RETURN NEW;
END
$$;

-- The place of an expansion is the id of a subscription. It is only needed while it goes on.
UPDATE ticks SET expanded_up_to = DEFAULT
 WHERE state <> 'expanding' AND expanded_up_to <> '00000000-0000-0000-0000-000000000000';
COMMENT ON COLUMN ticks.expanded_up_to IS
    'The last subscription that was expanded, while the tick is being expanded.';

INSERT INTO schema_migrations (name) VALUES ('0047_forget_people');
COMMIT;
