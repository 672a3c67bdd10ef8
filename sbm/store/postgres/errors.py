"""The errors of the database that callers get."""

from __future__ import annotations

import psycopg2
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone

from sbm.model import text
from sbm.runtime.already_logged import AlreadyLogged


class DatabaseUnavailable(AlreadyLogged):
    """The database cannot be used now; nothing was done. Try again later.

    The pool of connections has logged it, once for all callers.
    """


class RowLocked(DatabaseUnavailable):
    """Another transaction had locked a row for longer than a statement waits."""


class CommitUnknown(DatabaseUnavailable):
    """The connection was lost during COMMIT: it is not known whether the transaction was done."""


class DatabaseUnfit(DatabaseUnavailable):
    """The database answers, but cannot be used as it is; an operator has to repair that.

    The message is one clause, and contains nothing that clients must not see.
    """


class WrongServer(DatabaseUnfit):
    """No server that accepts writes may be used: it is an old primary, or there are two."""


class SchemaMismatch(DatabaseUnfit):
    """The schema is not the one of this release."""


class MigrationFailed(Exception):
    """A migration could not be applied: it has changed nothing, and those before it stay."""


class NotDone(Exception):
    """A transaction was surely not done, and its statements are not the cause.

    Only the pool sees it: it begins the transaction again, on another connection.
    """


class StatementMisused(psycopg2.ProgrammingError):
    """A statement was run, or returned rows, in another way than its header says."""


# The errors of a statement whose connection is gone, or that the server has cancelled.
LOST = (psycopg2.OperationalError, psycopg2.InterfaceError, ConnectionDone)

# The session has lost what it had prepared, or a migration has changed the type of a column of it.
NOT_PREPARED = (psycopg2.errors.InvalidSqlStatementName, psycopg2.errors.FeatureNotSupported)

# The errors after which a connection is not used again.
UNFIT = (NotDone, DatabaseUnfit, psycopg2.errors.ReadOnlySqlTransaction)


def told_error(error: Exception) -> Exception:
    """The error that callers get; errors of their own statements are passed on as they are."""
    if isinstance(error, psycopg2.extensions.TransactionRollbackError):
        return error
    if isinstance(error, psycopg2.errors.LockNotAvailable):
        return RowLocked(one_line(error))
    if isinstance(error, psycopg2.Error) and goes_too_far(error):
        return error
    if isinstance(error, (*LOST, psycopg2.errors.ReadOnlySqlTransaction)):
        return DatabaseUnavailable(one_line(error))
    return error


def one_line(error: BaseException) -> str:
    """The message of libpq, which often has two lines and a tab, as one line.

    It may quote a value, which can be anything.
    """
    return text.one_line(str(error))


def may_be_of_a_row(error: Exception) -> bool:
    """Whether one row of many may be the cause: then the others can go on without it.

    Such errors are data that the server or the driver cannot read, broken constraints, and all
    unexpected errors. Errors that concern all rows are not: a statement that does not fit the
    schema, a missing privilege, a server that is away.
    """
    if isinstance(error, DatabaseUnavailable):
        return isinstance(error, RowLocked)
    if isinstance(error, psycopg2.OperationalError):
        return goes_too_far(error)
    return not isinstance(
        error,
        (
            *(psycopg2.ProgrammingError, psycopg2.NotSupportedError, psycopg2.InterfaceError),
            *(CancelledError, MemoryError),
        ),
    )


def goes_too_far(error: psycopg2.Error) -> bool:
    """Whether a value exceeds a limit of the server's, such as the depth of JSON."""
    return (error.pgcode or "").startswith("54")
