"""A tick: "now" for a schedule, and how far it has come."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal
from uuid import UUID

from attrs import frozen

State = Literal["expanding", "expanded", "missed"]
Source = Literal["clock", "post-back"]


@frozen(kw_only=True)
class Tick:
    """A tick, with its progress.

    ``triggers`` and ``live`` are of one moment, the present; ``outcomes``, how many sends ended in
    which, are of ``counted_at``, or None: they were not counted yet. ``follows`` is the tick before
    it, if that was still being sent. ``source`` is that of a whole schedule, or "single".
    """

    id: int
    source: str
    state: State
    schedule_id: int | None
    due_at: datetime
    follows: int | None
    opened_by: str | None
    triggers: int
    expanded_up_to: UUID
    created_at: datetime
    expanded_at: datetime | None
    live: int
    outcomes: Mapping[str, int] | None
    counted_at: datetime | None

    @property
    def settled(self) -> int:
        """How many of its sends have come to an end."""
        return self.triggers - self.live

    @property
    def expanded_share(self) -> float:
        """About how much of its schedule it has gone through: the ids of members are random."""
        if self.state == "expanding":
            return round(self.expanded_up_to.int / 2**128, 4)
        return 1.0 if self.state == "expanded" else 0.0
