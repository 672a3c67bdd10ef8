-- Tokens. Only their digests are stored here, so the tokens that clients have stay valid.

-- name: stage :exec
-- A copy of the old table.
CREATE TEMPORARY TABLE authtoken_token (key text, created timestamptz, user_id integer)
    ON COMMIT DROP

-- name: read :many
-- One token for each user.
SELECT user_id AS id, key, created FROM authtoken_token

-- name: note :exec
-- Left behind: tokens without a user. The token itself must not be in the report.
INSERT INTO import_notes (noun, id, fate, reason, is_apart)
SELECT 'tokens', user_id, 'left behind', 'there is no user ' || user_id, true
  FROM authtoken_token WHERE NOT EXISTS (SELECT FROM users WHERE users.id = user_id)

-- name: take :exec
-- Import the rows that are not left behind.
INSERT INTO tokens (user_id, digest, created_at)
SELECT id, sha256(convert_to(key, 'UTF8')), created FROM old_tokens
 WHERE EXISTS (SELECT FROM users WHERE users.id = old_tokens.id) ORDER BY created, id

-- name: ours :many
-- The tokens whose digests are stored, for the same users.
SELECT m.id, m.key, m.created
  FROM old_tokens m
  JOIN tokens ON tokens.digest = sha256(convert_to(m.key, 'UTF8')) AND tokens.user_id = m.id
             AND tokens.created_at = m.created
