-- The ledger's partitions; its rows are written where sends are settled or skipped.

-- name: make_ledger_partitions
SELECT make_ledger_partitions(%(months_ahead)s) AS made;

-- name: drop_ledger_partitions
SELECT drop_ledger_partitions(%(months_kept)s) AS dropped;
