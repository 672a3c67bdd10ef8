"""Whom to blame for a call that failed: the service, or the message and the person it was about."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Literal

from attrs import define, field

from sbm.clients.outcomes import Failed
from sbm.pipeline.breaker import TOLERATED, Breaker

# The share of different people that is counted among so many: those whose calls ended last.
RECENT = 100

# More than one in so many: the service is at fault.
SHARE = 5

# Of fewer people that fail, no share is taken: in a programme of four, one is a quarter.
FEW = 3

# A call of somebody else that ended well this long before a call began still says that the service
# was there for everybody else "at the same time".
BEFORE = timedelta(seconds=10)

# How many people that failed are remembered, so that none of them is the next probe.
MOST_FAILED = 1000


Outcome = Literal["well", "failed", "failed again"]


@define(eq=False, slots=False, kw_only=True)
class Blame:
    """Decides by the calls about other people at the same time; one for each service.

    ``seconds`` is the reactor's clock. ``is_well(but=identity)`` asks the service something that
    changes nothing, and not about this person: nobody is blamed while it has no good answer.

    A person who was blamed before (``faults`` of their send) does not open the breaker: that they
    fail again says nothing new about the service. If no calls about others are made, they are
    blamed again all the same; a person who was never blamed is not.
    """

    breaker: Breaker
    seconds: Callable[[], float]
    is_well: Callable[..., Awaitable[bool]]
    # What came of the last call about each of the last different people, oldest first.
    _recent: OrderedDict[str, Outcome] = field(factory=OrderedDict)
    # When calls went well for the last two different people: one of them is somebody else.
    _well_at: OrderedDict[str, float] = field(factory=OrderedDict)
    _failed: OrderedDict[str, None] = field(factory=OrderedDict)
    # The different people that failed, not having been blamed before, since a call went well.
    _in_a_row: set[str] = field(factory=set)

    @property
    def failed(self) -> list[str]:
        """The identities whose last call failed, as far as they are remembered."""
        return list(self._failed)

    def went_well(self, identity: str) -> None:
        """A call about this person was answered as it should be."""
        self._failed.pop(identity, None)
        if self.breaker.wait:
            return
        if self.breaker.is_probing:
            # While it was away, everybody failed: that says nothing about any of them.
            self._recent.clear()
        self.breaker.succeed()
        self._in_a_row.clear()
        self._note(identity, "well")
        self._well_at[identity] = self.seconds()
        self._well_at.move_to_end(identity)
        if len(self._well_at) > 2:
            self._well_at.popitem(last=False)

    async def is_theirs(
        self, identity: str, error: Failed, *, began_at: float, faults: int
    ) -> bool:
        """Whether the failure of a call counts against its message or person.

        ``began_at`` is when the call began, by ``seconds``; ``faults`` is how often the send was
        blamed before. If the service is at fault, its breaker is told.
        """
        self._remember_failed(identity)
        if self._is_away:
            self.breaker.fail(error)
            return False
        others_went_well = self._went_well_for_others(identity, since=began_at)
        self._note(identity, "failed again" if faults else "failed")
        if not faults:
            self._in_a_row.add(identity)
        too_many_fail = others_went_well and self._too_many_fail
        if too_many_fail and self._fails_for_all:
            self.breaker.open(error)
            return False
        if (others_went_well or faults) and await self.is_well(but=identity):
            return not too_many_fail and not self._is_away  # which others may have found meanwhile
        self.breaker.fail(error)
        return False

    @property
    def _is_away(self) -> bool:
        return bool(self.breaker.wait) or self.breaker.is_probing

    def _remember_failed(self, identity: str) -> None:
        self._failed[identity] = None
        self._failed.move_to_end(identity)
        if len(self._failed) > MOST_FAILED:
            self._failed.popitem(last=False)

    def _note(self, identity: str, outcome: Outcome) -> None:
        self._recent[identity] = outcome
        self._recent.move_to_end(identity)
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    def _went_well_for_others(self, identity: str, *, since: float) -> bool:
        earliest = since - BEFORE.total_seconds()
        return any(one != identity and at >= earliest for one, at in self._well_at.items())

    @property
    def _too_many_fail(self) -> bool:
        """Whether so many different people fail that nobody's fault counts."""
        if len(self._in_a_row) >= TOLERATED:
            return True
        failing = sum(outcome != "well" for outcome in self._recent.values())
        return failing >= FEW and failing * SHARE > len(self._recent)

    @property
    def _fails_for_all(self) -> bool:
        """Whether so many of them failed for the first time that nobody else should have to."""
        return sum(outcome == "failed" for outcome in self._recent.values()) >= TOLERATED
