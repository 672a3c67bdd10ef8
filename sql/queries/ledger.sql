-- The ledger's partitions. Its rows are written when sends are settled or skipped.

-- name: make_ledger_partitions :one
-- The partitions of this month and the next ones; rows for them move there from the default one.
SELECT make_ledger_partitions(%(months_ahead)s) AS made;

-- name: drop_ledger_partitions :one
-- The partitions of months that are no longer kept.
SELECT drop_ledger_partitions(%(months_kept)s) AS dropped;
