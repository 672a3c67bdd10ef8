-- Files that the voice vendor has.

-- name: count_files :one
-- reads
-- How many files there are to be compared.
SELECT count(*) AS count FROM binary_contents;

-- name: note_seen_files :exec
-- The vendor's folder has these. Only those that are ours are of interest.
INSERT INTO audio_copies AS copies (name, size, seen_by)
SELECT seen.name, seen.size, %(task_id)s
  FROM unnest(%(names)s::text[], %(sizes)s::bigint[]) AS seen (name, size)
 WHERE seen.name IN (SELECT content FROM binary_contents WHERE content = ANY (%(names)s))
 ORDER BY seen.name
    ON CONFLICT (name)
    DO UPDATE SET size = EXCLUDED.size, seen_by = EXCLUDED.seen_by, seen_at = now();

-- name: note_copied_file :exec
-- This one is there now, because this task has put it there.
INSERT INTO audio_copies (name, size, seen_by, copied_by, copied_at)
VALUES (%(name)s, %(size)s, %(task_id)s, %(task_id)s, now())
    ON CONFLICT (name)
    DO UPDATE SET size = EXCLUDED.size, seen_by = EXCLUDED.seen_by, seen_at = now(),
                  copied_by = EXCLUDED.copied_by, copied_at = EXCLUDED.copied_at;

-- name: list_files_to_compare :many
-- reads
-- The next files, by id, with the size that this task knows the vendor's copy to have: null where
-- it has found none.
SELECT file.id, file.content AS name, copy.size AS size_there,
       copy.copied_by IS NOT DISTINCT FROM %(task_id)s AS is_copied
  FROM binary_contents file
  LEFT JOIN audio_copies copy ON copy.name = file.content AND copy.seen_by = %(task_id)s
 WHERE file.id > %(after)s
 ORDER BY file.id LIMIT %(limit)s;

-- name: forget_unseen_files :exec
-- What this task has not found is not there any more.
DELETE FROM audio_copies WHERE seen_by <> %(task_id)s;
