"""All subscriptions as groups, and how the ticks to come move them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from attrs import define, evolve, field, frozen

from sbm.model.send_pause import SendPause
from sbm.model.simulation import (
    MOST_TICKS,
    MemberGroup,
    SetPosition,
    TickTotals,
    Verdict,
)
from sbm.operations.refusals import SEVERAL, WrongValues
from sbm.operations.simulating import (
    Contents,
    Results,
)
from sbm.runtime.time_slices import TimeSlice
from sbm.store import simulations
from sbm.store.simulations import Staying


@frozen(kw_only=True)
class Standing:
    """Where subscriptions stand, and on which schedule.

    ``prepended`` is what happens to those with a prepend, until they get a message.
    """

    schedule_id: int
    position: SetPosition
    prepended: Verdict | None = None


@frozen(kw_only=True, order=True)
class ComingTick:
    """A tick that comes, or the end of a pause: then those get a message whom a tick has missed."""

    at: datetime
    schedule_id: int
    ends_pause: bool = False
    is_asked_for: bool = False


@define(eq=False, kw_only=True)
class World:
    """All subscriptions as groups, and how ticks move them.

    ``pause_reason`` is what the ledger says of members whom a pause skips.
    """

    contents: Contents
    now: datetime
    staying: dict[tuple[int, SetPosition], Staying]
    pauses: Sequence[SendPause]
    pause_reason: str
    following: Mapping[int, simulations.FollowingSet]
    groups: dict[int, Counter[Standing]] = field(factory=lambda: defaultdict(Counter), init=False)
    # They joined while a tick was sent: only later ticks cover them.
    _joining: Counter[Standing] = field(factory=Counter, init=False)
    # The sets of a schedule whose members wait for the end of a pause.
    _held: dict[int, set[int]] = field(factory=lambda: defaultdict(set), init=False)
    _ticks: int = field(default=0, init=False)
    _slices: TimeSlice = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._slices = self.contents.transaction.slices()

    def put(self, standing: Standing, count: int) -> None:
        """Add subscriptions."""
        if count:
            self.groups[standing.schedule_id][standing] += count

    def join(self) -> None:
        """Let those who have gone on to a next set be members of the ticks after that."""
        for standing, count in self._joining.items():
            self.put(standing, count)
        self._joining.clear()

    def send_owed(
        self, live: Mapping[Standing, int], staying: Mapping[tuple[int, SetPosition], Staying]
    ) -> None:
        """Move those on who are owed a message now; ``staying`` are those of them who stay."""
        for standing, count in live.items():
            members = self.groups[standing.schedule_id]
            members[standing] -= count
            if not members[standing]:
                del members[standing]
            verdict, stay = self.verdict(standing)
            if stay is not None:
                owed = staying.get(stay.place)
                owed_count = 0 if owed is None else owed.count
                self.staying[stay.place] = evolve(stay, count=stay.count - owed_count)
                stay = owed
            self.move(standing, verdict, count, stay)
        self.join()

    async def look_up(self, moment: ComingTick) -> None:
        """Look up the contents for a tick; raises WrongValues if there were too many."""
        members = self.groups[moment.schedule_id]
        self._ticks += bool(members)
        if self._ticks > MOST_TICKS:
            raise WrongValues({SEVERAL: [f"There are more than {MOST_TICKS:,} ticks until then."]})
        await self.contents.look_up((one.position for one in members), later=moment.at - self.now)

    async def tick(self, moment: ComingTick, results: Results) -> TickTotals:
        """Send to the members of a tick, and move them on."""
        sent, not_sent = results.sent, results.not_sent
        members = self.groups.pop(moment.schedule_id, Counter())
        held = self._held[moment.schedule_id]
        missed = held.copy()
        held.clear()
        for standing, count in members.items():
            messageset_id = standing.position.messageset_id
            if moment.ends_pause and messageset_id not in missed:
                self.put(standing, count)
                continue
            pauses = self._pauses(moment, messageset_id)
            if pauses:
                self.put(standing, count)
                if moment.ends_pause or all(one.on_ticks == "later" for one in pauses):
                    held.add(messageset_id)
                else:
                    results.skip(_group(standing, count, self.pause_reason))
                continue
            verdict, staying = self.verdict(standing)
            results.add(standing.position, verdict, count, staying)
            self.move(standing, verdict, count, staying)
            if self._slices.is_over:
                await self._slices.next_turn()
        return TickTotals(
            schedule_id=moment.schedule_id,
            at=moment.at,
            sent=results.sent.count - sent.count,
            parts=results.sent.parts - sent.parts,
            not_sent=results.not_sent - not_sent,
        )

    def verdict(self, standing: Standing) -> tuple[Verdict, Staying | None]:
        """What happens to those who stand there, and those of them who stay at the end."""
        verdict = standing.prepended or self.contents.verdict(standing.position)
        if not verdict.is_at_end:
            return verdict, None
        return verdict, self.staying.get((standing.schedule_id, standing.position))

    def move(
        self, standing: Standing, verdict: Verdict, count: int, staying: Staying | None = None
    ) -> None:
        """Put subscriptions where they are after a tick."""
        if verdict.steps_to is not None:
            self.put(evolve(standing, position=verdict.steps_to, prepended=None), count)
        elif not verdict.finishes:
            self.put(standing, count)
        elif following := self.following.get(standing.position.messageset_id):
            position = SetPosition(following.next_set_id, standing.position.lang, 1)
            first = Standing(schedule_id=following.schedule_id, position=position)
            self._joining[first] += count - (0 if staying is None else min(count, staying.count))

    def _pauses(self, moment: ComingTick, messageset_id: int) -> list[SendPause]:
        """Those that hold the messages of a set of a tick back."""
        return [
            pause
            for pause in self.pauses
            if (pause.until is None or pause.until > moment.at)
            and pause.lane in (None, "tick")
            and pause.schedule_id in (None, moment.schedule_id)
            and pause.messageset_id in (None, messageset_id)
        ]


def _group(standing: Standing, count: int, reason: str) -> MemberGroup:
    return MemberGroup(
        schedule_id=standing.schedule_id,
        messageset_id=standing.position.messageset_id,
        lang=standing.position.lang,
        next_sequence_number=standing.position.next_sequence_number,
        is_prepended=False,
        count=count,
        reason=reason,
    )
