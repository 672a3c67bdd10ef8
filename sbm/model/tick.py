"""A tick: "now", said for a schedule, and its progress."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from attrs import frozen

from sbm.model.hold import HoldReason

TickState = Literal["expanding", "expanded", "missed"]
Source = Literal["clock", "post-back"]


def share_up_to(subscription_id: UUID) -> float:
    """The share of all subscriptions up to this one: their ids are random."""
    return subscription_id.int / 2**128


@frozen(kw_only=True)
class Tick:
    """A tick, with its progress.

    ``triggers`` and ``live`` were counted together, just now. ``outcomes`` counts the ended sends
    by outcome, at ``counted_at``; it is None if they were not counted yet. ``follows`` is the tick
    before it, if that tick still had live sends. ``source`` is a Source, or "single". ``hold`` says
    why it is held back, None if it is not. ``stopped_by`` is who stopped it for good, if somebody
    did. ``skipped_again`` members are in ``outcomes`` and not in the ledger: the row of an earlier
    tick says why they were skipped.
    """

    id: int
    source: str
    state: TickState
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
    hold: HoldReason | None = None
    stopped_by: str | None = None
    stopped_at: datetime | None = None
    skipped_again: int = 0

    @property
    def is_open(self) -> bool:
        """Whether anything of it can still be sent or skipped."""
        return self.state == "expanding" or self.live > 0

    @property
    def members(self) -> int:
        """About how many members it has; while it is being expanded, this is an estimate."""
        share = share_up_to(self.expanded_up_to) if self.state == "expanding" else 0.0
        return max(self.triggers, round(self.triggers / share)) if share else self.triggers

    @property
    def settled(self) -> int:
        """How many of its sends are settled."""
        return self.triggers - self.live

    @property
    def expanded_share(self) -> float:
        """The approximate share of its members that were expanded: their ids are random."""
        if self.state == "expanding":
            return round(share_up_to(self.expanded_up_to), 4)
        return 1.0 if self.state == "expanded" else 0.0


@frozen(kw_only=True)
class UnsentCount:
    """How many sends of a tick ended in the same way, without a message.

    ``is_part``: the tick may have more than were counted.
    """

    tick_id: int
    outcome: str
    stage: str
    reason_kind: str
    count: int
    is_part: bool = False


@frozen(kw_only=True)
class TicksOfOneDay:
    """How many sends all ticks of a day have asked for, and how many of them were sent.

    ``sent`` is of the last count, and without those that were asked for single subscriptions.
    """

    day: date
    asked_for: int
    sent: int
