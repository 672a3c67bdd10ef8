-- Sessions of the console. They end 30 minutes after their last use, and 12 hours after they began.

-- name: begin_session :one
-- A new session of a user; the id of it.
INSERT INTO console_sessions (digest, user_id, address, browser)
VALUES (%(digest)s, %(user_id)s, %(address)s, %(browser)s) RETURNING id;

-- name: find_session :maybe
-- reads
-- The session with this digest that has not ended, with its user.
SELECT s.id AS session_id, s.used_at < now() - interval '1 minute' AS is_use_noted_long_ago,
       users.id, username, is_admin, is_active, is_limited,
       ARRAY(SELECT permission FROM user_permissions
              WHERE user_id = users.id ORDER BY permission) AS permissions
  FROM console_sessions s JOIN users ON users.id = s.user_id
 WHERE s.digest = %(digest)s AND users.is_active
   AND s.used_at > now() - %(idle)s::interval AND s.began_at > now() - %(most)s::interval;

-- name: note_use :exec
-- The session was used now.
UPDATE console_sessions SET used_at = now() WHERE id = %(id)s;

-- name: list_sessions :many
-- reads
-- The sessions that have not ended, of one user or of all; the latest used first.
SELECT s.id, s.user_id, username, began_at, used_at, address, browser
  FROM console_sessions s JOIN users ON users.id = s.user_id
 WHERE s.used_at > now() - %(idle)s::interval AND s.began_at > now() - %(most)s::interval
  [AND s.user_id = %(user_id)s]
 ORDER BY used_at DESC, s.id DESC LIMIT 200;

-- name: end_session :exec
-- Revoke a session; of this user, if one is named.
DELETE FROM console_sessions
 WHERE id = %(id)s
  [AND user_id = %(user_id)s]
;

-- name: end_sessions_of :exec
-- Revoke all sessions of a user, besides this one, and the links that were not used yet.
WITH links AS (
    DELETE FROM console_links WHERE user_id = %(user_id)s
)
DELETE FROM console_sessions
 WHERE user_id = %(user_id)s
  [AND id <> %(besides)s]
;

-- name: delete_ended :exec
-- Sessions that have ended, and links that were not used in time.
WITH links AS (
    DELETE FROM console_links WHERE expires_at < now()
)
DELETE FROM console_sessions
 WHERE used_at < now() - %(idle)s::interval OR began_at < now() - %(most)s::interval;

-- name: make_link :exec
-- A link that logs this user in once.
INSERT INTO console_links (digest, user_id, expires_at)
VALUES (%(digest)s, %(user_id)s, now() + %(within)s::interval);

-- name: use_link :maybe
-- Take a link that was not used, and say whom it logs in.
DELETE FROM console_links WHERE digest = %(digest)s AND expires_at > now()
RETURNING user_id;
