"""How the database can fail its callers."""

from __future__ import annotations


class DatabaseUnavailable(Exception):
    """The database cannot be used now; what was asked for has not been done. Try again later."""


class CommitUnknown(DatabaseUnavailable):
    """The connection was lost during COMMIT: the transaction was done, or it was not."""


class SchemaMismatch(DatabaseUnavailable):
    """The database answers, but it is not one that this release can work on."""


class MigrationFailed(Exception):
    """A migration could not be applied: it has changed nothing, and those before it stay."""


def one_line(error: BaseException) -> str:
    """What libpq says, which is often two lines and a tab."""
    return " ".join(str(error).split())
