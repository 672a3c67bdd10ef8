-- The changes that operators made by command.

-- name: insert_entry :exec
-- One change, in the transaction that makes it.
INSERT INTO audit (actor, command, reason, details)
VALUES (%(actor)s, %(command)s, %(reason)s, %(details)s);
