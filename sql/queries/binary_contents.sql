-- name: find_binary_contents
-- Those of these files that exist.
SELECT id, content, created_at, updated_at FROM binary_contents WHERE id = ANY (%(ids)s);

-- name: hold_binary_content
-- Whether there is this file, which then cannot be deleted before this transaction ends: it is
-- about to be referred to.
SELECT id FROM binary_contents WHERE id = %(id)s FOR KEY SHARE;

-- name: insert_binary_content
-- A file that has been stored below the media folder under this name.
INSERT INTO binary_contents (content) VALUES (%(content)s)
RETURNING id, content, created_at, updated_at;
