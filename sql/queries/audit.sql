-- What operators did by command.

-- name: insert_entry :exec
-- One deed, in the transaction that it was done in.
INSERT INTO audit (actor, command, reason, details)
VALUES (%(actor)s, %(command)s, %(reason)s, %(details)s);
