"""Decides what is at fault if a call failed: the service, or the call's message and person."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import takewhile
from typing import Literal

from attrs import define, field

from sbm.clients.outcomes import Failed
from sbm.model.latest import remember
from sbm.pipeline.breaker import TOLERATED, Breaker

# If more than one in so many people fails, the service is at fault.
SHARE = 5

# If fewer people than this fail, the share does not count: one of four people is a quarter.
FEW = 3

# Calls that ended this long before a call began still happened "at the same time".
BEFORE = timedelta(seconds=10)

# Besides those ten seconds, the share is computed over all people whose first call was within this
# time. When the sends to all others are done, only those that fail are still called about.
MEMORY = timedelta(hours=1)

# How many people are remembered at most.
MOST_RECENT = 10_000

# The people of the last successful calls are witnesses, so many of them. A person is never a
# witness for themselves.
WITNESSES = 2

# How many people whose call failed are remembered, so that none of them is the next probe.
MOST_FAILED = 1000

CallOutcome = Literal["well", "failed", "failed again"]


@define(eq=False, slots=False, kw_only=True)
class Blame:
    """Decides by the calls about other people at the same time. Each service has its own.

    ``seconds`` is the reactor's clock. ``is_well(but=identity)`` asks the service a question that
    changes nothing and is not about this person: without a good answer, no person is blamed. If
    the service does not offer such a question (None), it counts as well once any call went well.

    A person *fails again* if they were blamed before (``faults`` of their send), or if their last
    call failed while later calls about others went well. That says nothing new about the service,
    so it does not open the breaker. Such a person is blamed even if there are no calls about others
    any more. A person who fails for the first time is blamed only while calls about others go well.
    """

    breaker: Breaker
    seconds: Callable[[], float]
    is_well: Callable[..., Awaitable[bool | None]]
    # The outcome of the last call about each person, and when their first call ended, oldest first.
    # Another failure of the same person keeps that time: else a few people would soon outnumber the
    # others.
    _recent: OrderedDict[str, tuple[CallOutcome, float]] = field(factory=OrderedDict)
    # How many of them have each outcome: there are too many to count them each time.
    _totals: Counter[CallOutcome] = field(factory=Counter)
    # The people of the last successful calls, and when those ended.
    _witnesses: OrderedDict[str, float] = field(factory=OrderedDict)
    # When the last call about a person failed.
    _failed: OrderedDict[str, float] = field(factory=OrderedDict)
    # When the last call went well, and the people who have failed for the first time since, in
    # calls that began since.
    _went_well_at: float = float("-inf")
    _in_a_row: set[str] = field(factory=set)

    @property
    def failed(self) -> list[str]:
        """The identities whose last call failed, as far as they are remembered."""
        return list(self._failed)

    def went_well(self, identity: str) -> None:
        """A call about this person got a good answer."""
        now = self.seconds()
        self._failed.pop(identity, None)
        self._note(identity, "well", now)
        remember(self._witnesses, identity, now, most=WITNESSES)
        self.is_there()

    def is_there(self) -> None:
        """The service gave a good answer."""
        if self.breaker.is_probing:
            # People who failed before the service was away fail again if they fail now.
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
            self._note(identity, "failed again" if again else "failed", self.seconds())
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
            return not too_many_fail and not self._is_away  # another call may have found it away
        self.breaker.fail(error)
        return False

    async def _is_well(self, identity: str) -> bool:
        is_well = await self.is_well(but=identity)
        # If a call went well, the address of the service is right.
        return self._went_well_at > float("-inf") if is_well is None else is_well

    @property
    def _is_away(self) -> bool:
        return self.breaker.is_open or self.breaker.is_probing

    def _fails_again(self, identity: str) -> bool:
        failed_at = self._failed.get(identity)
        return failed_at is not None and self._has_witness(failed_at, but=identity)

    def _has_witness(self, since: float, *, but: str) -> bool:
        return any(one != but and at >= since for one, at in self._witnesses.items())

    def _remember_failed(self, identity: str) -> None:
        remember(self._failed, identity, self.seconds(), most=MOST_FAILED)

    def _note(self, identity: str, outcome: CallOutcome, now: float) -> None:
        at = now
        before = self._recent.get(identity)
        if before is not None and before[0] != "well":
            self._totals[before[0]] -= 1
            at = before[1]
        elif before is not None:
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
        """How many people have each outcome, of those whose first call was since then."""
        recent = takewhile(lambda called: called[1] >= since, reversed(self._recent.values()))
        return Counter(outcome for outcome, _ in recent)


def _is_too_many(counts: Counter[CallOutcome]) -> bool:
    """Whether so many different people fail that no fault counts against a person."""
    failing = counts["failed"] + counts["failed again"]
    return bool(counts["well"]) and failing >= FEW and failing * SHARE > counts.total()
