-- columns:
id, username, email, is_admin, is_active, is_limited, created_at,
ARRAY(SELECT permission FROM user_permissions
       WHERE user_id = users.id ORDER BY permission) AS permissions

-- name: find_users_called :many
-- reads
-- The user of this name, and those with this e-mail address.
SELECT username, email FROM users
 WHERE username = %(called)s OR email = %(called)s
 ORDER BY id;

-- name: find_users_alike :many
-- reads
-- The users whose name or e-mail address may fold to this key: those of ASCII do, and the caller
-- compares the others, because this server does not fold as Python does.
SELECT username, email FROM users
 WHERE lower(username COLLATE "C") = %(key)s OR octet_length(username) > char_length(username)
    OR lower(email COLLATE "C") = %(key)s OR octet_length(email) > char_length(email)
 ORDER BY id;

-- name: lock_names :exec
-- reads
-- New names are compared with all others one at a time: no two that are the same can be added.
SELECT pg_advisory_xact_lock(736266, 9);

-- name: lock_administrators :exec
-- reads
-- Administrators are made others one at a time: so of two, at least one stays.
SELECT pg_advisory_xact_lock(736266, 10);

-- name: has_administrator :one
-- reads
-- Whether there is an active administrator, besides the user with this id.
SELECT EXISTS (SELECT FROM users WHERE is_admin AND is_active AND id IS DISTINCT FROM %(besides)s);

-- name: upsert_user :one
-- The user of this name, made if there is none. An administrator stays one.
INSERT INTO users (username, email, is_admin)
VALUES (%(username)s, %(email)s, %(is_admin)s)
ON CONFLICT (username) DO UPDATE SET is_admin = users.is_admin OR EXCLUDED.is_admin
RETURNING id;

-- name: insert_user :maybe
-- A new user; no row if the name is taken.
INSERT INTO users (username, email, is_admin, is_limited, password)
VALUES (%(username)s, %(email)s, %(is_admin)s, %(is_limited)s, %(password)s)
ON CONFLICT (username) DO NOTHING RETURNING id;

-- name: lock_user :maybe
-- The id of the user of this name, who is locked until the transaction ends.
SELECT id FROM users WHERE username = %(username)s FOR UPDATE;

-- name: lock_user_by_id :maybe
-- The same for the user with this id, if the id stays the same.
SELECT {columns} FROM users WHERE id = %(id)s FOR NO KEY UPDATE;

-- name: hold_user :maybe
-- Whether there is this user. If so, it cannot be deleted before this transaction ends.
SELECT id FROM users WHERE id = %(id)s FOR KEY SHARE;

-- name: find_user :maybe
-- reads
-- One user.
SELECT {columns} FROM users WHERE id = %(id)s;

-- name: list_users_page :many
-- reads
-- page: id
-- A page of users, in the order in which they were made.
SELECT {columns} FROM users
 WHERE true
  [AND username = %(username)s]
  [AND email = %(email)s]
  [AND is_active = %(is_active)s]
  [AND is_admin = %(is_admin)s]
  [AND is_limited = %(is_limited)s]
;

-- name: update_user :exec
-- New fields for a user.
UPDATE users
   SET username = %(username)s, email = %(email)s, is_admin = %(is_admin)s,
       is_active = %(is_active)s, is_limited = %(is_limited)s
 WHERE id = %(id)s;

-- name: replace_permissions :exec
-- Give a user exactly these permissions.
WITH taken AS (
    DELETE FROM user_permissions
     WHERE user_id = %(user_id)s AND permission <> ALL(%(permissions)s::text[]))
INSERT INTO user_permissions (user_id, permission)
SELECT %(user_id)s, unnest(%(permissions)s::text[])
ON CONFLICT DO NOTHING;

-- name: set_password :exec
-- Give a user another password, or a first one.
UPDATE users SET password = %(password)s WHERE id = %(user_id)s;

-- name: replace_password :exec
-- The same password, hashed in another way: only if it is still the one that was checked.
UPDATE users SET password = %(new)s WHERE id = %(user_id)s AND password = %(old)s;

-- name: set_active :exec
-- Let a user use the API, or refuse them.
UPDATE users SET is_active = %(is_active)s WHERE id = %(user_id)s;

-- name: set_admin :exec
-- Make a user an administrator, or no longer one.
UPDATE users SET is_admin = %(is_admin)s WHERE id = %(user_id)s;

-- name: set_limited :exec
-- Let a user hold only what was granted, or the usual permissions, too.
UPDATE users SET is_limited = %(is_limited)s WHERE id = %(user_id)s;

-- name: grant_permission :exec
-- Give a user this permission; they may have it already.
INSERT INTO user_permissions (user_id, permission) VALUES (%(user_id)s, %(permission)s)
ON CONFLICT DO NOTHING;

-- name: revoke_permission :exec
-- Take this permission from a user.
DELETE FROM user_permissions WHERE user_id = %(user_id)s AND permission = %(permission)s;

-- name: find_user_by_name :maybe
-- reads
-- The user, active or not, of this name, and their password as it is stored.
SELECT id, username, is_admin, is_active, is_limited, password,
       ARRAY(SELECT permission FROM user_permissions WHERE user_id = users.id) AS permissions
  FROM users WHERE username = %(username)s;

-- name: list_users :many
-- reads
-- All users by name, with the columns of a list for operators.
SELECT id, username, email, is_admin, is_active, is_limited, password IS NOT NULL AS has_password,
       ARRAY(SELECT permission FROM user_permissions
              WHERE user_id = users.id ORDER BY permission) AS permissions,
       (SELECT count(*) FROM tokens
         WHERE user_id = users.id AND revoked_at IS NULL
           AND (expires_at IS NULL OR expires_at > now())) AS tokens
  FROM users ORDER BY username;

-- name: list_uses :many
-- reads
-- Of these users: whether they have a password, how many live tokens they have, and when one of
-- their tokens was last used.
SELECT users.id AS user_id, password IS NOT NULL AS has_password, used.tokens, used.last_used_at
  FROM users CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE revoked_at IS NULL
                                 AND (expires_at IS NULL OR expires_at > now())) AS tokens,
              max(last_used_at) AS last_used_at
         FROM tokens WHERE user_id = users.id) used
 WHERE users.id = ANY(%(user_ids)s::integer[]);

-- name: make_room_for_token :one
-- How many live tokens a user has, after those that had to go are revoked: if there are %(most)s or
-- more, those that have been unused longest, if that is at least %(unused)s. The user is locked.
-- Whether a token was used before its uses were recorded is unknown: so it counts from then on.
WITH live AS (
    SELECT id, GREATEST(last_used_at, created_at, uses_recorded_since) AS used_at FROM tokens
     WHERE user_id = %(user_id)s AND revoked_at IS NULL
       AND (expires_at IS NULL OR expires_at > now())
), gone AS (
    UPDATE tokens SET revoked_at = now()
     WHERE id IN (SELECT id FROM live WHERE used_at <= now() - %(unused)s::interval
                   ORDER BY used_at, id
                   LIMIT GREATEST(0, (SELECT count(*) FROM live) - %(most)s + 1))
    RETURNING id)
SELECT (SELECT count(*) FROM live) - (SELECT count(*) FROM gone) AS live;

-- name: insert_token :maybe
-- One more token of a user; the older ones stay valid. No row if it would be expired already.
INSERT INTO tokens (user_id, digest, name, expires_at)
SELECT %(user_id)s, %(digest)s, %(name)s, %(expires_at)s
 WHERE COALESCE(%(expires_at)s::timestamptz > now(), true)
RETURNING id;

-- name: find_user_by_digest :maybe
-- reads
-- prepared
-- prompt
-- The user, active or not, whose token has this digest and is not revoked; whether the token is
-- expired; and whether its last use was noted so long ago that it must be noted again.
SELECT users.id, users.username, users.is_admin, users.is_active, users.is_limited,
       ARRAY(SELECT permission FROM user_permissions WHERE user_id = users.id) AS permissions,
       tokens.id AS token_id, COALESCE(tokens.expires_at <= now(), false) AS is_expired,
       COALESCE(tokens.last_used_at <= now() - interval '1 hour', true) AS is_use_noted_long_ago
  FROM tokens JOIN users ON users.id = tokens.user_id
 WHERE tokens.digest = %(digest)s AND tokens.revoked_at IS NULL;

-- name: list_owners_of_tokens :many
-- reads
-- The names of the users, active or not, who have a live token with one of these digests.
SELECT DISTINCT users.username
  FROM tokens JOIN users ON users.id = tokens.user_id
 WHERE tokens.digest = ANY(%(digests)s::bytea[]) AND tokens.revoked_at IS NULL
   AND (tokens.expires_at IS NULL OR tokens.expires_at > now())
 ORDER BY users.username;

-- name: note_uses_of_tokens :exec
-- Note when tokens were used, so many seconds ago: once an hour, even if several daemons do it.
UPDATE tokens SET last_used_at = now() - make_interval(secs => used.seconds)
  FROM jsonb_to_recordset(%(used)s) AS used (id integer, seconds double precision)
 WHERE tokens.id = used.id
   AND COALESCE(tokens.last_used_at <= now() - interval '1 hour', true);

-- name: find_token :maybe
-- reads
-- One token.
SELECT tokens.id, tokens.user_id, users.username, tokens.name, tokens.created_at, tokens.expires_at,
       tokens.last_used_at, tokens.revoked_at
  FROM tokens JOIN users ON users.id = tokens.user_id WHERE tokens.id = %(id)s;

-- name: list_tokens :many
-- reads
-- The tokens of the user of this name, or of all, oldest first.
SELECT tokens.id, tokens.user_id, users.username, tokens.name, tokens.created_at, tokens.expires_at,
       tokens.last_used_at, tokens.revoked_at
  FROM tokens JOIN users ON users.id = tokens.user_id
 WHERE %(username)s IS NULL OR users.username = %(username)s
 ORDER BY tokens.id;

-- name: list_tokens_page :many
-- reads
-- page: id
-- A page of tokens, oldest first.
SELECT tokens.id, tokens.user_id, users.username, tokens.name, tokens.created_at, tokens.expires_at,
       tokens.last_used_at, tokens.revoked_at
  FROM tokens JOIN users ON users.id = tokens.user_id
 WHERE true
  [AND tokens.user_id = %(user_id)s]
  [AND (tokens.revoked_at IS NULL
        AND (tokens.expires_at IS NULL OR tokens.expires_at > now())) = %(is_live)s]
;

-- name: revoke_token_by_id :exec
-- Revoke a token. No row if there is none with this id, or it is revoked already.
UPDATE tokens SET revoked_at = now() WHERE id = %(token_id)s AND revoked_at IS NULL;

-- name: revoke_token_by_digest :exec
-- The same for the token with this digest.
UPDATE tokens SET revoked_at = now() WHERE digest = %(digest)s AND revoked_at IS NULL;
