-- The ledger's partitions; its rows are written where sends are settled or skipped.

-- name: make_ledger_partitions :one
-- This month's and the next ones'; what the default partition holds of them moves there.
SELECT make_ledger_partitions(%(months_ahead)s) AS made;

-- name: drop_ledger_partitions :one
-- Those of months that are no longer kept.
SELECT drop_ledger_partitions(%(months_kept)s) AS dropped;
