"""A tick that has work left, and when it will be done."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from attrs import frozen

from sbm.model.hold import HoldReason
from sbm.model.tick import TickState, share_up_to

# A tick that would take longer has hardly begun: something is in its way.
LONGEST = timedelta(days=30)


@frozen(kw_only=True)
class OpenTick:
    """A tick of a schedule; ``triggers`` and ``live`` were counted together, at ``now``.

    ``hold`` says why it is held back, None if it is not.
    """

    id: int
    source: str
    state: TickState
    schedule_id: int
    due_at: datetime
    created_at: datetime
    triggers: int
    live: int
    expanded_up_to: UUID
    now: datetime
    hold: HoldReason | None = None

    @property
    def settled(self) -> int:
        """How many of its sends are settled."""
        return self.triggers - self.live

    @property
    def members(self) -> int:
        """About how many members it has; while it is being expanded, this is an estimate."""
        if self.state != "expanding":
            return self.triggers
        share = share_up_to(self.expanded_up_to)
        return self.triggers if not share else max(self.triggers, round(self.triggers / share))

    @property
    def per_second(self) -> float | None:
        """How many of its sends were settled in a second, up to now; None: none were."""
        took = (self.now - self.created_at).total_seconds()
        return self.settled / took if self.settled and took > 0 else None

    @property
    def expected_end(self) -> datetime | None:
        """When it is settled if it goes on as fast as up to now; None: that cannot be said yet."""
        took = (self.now - self.created_at).total_seconds()
        if not self.settled or took < 0 or self.hold is not None:
            return None
        left = took * (self.members - self.settled) / self.settled
        return self.now + timedelta(seconds=left) if left < LONGEST.total_seconds() else None
