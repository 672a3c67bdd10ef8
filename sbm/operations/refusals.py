"""What operations raise where they cannot do what they were asked to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# Stands for an attribute where a problem is about several of them.
SEVERAL = ""


class Refused(Exception):
    """What was asked for cannot be done, and nothing was; the message says why, for a person."""


class NoSuchRow(Refused):
    """The row that is meant does not exist."""

    def __init__(self) -> None:
        super().__init__("It does not exist.")


class InUse(Refused):
    """A row that others refer to; it was not deleted."""

    def __init__(self, what: str, users: Sequence[str]) -> None:
        super().__init__(f"Cannot delete {what}: it is used by {' and '.join(users)}.")


class WrongValues(Refused):
    """Values that cannot be stored; ``problems`` are sentences by attribute, or for SEVERAL."""

    def __init__(self, problems: Mapping[str, Sequence[str]]) -> None:
        told = [
            f"{name}: {' '.join(sentences)}" if name else " ".join(sentences)
            for name, sentences in problems.items()
        ]
        super().__init__("; ".join(told))
        self.problems = problems


class CannotBeSent(Refused):
    """A message that could not be sent as it is to be; ``sentences`` are about all of it."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__(" ".join(sentences))
        self.sentences = sentences
