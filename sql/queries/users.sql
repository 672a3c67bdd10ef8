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

-- name: upsert_user :one
-- The user of this name, made if there is none. An administrator stays one.
INSERT INTO users (username, email, is_admin)
VALUES (%(username)s, %(email)s, %(is_admin)s)
ON CONFLICT (username) DO UPDATE SET is_admin = users.is_admin OR EXCLUDED.is_admin
RETURNING id;

-- name: insert_user :maybe
-- A new user; no row if the name is taken.
INSERT INTO users (username, email, is_admin, password)
VALUES (%(username)s, %(email)s, %(is_admin)s, %(password)s)
ON CONFLICT (username) DO NOTHING RETURNING id;

-- name: lock_user :maybe
-- The id of the user of this name, who is locked until the transaction ends.
SELECT id FROM users WHERE username = %(username)s FOR UPDATE;

-- name: set_password :exec
-- Give a user another password, or a first one.
UPDATE users SET password = %(password)s WHERE id = %(user_id)s;

-- name: replace_password :exec
-- The same password, hashed in another way: only if it is still the one that was checked.
UPDATE users SET password = %(new)s WHERE id = %(user_id)s AND password = %(old)s;

-- name: set_active :exec
-- Let a user use the API, or refuse them.
UPDATE users SET is_active = %(is_active)s WHERE id = %(user_id)s;

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
SELECT id, username, is_admin, is_active, password,
       ARRAY(SELECT permission FROM user_permissions WHERE user_id = users.id) AS permissions
  FROM users WHERE username = %(username)s;

-- name: list_users :many
-- reads
-- All users by name, with the columns of a list for operators.
SELECT id, username, email, is_admin, is_active, password IS NOT NULL AS has_password,
       ARRAY(SELECT permission FROM user_permissions
              WHERE user_id = users.id ORDER BY permission) AS permissions,
       (SELECT count(*) FROM tokens WHERE user_id = users.id AND revoked_at IS NULL) AS tokens
  FROM users ORDER BY username;

-- name: insert_token :exec
-- One more token of a user; the older ones stay valid.
INSERT INTO tokens (user_id, digest) VALUES (%(user_id)s, %(digest)s);

-- name: find_user_by_digest :maybe
-- reads
-- prepared
-- prompt
-- The user, active or not, whose token has this digest and is not revoked.
SELECT users.id, users.username, users.is_admin, users.is_active,
       ARRAY(SELECT permission FROM user_permissions WHERE user_id = users.id) AS permissions
  FROM tokens JOIN users ON users.id = tokens.user_id
 WHERE tokens.digest = %(digest)s AND tokens.revoked_at IS NULL;

-- name: list_tokens :many
-- reads
-- The tokens of the user of this name, or of all, oldest first.
SELECT tokens.id, users.username, tokens.created_at, tokens.revoked_at
  FROM tokens JOIN users ON users.id = tokens.user_id
 WHERE %(username)s IS NULL OR users.username = %(username)s
 ORDER BY tokens.id;

-- name: revoke_token_by_id :exec
-- Revoke a token. No row if there is none with this id, or it is revoked already.
UPDATE tokens SET revoked_at = now() WHERE id = %(token_id)s AND revoked_at IS NULL;

-- name: revoke_token_by_digest :exec
-- The same for the token with this digest.
UPDATE tokens SET revoked_at = now() WHERE digest = %(digest)s AND revoked_at IS NULL;
