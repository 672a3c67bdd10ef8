-- Tokens. They are not stored here, only their digests; so what clients hold goes on working.

-- name: stage :exec
-- The old table.
CREATE TEMPORARY TABLE authtoken_token (key text, created timestamptz, user_id integer)
    ON COMMIT DROP

-- name: read :many
-- One for each user.
SELECT user_id AS id, key, created FROM authtoken_token

-- name: note :exec
-- Those of nobody. A report is no place for a token.
INSERT INTO import_notes (noun, id, fate, reason, is_apart)
SELECT 'tokens', user_id, 'left behind', 'there is no user ' || user_id, true
  FROM authtoken_token WHERE NOT EXISTS (SELECT FROM users WHERE users.id = user_id)

-- name: take :exec
-- What is not left behind.
INSERT INTO tokens (user_id, digest, created_at)
SELECT id, sha256(convert_to(key, 'UTF8')), created FROM old_tokens
 WHERE EXISTS (SELECT FROM users WHERE users.id = old_tokens.id) ORDER BY created, id

-- name: ours :many
-- The tokens that are known by their digests, as those of the same users.
SELECT m.id, m.key, m.created
  FROM old_tokens m
  JOIN tokens ON tokens.digest = sha256(convert_to(m.key, 'UTF8')) AND tokens.user_id = m.id
             AND tokens.created_at = m.created
