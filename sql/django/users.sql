-- Users. Their names and the times of their last logins are not imported.

-- name: stage :exec
-- A copy of the old table.
CREATE TEMPORARY TABLE auth_user (
    id integer, password text, is_superuser boolean, username text, email text, is_staff boolean,
    is_active boolean, date_joined timestamptz
) ON COMMIT DROP

-- name: read :many
-- Staff and superusers become administrators. If a hash cannot be checked, the user has no
-- password.
SELECT id, CASE WHEN username = '' THEN 'user-' || id ELSE username END AS username,
       COALESCE(email, '') AS email, is_staff OR is_superuser AS is_admin, is_active,
       date_joined AS created_at,
       CASE WHEN password LIKE 'pbkdf2\_sha256$%' THEN password END AS password
  FROM auth_user

-- name: note :exec
-- Changed: users that need another password. If a password was unusable before, nothing is noted.
INSERT INTO import_notes (noun, id, fate, reason, was)
SELECT 'users', s.id, 'changed', 'the hash of the password is of a kind not known here: it is gone',
       jsonb_build_object('username', s.username)
  FROM old_users m JOIN auth_user s USING (id)
 WHERE m.password IS NULL AND s.password <> '' AND s.password NOT LIKE '!%'
 UNION ALL
SELECT 'users', s.id, 'changed', 'there was no user name', '{"username": ""}'
  FROM auth_user s WHERE s.username = ''

-- name: take :exec
-- Import all of them.
INSERT INTO users (id, username, email, is_admin, is_active, created_at, password)
SELECT id, username, email, is_admin, is_active, created_at, password FROM old_users

-- name: ours :many
-- The rows as they are now, for the checksum.
SELECT id, username, email, is_admin, is_active, created_at, password FROM users
