"""How the database can fail its callers."""

from __future__ import annotations

import psycopg2
from twisted.internet.defer import CancelledError

from sbm.runtime.already_told import AlreadyTold


class DatabaseUnavailable(AlreadyTold):
    """The database cannot be used now; what was asked for has not been done. Try again later.

    The pool of connections has logged it, once for all that meet it.
    """


class RowLocked(DatabaseUnavailable):
    """Somebody else had a row locked for longer than we wait."""


class CommitUnknown(DatabaseUnavailable):
    """The connection was lost during COMMIT: the transaction was done, or it was not."""


class DatabaseUnfit(DatabaseUnavailable):
    """The database answers, but cannot be worked with as it is; an operator has to mend that.

    The message is one clause, and holds nothing that must be kept from clients.
    """


class SchemaMismatch(DatabaseUnfit):
    """The schema is not the one of this release."""


class MigrationFailed(Exception):
    """A migration could not be applied: it has changed nothing, and those before it stay."""


class StatementMisused(psycopg2.ProgrammingError):
    """A statement was run, or answered, in another way than its text and its caller agree on."""


def one_line(error: BaseException) -> str:
    """What libpq says, which is often two lines and a tab."""
    return " ".join(str(error).split())


def may_be_of_a_row(error: Exception) -> bool:
    """Whether one row of many may be the reason: then the others can go on without it.

    That is what the server or the driver cannot read, what breaks a rule, and what nobody has
    thought of. It is not what holds for all rows alike: a statement that does not fit the schema, a
    right that is missing, a server that is away.
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
