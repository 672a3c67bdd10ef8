-- The files of messages: their names. The files themselves are not in the database.

-- name: stage :exec
-- A copy of the old table.
CREATE TEMPORARY TABLE contentstore_binarycontent (
    id integer, content text, created_at timestamptz, updated_at timestamptz
) ON COMMIT DROP

-- name: read :many
-- All files are in one folder, and each needs a name of its own. If a name is taken, the file gets
-- its id in front of the name; if that is taken as well, it gets a name that no other file has.
SELECT id, CASE WHEN number = 1 THEN name
                WHEN id || '-' || right(name, 85) NOT IN (
                         SELECT replace(content, '/', '_') FROM contentstore_binarycontent)
                THEN id || '-' || right(name, 85)
                ELSE md5('file ' || id) || '-' || right(name, 60) END AS content,
       created_at, updated_at
  FROM (SELECT id, created_at, updated_at, replace(content, '/', '_') AS name,
               row_number() OVER (PARTITION BY replace(content, '/', '_') ORDER BY id) AS number
          FROM contentstore_binarycontent) AS numbered

-- name: note :exec
-- Changed: files that get another name. Left behind: files without a name.
INSERT INTO import_notes (noun, id, fate, reason, is_apart, was)
SELECT 'binary_contents', s.id, 'left behind', 'it names no file', true, to_jsonb(s)
  FROM contentstore_binarycontent s WHERE s.content = '';
INSERT INTO import_notes (noun, id, fate, reason, was)
SELECT 'binary_contents', m.id, 'changed',
       'its file gets another name: all lie in one folder, each with a name of its own',
       jsonb_build_object('content', s.content)
  FROM old_binary_contents m JOIN contentstore_binarycontent s USING (id)
 WHERE m.content <> s.content AND s.content <> ''

-- name: take :exec
-- Import the rows that are not left behind.
INSERT INTO binary_contents (id, content, created_at, updated_at)
SELECT m.id, m.content, m.created_at, m.updated_at
  FROM old_binary_contents m JOIN contentstore_binarycontent s USING (id) WHERE s.content <> ''

-- name: ours :many
-- The rows as they are now, for the checksum.
SELECT id, content, created_at, updated_at FROM binary_contents
