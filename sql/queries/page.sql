-- This is put around every statement that lists a page: see sbm/store/postgres/statements.py. A
-- list is in the order of its key, whose columns all ascend or all descend. A page begins after a
-- number of rows, or after the row that has, or had, this key; backwards, it ends before that row.
-- One row more than the page has shows whether the list goes on. The count is computed only if the
-- page alone does not show it. If nothing was found, it comes with a row of nulls.
--
-- A page may be read in portions: then only its first %(portion)s rows are shown, and of these no
-- row that comes after %(bytes)s bytes of JSON and texts. One row is always shown.
WITH wanted AS NOT MATERIALIZED (
{wanted}
), found AS MATERIALIZED (
{window}
), page AS MATERIALIZED (
    SELECT * FROM found
     ORDER BY {order} LIMIT LEAST(%(limit)s::bigint, %(portion)s::bigint) OFFSET {beyond}
), total AS (
    SELECT found, CASE WHEN %(count)s::bigint IS NOT NULL THEN %(count)s::bigint
                       WHEN found <= %(limit)s::bigint AND (found > 0 OR %(offset)s::bigint = 0)
                       THEN %(offset)s::bigint + found
                       ELSE (SELECT count(*) FROM wanted)
                  END AS count
      FROM (SELECT count(*) AS found FROM found) AS counted
)
{result}

-- result: whole
SELECT total.count, total.found, shown.* FROM total LEFT JOIN (
{shown}
) AS shown ON true
 ORDER BY {order};

-- result: sized
SELECT * FROM (
    SELECT total.count, total.found, shown.*,
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

-- window: before
SELECT * FROM wanted
 WHERE ({key}) {before} ({from})
 ORDER BY {reversed} LIMIT %(limit)s::bigint + 1
