-- How the planner plans the rest of a transaction.

-- name: read_in_order :exec
-- reads
-- For the rest of the transaction: do not sort if an index has the order. When the planner expects
-- few rows, it would read and sort all of them, again for every part of a list.
SELECT set_config('enable_sort', 'off', true);
