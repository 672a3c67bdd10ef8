-- Why: what is rare at the end of a set was written into the statements that claim and settle sends.
-- To prepare that part of a plan took a third of the time of a small batch, and was mostly not
-- needed. In functions of PL/pgSQL, a session plans it when it is needed, and keeps the plan. The
-- plan may be made while there are few rows, so it has to use the indexes all the same.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE OR REPLACE FUNCTION next_place(of_set integer, of_lang text, from_number bigint)
RETURNS TABLE (sequence_number integer, message_id integer, lang text)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 1 SET enable_seqscan = off AS $$
-- The first place from this number on; no row: the set has ended.
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT * FROM places(of_set, of_lang) place
                  WHERE place.sequence_number >= from_number
                  ORDER BY place.sequence_number LIMIT 1;
END
$$;

CREATE FUNCTION has_places(of_set integer, of_lang text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET enable_seqscan = off AS $$
-- Whether the set has anything for readers in this language.
BEGIN
    RETURN EXISTS (SELECT FROM places(of_set, of_lang));
END
$$;

CREATE FUNCTION was_sent_of(subscription_id uuid, messageset_id integer) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET enable_seqscan = off AS $$
-- Whether a message of this set was sent to the subscription from here. An imported one may have
-- been there for years; it does not go on to the next set when it is found at the end.
BEGIN
    RETURN EXISTS (
        SELECT FROM ledger
         WHERE ledger.subscription_id = was_sent_of.subscription_id
           AND ledger.messageset_id = was_sent_of.messageset_id
           AND kind = 'next' AND (outcome IN ('sent', 'adopted', 'dry-run') OR is_assumed));
END
$$;

INSERT INTO schema_migrations (name) VALUES ('0056_keep_plans_of_rare_cases');
COMMIT;
