"""What operations raise if they cannot do what they were asked to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Stands in the place of an attribute if a problem is about several attributes.
SEVERAL = ""


class OperationRefused(Exception):
    """A request cannot be done, and nothing was changed; the message says why, for a person."""


class NoSuchRow(OperationRefused):
    """The row does not exist."""

    def __init__(self) -> None:
        super().__init__("It does not exist.")


class InUse(OperationRefused):
    """Other rows refer to the row, so it was not deleted."""

    def __init__(self, what: str, users: Sequence[str]) -> None:
        super().__init__(f"Cannot delete {what}: it is used by {' and '.join(users)}.")


class WrongValues(OperationRefused):
    """Values that cannot be stored; ``problems`` are sentences by attribute, or for SEVERAL."""

    def __init__(self, problems: Mapping[str, Sequence[str]]) -> None:
        told = [
            f"{name}: {' '.join(sentences)}" if name else " ".join(sentences)
            for name, sentences in problems.items()
        ]
        super().__init__("; ".join(told))
        self.problems = problems


class CannotBeSent(OperationRefused):
    """With these values, the message could not be sent; ``sentences`` are about all of it."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__(" ".join(sentences))
        self.sentences = sentences


class SimulationUnknown(OperationRefused):
    """There is no simulation with this token for this schedule, or it is too old."""

    def __init__(self) -> None:
        super().__init__(
            "Simulation-Token is not that of a simulation of this schedule in the last 24 hours."
        )


class WorldHasChanged(OperationRefused):
    """The tick would not do what was simulated, so it was not opened.

    ``simulated`` and ``now`` are the results by set, language, number, outcome, stage and reason.
    """

    def __init__(
        self, *, changed: int, allowed: int, simulated: Sequence[Any], now: Sequence[Any]
    ) -> None:
        super().__init__(
            f"The tick was not opened: since the simulation, the results of {changed} people have"
            f" changed, and at most {allowed} may have."
        )
        self.simulated, self.now = simulated, now
