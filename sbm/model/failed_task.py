"""A send that was refused or failed, and can be owed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from attrs import asdict, frozen

from sbm.model.send import Kind, Stage

# The longest texts that a filter takes: a filter may have to be kept, and found by its value.
MAX_IDENTITY = 36
MAX_REASON = 500


@frozen(kw_only=True)
class FailedTask:
    """What went wrong with a send; ``initiated_at`` is when it was first attempted."""

    id: int
    send_id: UUID
    kind: Kind
    stage: Stage
    reason: str
    subscription_id: UUID
    initiated_at: datetime


@frozen(kw_only=True)
class Wanted:
    """Which failures are meant: all that match; None is no filter.

    ``reason_contains`` is a part of the reason, in any case. The times are aware and inclusive.
    """

    kind: Kind | None = None
    stage: Stage | None = None
    subscription_id: UUID | None = None
    identity: str | None = None
    reason_contains: str | None = None
    initiated_after: datetime | None = None
    initiated_before: datetime | None = None

    def written(self) -> dict[str, str]:
        """The filter as texts, for as long as it has to be kept."""
        told = {name: value for name, value in asdict(self).items() if value is not None}
        return {
            name: value.isoformat() if isinstance(value, datetime) else str(value)
            for name, value in told.items()
        }

    @classmethod
    def read(cls, written: Mapping[str, str]) -> Wanted:
        """The filter that was written so."""
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

EVERYTHING = Wanted()


@frozen(kw_only=True)
class Requeued:
    """What became of failures that were taken from the list: owed again, or skipped.

    ``last_id`` is the newest of those that were looked at (``seen``), ``reason`` is why one was
    skipped. Those that somebody else had ``locked`` were left in the list. If it ``goes_on``, a
    task does the others.
    """

    taken: int = 0
    owed: int = 0
    last_id: int = 0
    reason: str = ""
    seen: int = 0
    locked: int = 0
    goes_on: bool = False
