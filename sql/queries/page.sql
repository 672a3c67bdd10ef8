-- This is put around every statement that lists a page: see sbm/store/postgres/statements.py. A
-- list is in the order of its key, whose columns all ascend or all descend. A page begins after a
-- number of rows, or after the row that has, or had, this key; backwards, it ends before that row.
-- One row more than the page has shows whether the list goes on. The count is computed only if the
-- page alone does not show it. If nothing was found, it comes with a row of nulls.
WITH wanted AS NOT MATERIALIZED (
{wanted}
), page AS MATERIALIZED (
    (SELECT * FROM wanted
      WHERE NOT %(backwards)s AND (%(from_id)s IS NULL OR ({key}) {behind} ({from}))
      ORDER BY {order} LIMIT %(limit)s + 1 OFFSET %(offset)s)
    UNION ALL
    (SELECT * FROM wanted
      WHERE %(backwards)s AND ({key}) {before} ({from})
      ORDER BY {reversed} LIMIT %(limit)s + 1)
), total AS (
    SELECT CASE WHEN %(count)s IS NOT NULL THEN %(count)s
                WHEN found <= %(limit)s AND (found > 0 OR %(offset)s = 0) THEN %(offset)s + found
                ELSE (SELECT count(*) FROM wanted)
           END AS count
      FROM (SELECT count(*) AS found FROM page) AS counted
)
SELECT total.count, shown.* FROM total LEFT JOIN (
{shown}
) AS shown ON true
 ORDER BY {order};
