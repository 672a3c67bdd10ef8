-- name: upsert_user
-- The user of this name, made if there is none. An administrator stays one.
INSERT INTO users (username, email, is_admin)
VALUES (%(username)s, %(email)s, %(is_admin)s)
ON CONFLICT (username) DO UPDATE SET is_admin = users.is_admin OR EXCLUDED.is_admin
RETURNING id;

-- name: insert_token
-- One more token of a user; the older ones stay valid.
INSERT INTO tokens (user_id, digest) VALUES (%(user_id)s, %(digest)s);

-- name: find_user_by_digest
-- The user, active or not, whose token has this digest and is not revoked.
SELECT users.id, users.username, users.is_admin, users.is_active
  FROM tokens JOIN users ON users.id = tokens.user_id
 WHERE tokens.digest = %(digest)s AND tokens.revoked_at IS NULL;
