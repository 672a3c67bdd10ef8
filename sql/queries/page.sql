-- This is put around every statement that lists a page: see sbm/store/postgres/statements.py. A
-- list is in the order of its key, whose columns all ascend or all descend. A page begins after a
-- number of rows, or after the row that has, or had, this key; backwards, it ends before that row.
-- One row more than the page has shows whether the list goes on. The count is computed only if the
-- page alone does not show it. If nothing was found, it comes with a row of nulls.
--
-- A page may be read in portions: then only its first %(portion)s rows are shown, and of these no
-- row that comes after %(bytes)s bytes of JSON and texts. One row is always shown. The columns "end_…"
-- are the key of the last row of the page, up to which the other portions are read.
WITH wanted AS NOT MATERIALIZED (
{wanted}
), found AS MATERIALIZED (
{window}
), page AS MATERIALIZED (
    SELECT * FROM found
     ORDER BY {order} LIMIT LEAST(%(limit)s::bigint, %(portion)s::bigint) OFFSET {beyond_begin}
), ending AS (
    SELECT {key} FROM found WHERE %(portion)s::bigint IS NOT NULL
     ORDER BY {reversed} LIMIT 1 OFFSET {beyond_end}
), total AS (
    SELECT found, {ends}, CASE WHEN %(count)s::bigint IS NOT NULL THEN %(count)s::bigint
                       WHEN found <= %(limit)s::bigint AND (found > 0 OR %(offset)s::bigint = 0)
                       THEN %(offset)s::bigint + found
                       ELSE (SELECT count(*) FROM wanted)
                  END AS count
      FROM (SELECT count(*) AS found FROM found) AS counted
)
{result}

-- result: whole
SELECT total.*, shown.* FROM total LEFT JOIN (
{shown}
) AS shown ON true
 ORDER BY {order};

-- result: sized
SELECT * FROM (
    SELECT total.*, shown.*,
           sum({size}) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) - {size} AS bytes_before
      FROM total LEFT JOIN (
{shown}
) AS shown ON true) AS sized
 WHERE %(bytes)s::bigint IS NULL OR bytes_before < %(bytes)s::bigint
 ORDER BY {order};

-- window: first
SELECT * FROM wanted
 ORDER BY {order} LIMIT %(limit)s::bigint + 1 OFFSET %(offset)s::bigint

-- window: after
SELECT * FROM wanted
 WHERE ({key}) {behind} ({from})
 ORDER BY {order} LIMIT %(limit)s::bigint + 1

-- window: between
SELECT * FROM wanted
 WHERE ({key}) {behind} ({from}) AND NOT ({key}) {behind} ({until})
 ORDER BY {order} LIMIT %(limit)s::bigint

-- window: before
SELECT * FROM wanted
 WHERE ({key}) {before} ({from})
 ORDER BY {reversed} LIMIT %(limit)s::bigint + 1
