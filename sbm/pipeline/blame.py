"""Whom to blame for a call that failed: the service, or the message and the person it was about."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
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

# So many people are remembered: more than are sent to in the time that counts.
MOST_RECENT = 10_000

# How many people that failed are remembered, so that none of them is the next probe.
MOST_FAILED = 1000

Outcome = Literal["well", "failed", "failed again"]


@define(eq=False, slots=False, kw_only=True)
class Blame:
    """Decides by the calls about other people at the same time; one for each service.

    ``seconds`` is the reactor's clock. ``is_well(but=identity)`` asks the service something that
    changes nothing, and not about this person: nobody is blamed while it has no good answer.

    A person *fails again* who was blamed before (``faults`` of their send), or whose last call
    failed while later ones about others went well. That says nothing new about the service, so it
    does not open the breaker; and they are blamed even if no others are called about any more. A
    person who fails for the first time is blamed only while calls about others go well.
    """

    breaker: Breaker
    seconds: Callable[[], float]
    is_well: Callable[..., Awaitable[bool]]
    # What came of the last call about each person, and when it ended, oldest first.
    _recent: OrderedDict[str, tuple[Outcome, float]] = field(factory=OrderedDict)
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
        self.is_there()

    def is_there(self) -> None:
        """The service has answered something as it should."""
        if self.breaker.is_probing:
            # While it was away, everybody failed: that says nothing about any of them.
            for failed in [one for one, (outcome, _) in self._recent.items() if outcome != "well"]:
                del self._recent[failed]
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
        self._note(identity, "failed again" if again else "failed")
        if not again and began_at > self._went_well_at:
            self._in_a_row.add(identity)
        counts = self._counts(identity, since=began_at - BEFORE.total_seconds())
        too_many_fail = bool(counts["well"]) and self._is_too_many(counts)
        if too_many_fail and max(counts["failed"], len(self._in_a_row)) >= TOLERATED:
            self.breaker.open(error)
            return False
        if (counts["well"] or again) and await self.is_well(but=identity):
            return not too_many_fail and not self._is_away  # which others may have found meanwhile
        self.breaker.fail(error)
        return False

    @property
    def _is_away(self) -> bool:
        return bool(self.breaker.wait) or self.breaker.is_probing

    def _is_too_many(self, counts: Counter[Outcome]) -> bool:
        """Whether so many different people fail that nobody's fault counts."""
        failing = counts["failed"] + counts["failed again"]
        return len(self._in_a_row) >= TOLERATED or (
            failing >= FEW and failing * SHARE > counts.total()
        )

    def _fails_again(self, identity: str) -> bool:
        failed_at = self._failed.get(identity)
        return failed_at is not None and any(
            one != identity and outcome == "well" for one, outcome in self._since(failed_at)
        )

    def _remember_failed(self, identity: str) -> None:
        self._failed[identity] = self.seconds()
        self._failed.move_to_end(identity)
        if len(self._failed) > MOST_FAILED:
            self._failed.popitem(last=False)

    def _note(self, identity: str, outcome: Outcome) -> None:
        self._recent[identity] = (outcome, self.seconds())
        self._recent.move_to_end(identity)
        if len(self._recent) > MOST_RECENT:
            self._recent.popitem(last=False)

    def _counts(self, identity: str, *, since: float) -> Counter[Outcome]:
        """How many people's last calls came to what; nobody is a witness against themselves."""
        return Counter(
            outcome for one, outcome in self._since(since) if one != identity or outcome != "well"
        )

    def _since(self, moment: float) -> Iterator[tuple[str, Outcome]]:
        for identity, (outcome, at) in reversed(self._recent.items()):
            if at < moment:
                return
            yield identity, outcome
