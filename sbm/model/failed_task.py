"""Failed tasks: sends that were refused or failed, and can be owed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from attrs import asdict, field, frozen

from sbm.model.send import SendKind, Stage

# The longest texts in a filter. A filter may be stored, and found by its value.
MAX_IDENTITY = 36
MAX_REASON = 500


@frozen(kw_only=True)
class FailedTask:
    """How a send failed; ``initiated_at`` is the time of its first attempt."""

    id: int
    send_id: UUID
    kind: SendKind
    stage: Stage
    reason: str
    subscription_id: UUID
    initiated_at: datetime


@frozen(kw_only=True)
class FailedTaskFilter:
    """A filter of failed tasks: all conditions must match; None is no condition.

    ``reason_contains`` is a part of the reason, in upper or lower case; ``cause`` is that of a
    FailureGroup. The times are aware and inclusive.
    """

    kind: SendKind | None = None
    stage: Stage | None = None
    subscription_id: UUID | None = None
    identity: str | None = None
    reason_contains: str | None = None
    initiated_after: datetime | None = None
    initiated_before: datetime | None = None
    cause: str | None = None

    def written(self) -> dict[str, str]:
        """The filter as texts, as it is stored."""
        told = {name: value for name, value in asdict(self).items() if value is not None}
        return {
            name: value.isoformat() if isinstance(value, datetime) else str(value)
            for name, value in told.items()
        }

    @classmethod
    def read(cls, written: Mapping[str, str]) -> FailedTaskFilter:
        """The filter that ``written`` made these texts of."""
        told: dict[str, Any] = dict(written)
        for name, read in _READ.items():
            if name in told:
                told[name] = read(told[name])
        return cls(**told)


_READ: Mapping[str, Callable[[str], Any]] = {
    "subscription_id": UUID,
    "initiated_after": datetime.fromisoformat,
    "initiated_before": datetime.fromisoformat,
}

EVERYTHING = FailedTaskFilter()


@frozen(kw_only=True)
class FailureGroup:
    """Failed tasks of one stage and cause: the reason without long numbers and ids.

    ``days`` are how many of them have failed on each of the last seven days, today last.
    """

    stage: Stage
    cause: str
    count: int
    last_at: datetime
    days: Sequence[int] = field(converter=tuple)


@frozen(kw_only=True)
class Requeued:
    """How many failed tasks were taken from the list, and how many of them were owed again.

    ``seen`` is how many were looked at, and ``last_id`` the newest of them. The tasks that were
    taken and not owed again were skipped; ``reason`` is why one of them was. Tasks that another
    transaction had ``locked`` stay in the list. If it ``goes_on``, a task requeues the rest.
    """

    taken: int = 0
    owed: int = 0
    last_id: int = 0
    reason: str = ""
    seen: int = 0
    locked: int = 0
    goes_on: bool = False
