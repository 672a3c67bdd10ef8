"""Whom to blame for a call that failed: the service, or the message and the person it was about."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import takewhile
from typing import Literal

from attrs import define, field

from sbm.clients.outcomes import Failed
from sbm.pipeline.breaker import TOLERATED, Breaker

# More than one in so many people fails: the service is at fault.
SHARE = 5

# Of fewer people that fail, no share is taken: in a programme of four, one is a quarter.
FEW = 3

# Calls that ended this long before a call began still happened "at the same time".
BEFORE = timedelta(seconds=10)

# Beyond those ten seconds, the share is taken of all who were first called about in this time. For
# when the others are done, those who fail are the only ones that are called about.
MEMORY = timedelta(hours=1)

# Of so many people at most.
MOST_RECENT = 10_000

# So many people with whom it went well last are witnesses; nobody is their own.
WITNESSES = 2

# How many people that failed are remembered, so that none of them is the next probe.
MOST_FAILED = 1000

CallOutcome = Literal["well", "failed", "failed again"]


@define(eq=False, slots=False, kw_only=True)
class Blame:
    """Decides by the calls about other people at the same time; one for each service.

    ``seconds`` is the reactor's clock. ``is_well(but=identity)`` asks the service something that
    changes nothing, and not about this person: nobody is blamed while it has no good answer. A
    service that does not offer the question (None) is taken for well once any call went well.

    A person *fails again* who was blamed before (``faults`` of their send), or whose last call
    failed while later ones about others went well. That says nothing new about the service, so it
    does not open the breaker; and they are blamed even if no others are called about any more. A
    person who fails for the first time is blamed only while calls about others go well.
    """

    breaker: Breaker
    seconds: Callable[[], float]
    is_well: Callable[..., Awaitable[bool | None]]
    # What came of the last call about each person, and when the first one ended, oldest first. A
    # person who fails and is tried again is no newer: else a few would soon outnumber the others.
    _recent: OrderedDict[str, tuple[CallOutcome, float]] = field(factory=OrderedDict)
    # How many of them came to what: all of them are too many to be counted each time.
    _totals: Counter[CallOutcome] = field(factory=Counter)
    # With whom it went well last, and when.
    _witnesses: OrderedDict[str, float] = field(factory=OrderedDict)
    # When the last call about a person failed.
    _failed: OrderedDict[str, float] = field(factory=OrderedDict)
    # When a call went well; and the people that failed for the first time since, in calls that were
    # begun since.
    _went_well_at: float = float("-inf")
    _in_a_row: set[str] = field(factory=set)

    @property
    def failed(self) -> list[str]:
        """The identities whose last call failed, as far as they are remembered."""
        return list(self._failed)

    def went_well(self, identity: str) -> None:
        """A call about this person was answered as it should be."""
        self._failed.pop(identity, None)
        self._note(identity, "well")
        self._witnesses[identity] = self.seconds()
        self._witnesses.move_to_end(identity)
        if len(self._witnesses) > WITNESSES:
            self._witnesses.popitem(last=False)
        self.is_there()

    def is_there(self) -> None:
        """The service has answered something as it should."""
        if self.breaker.is_probing:
            # Who failed before it was away, and fails now, fails again.
            for one, (outcome, at) in self._recent.items():
                if outcome == "failed":
                    self._recent[one] = ("failed again", at)
            self._totals["failed again"] += self._totals.pop("failed", 0)
        self.breaker.succeed()
        self._in_a_row.clear()
        self._went_well_at = self.seconds()

    async def is_theirs(
        self, identity: str, error: Failed, *, began_at: float, faults: int
    ) -> bool:
        """Whether the failure of a call counts against its message or person.

        ``began_at`` is when the call began, by ``seconds``; ``faults`` is how often the send was
        blamed before. If the service is at fault, its breaker is told.
        """
        again = faults > 0 or self._fails_again(identity)
        self._remember_failed(identity)
        if self._is_away:
            self.breaker.fail(error)
            return False
        if not faults or identity in self._recent:
            self._note(identity, "failed again" if again else "failed")
        if not again and began_at > self._went_well_at:
            self._in_a_row.add(identity)
        since = began_at - BEFORE.total_seconds()
        counts = self._counts(since)
        too_many_fail = (
            len(self._in_a_row) >= TOLERATED or _is_too_many(counts) or _is_too_many(self._totals)
        )
        if too_many_fail and max(counts["failed"], len(self._in_a_row)) >= TOLERATED:
            self.breaker.open(error)
            return False
        judges = self._has_witness(since, but=identity) or again
        if judges and await self._is_well(identity):
            return not too_many_fail and not self._is_away  # which others may have found meanwhile
        self.breaker.fail(error)
        return False

    async def _is_well(self, identity: str) -> bool:
        is_well = await self.is_well(but=identity)
        # Where a call went well, the address is right.
        return self._went_well_at > float("-inf") if is_well is None else is_well

    @property
    def _is_away(self) -> bool:
        return bool(self.breaker.wait) or self.breaker.is_probing

    def _fails_again(self, identity: str) -> bool:
        failed_at = self._failed.get(identity)
        return failed_at is not None and self._has_witness(failed_at, but=identity)

    def _has_witness(self, since: float, *, but: str) -> bool:
        return any(one != but and at >= since for one, at in self._witnesses.items())

    def _remember_failed(self, identity: str) -> None:
        self._failed[identity] = self.seconds()
        self._failed.move_to_end(identity)
        if len(self._failed) > MOST_FAILED:
            self._failed.popitem(last=False)

    def _note(self, identity: str, outcome: CallOutcome) -> None:
        at = now = self.seconds()
        if identity in self._recent and self._recent[identity][0] != "well":
            self._totals[self._recent[identity][0]] -= 1
            at = self._recent[identity][1]
        else:
            self._forget(identity)
        self._recent[identity] = (outcome, at)
        self._totals[outcome] += 1
        self._forget_old(now - MEMORY.total_seconds())

    def _forget_old(self, before: float) -> None:
        while self._recent:
            identity, (_, at) = next(iter(self._recent.items()))
            if at >= before and len(self._recent) <= MOST_RECENT:
                return
            self._forget(identity)

    def _forget(self, identity: str) -> None:
        if identity in self._recent:
            outcome, _ = self._recent.pop(identity)
            self._totals[outcome] -= 1

    def _counts(self, since: float) -> Counter[CallOutcome]:
        """How many people's last calls came to what, of those first called about since then."""
        recent = takewhile(lambda called: called[1] >= since, reversed(self._recent.values()))
        return Counter(outcome for outcome, _ in recent)


def _is_too_many(counts: Counter[CallOutcome]) -> bool:
    """Whether so many different people fail that nobody's fault counts."""
    failing = counts["failed"] + counts["failed again"]
    return bool(counts["well"]) and failing >= FEW and failing * SHARE > counts.total()
