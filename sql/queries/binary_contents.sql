-- name: find_binary_contents :many
-- reads
-- Those of these files that exist.
SELECT id, content, created_at, updated_at FROM binary_contents WHERE id = ANY (%(ids)s);

-- name: hold_binary_content :maybe
-- Whether there is this file, which then cannot be deleted before this transaction ends: it is
-- about to be referred to.
SELECT id FROM binary_contents WHERE id = %(id)s FOR KEY SHARE;

-- name: insert_binary_content :one
-- A file that has been stored below the media folder under this name.
INSERT INTO binary_contents (content) VALUES (%(content)s)
RETURNING id, content, created_at, updated_at;

-- name: replace_binary_content :maybe
-- Another file in the place of the one that was stored, for all messages that carry it.
UPDATE binary_contents SET content = %(content)s, updated_at = now() WHERE id = %(id)s
RETURNING id, content, created_at, updated_at;

-- name: delete_binary_content :exec
-- A file, and the messages that carry it.
DELETE FROM binary_contents WHERE id = %(id)s;

-- name: list_binary_contents :many
-- reads
-- A page of files, in the order in which they were made.
-- A row more than the page has tells whether the list goes on; the count is worked out only where
-- the page alone does not tell it, and comes with a row of nulls where nothing was found.
WITH wanted AS NOT MATERIALIZED (
    SELECT id, content, created_at, updated_at
      FROM binary_contents
), page AS MATERIALIZED (
    (SELECT * FROM wanted
      WHERE NOT %(backwards)s AND (%(from_id)s IS NULL OR id > %(from_id)s)
      ORDER BY id LIMIT %(limit)s + 1 OFFSET %(offset)s)
    UNION ALL
    (SELECT * FROM wanted
      WHERE %(backwards)s AND id < %(from_id)s
      ORDER BY id DESC LIMIT %(limit)s + 1)
), total AS (
    SELECT CASE WHEN %(count)s IS NOT NULL THEN %(count)s
                WHEN found <= %(limit)s AND (found > 0 OR %(offset)s = 0) THEN %(offset)s + found
                ELSE (SELECT count(*) FROM wanted)
           END AS count
      FROM (SELECT count(*) AS found FROM page) AS counted
)
SELECT total.count, page.* FROM total LEFT JOIN page ON true ORDER BY page.id;
