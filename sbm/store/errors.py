"""How the database can fail its callers."""

from __future__ import annotations


class DatabaseUnavailable(Exception):
    """The database cannot be used now; what was asked for has not been done. Try again later."""


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


def one_line(error: BaseException) -> str:
    """What libpq says, which is often two lines and a tab."""
    return " ".join(str(error).split())
