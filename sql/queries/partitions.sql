-- The partitions of the ledger, its deliveries, the audit and intake, one for each month.

-- name: make_partitions :one
-- The partitions of this month and the next ones; rows for them move there from the default one.
SELECT make_partitions(%(parent)s, %(months_ahead)s) AS made;

-- name: drop_partitions :one
-- The partitions of months that are no longer kept.
SELECT drop_partitions(%(parent)s, %(months_kept)s) AS dropped;
