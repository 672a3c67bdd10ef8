-- columns:
id, content, created_at, updated_at

-- name: find_binary_contents :many
-- reads
-- Those of these files that exist.
SELECT {columns} FROM binary_contents WHERE id = ANY (%(ids)s);

-- name: hold_binary_content :maybe
-- Whether there is this file. If so, it cannot be deleted before this transaction ends: another row
-- will refer to it.
SELECT id FROM binary_contents WHERE id = %(id)s FOR KEY SHARE;

-- name: insert_binary_content :one
-- A file that has been stored below the media folder under this name.
INSERT INTO binary_contents (content) VALUES (%(content)s)
RETURNING {columns};

-- name: replace_binary_content :maybe
-- fires: binary_contents_renamed
-- Replace the stored file by another one, for all messages that use it.
UPDATE binary_contents SET content = %(content)s, updated_at = now() WHERE id = %(id)s
RETURNING {columns};

-- name: delete_binary_content :exec
-- fires: messages_deleted
-- A file, and the messages that use it.
DELETE FROM binary_contents WHERE id = %(id)s;

-- name: list_binary_contents :many
-- reads
-- page: id
-- A page of files, in the order in which they were made.
SELECT {columns} FROM binary_contents;

-- name: is_file_under_way :one
-- reads
-- Whether people who are under way get messages of a set that uses this file.
SELECT are_under_way(ARRAY(SELECT messageset_id FROM messages WHERE binary_content_id = %(id)s));
