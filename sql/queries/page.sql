-- This is put around every statement that lists a page: see sbm/store/postgres/statements.py. A
-- list is in the order of its key, whose columns all ascend or all descend. A page begins after a
-- number of rows, or after the row that has, or had, this key; backwards, it ends before that row.
-- One row more than the page has shows whether the list goes on. The count is computed only if the
-- page alone does not show it. If nothing was found, it comes with a row of nulls.
WITH wanted AS NOT MATERIALIZED (
{wanted}
), page AS MATERIALIZED (
{window}
), total AS (
    SELECT CASE WHEN %(count)s::bigint IS NOT NULL THEN %(count)s::bigint
                WHEN found <= %(limit)s::bigint AND (found > 0 OR %(offset)s::bigint = 0)
                THEN %(offset)s::bigint + found
                ELSE (SELECT count(*) FROM wanted)
           END AS count
      FROM (SELECT count(*) AS found FROM page) AS counted
)
SELECT total.count, shown.* FROM total LEFT JOIN (
{shown}
) AS shown ON true
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
