"""The ledger balance: each trigger of a tick has one row in the ledger, or is a live send."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from attrs import frozen


@frozen(kw_only=True)
class TickToCheck:
    """A tick whose balance is to be computed; ``missing`` is the result of the last time."""

    id: int
    triggers: int
    missing: int


@frozen(kw_only=True)
class TickBalance:
    """The ledger balance of one tick at one moment.

    A closed tick does not change any more. If a tick is not kept, a part of its ledger was dropped,
    so that its balance cannot be computed. ``outcomes`` counts the settled sends by outcome.
    """

    tick_id: int
    source: str
    state: str
    due_at: datetime
    triggers: int
    settled: int
    outcomes: Mapping[str, int]
    live: int
    is_closed: bool
    is_kept: bool

    @property
    def missing(self) -> int:
        """Triggers without a row in the ledger or a live send; negative if there are too many."""
        return self.triggers - self.settled - self.live

    @property
    def is_unbalanced(self) -> bool:
        """Whether the tick is unbalanced."""
        return self.is_kept and self.missing != 0

    @property
    def is_done(self) -> bool:
        """Whether it is a tick of a schedule, and all its sends have ended."""
        return (
            self.is_closed
            and self.missing == 0
            and self.source != "single"
            and self.state != "missed"
        )

    @property
    def summary(self) -> str:
        """How the sends of the tick ended, for people."""
        ends = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        return f"tick {self.tick_id} ({self.source}, {self.due_at.isoformat(' ', 'seconds')}): " + (
            ends if self.triggers else "it had no members"
        )

    def __str__(self) -> str:
        return (
            f"tick {self.tick_id} ({self.source}, {self.due_at.isoformat(' ', 'seconds')}):"
            f" {self.triggers} triggers, {self.settled} in the ledger, {self.live} live"
        )


def batches(ticks: Iterable[TickToCheck], *, most: int) -> Iterator[list[TickToCheck]]:
    """The ticks in batches of at most ``most`` triggers, or of a single tick; small ones first.

    The small ones come first because a large tick may take too long to count.
    """
    batch: list[TickToCheck] = []
    triggers = 0
    for tick in sorted(ticks, key=lambda tick: tick.triggers):
        if batch and triggers + tick.triggers > most:
            yield batch
            batch, triggers = [], 0
        batch.append(tick)
        triggers += tick.triggers
    if batch:
        yield batch
