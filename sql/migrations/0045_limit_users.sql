-- Why: some users may only read, or only edit; and whoever may not publish must not change what
-- people get who are under way.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE users ADD COLUMN is_limited boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN users.is_limited IS
    'Holds only what user_permissions has. All others hold the usual permissions, too.';
COMMENT ON COLUMN users.is_admin IS 'May administer users and tokens, and holds every permission.';
COMMENT ON TABLE user_permissions IS
    'What was granted to a user. Administrators hold all without a row here.';

CREATE FUNCTION are_under_way(messageset_ids integer[]) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- Whether people get, or will get, messages of one of these sets: an active subscription is on it,
-- or on a set that leads to it.
WITH RECURSIVE onward AS (
    SELECT unnest(messageset_ids) AS id
    UNION
    SELECT messagesets.id FROM messagesets JOIN onward ON messagesets.next_set_id = onward.id)
SELECT EXISTS (SELECT FROM onward CROSS JOIN LATERAL (
                   SELECT FROM subscriptions
                    WHERE messageset_id = onward.id AND active AND NOT completed LIMIT 1) member)
$$;

INSERT INTO schema_migrations (name) VALUES ('0045_limit_users');
COMMIT;
