-- Files that the voice vendor has.

-- name: count_files :one
-- reads
-- How many files there are to compare.
SELECT count(*) AS count FROM binary_contents;

-- name: note_seen_files :exec
-- The vendor's folder has these files. Those that are not ours are ignored.
INSERT INTO audio_copies AS copies (name, size, seen_by)
SELECT seen.name, seen.size, %(task_id)s
  FROM unnest(%(names)s::text[], %(sizes)s::bigint[]) AS seen (name, size)
 WHERE seen.name IN (SELECT content FROM binary_contents WHERE content = ANY (%(names)s))
 ORDER BY seen.name
    ON CONFLICT (name)
    DO UPDATE SET size = EXCLUDED.size, seen_by = EXCLUDED.seen_by, seen_at = now();

-- name: note_copied_file :exec
-- The vendor has this file now, because this task has copied it.
INSERT INTO audio_copies (name, size, seen_by, copied_by, copied_at)
VALUES (%(name)s, %(size)s, %(task_id)s, %(task_id)s, now())
    ON CONFLICT (name)
    DO UPDATE SET size = EXCLUDED.size, seen_by = EXCLUDED.seen_by, seen_at = now(),
                  copied_by = EXCLUDED.copied_by, copied_at = EXCLUDED.copied_at;

-- name: list_files_to_compare :many
-- reads
-- The next files, by id, with the size of the vendor's copy as this task has found it: null if it
-- has found none.
SELECT file.id, file.content AS name, copy.size AS size_there,
       copy.copied_by IS NOT DISTINCT FROM %(task_id)s AS is_copied
  FROM binary_contents file
  LEFT JOIN audio_copies copy ON copy.name = file.content AND copy.seen_by = %(task_id)s
 WHERE file.id > %(after)s
 ORDER BY file.id LIMIT %(limit)s;

-- name: forget_unseen_files :exec
-- Files that this task has not found: they are not there any more.
DELETE FROM audio_copies WHERE seen_by <> %(task_id)s;
