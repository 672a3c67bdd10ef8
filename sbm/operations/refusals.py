"""Why an operation is refused: nothing was done, and the transaction must not be committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# Stands for an attribute where a problem is about several of them.
SEVERAL = ""


class Refused(Exception):
    """What was asked for cannot be done; the message says why, for a person."""


class NoSuchRow(Exception):
    """The row that is meant does not exist."""


class InUse(Exception):
    """A row that others refer to; it was not deleted."""

    def __init__(self, what: str, users: Sequence[str]) -> None:
        super().__init__(f"Cannot delete {what}: it is used by {' and '.join(users)}.")


class WrongValues(Exception):
    """Values that cannot be stored; ``problems`` are sentences by attribute, or for SEVERAL."""

    def __init__(self, problems: Mapping[str, Sequence[str]]) -> None:
        super().__init__(problems)
        self.problems = problems


class CannotBeSent(Exception):
    """A message that could not be sent as it is to be; ``sentences`` are about all of it."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__(sentences)
        self.sentences = sentences
