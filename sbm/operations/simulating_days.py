"""What would the ticks of some days do, or one of them, if nothing else happens?"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

from attrs import define, evolve, field, frozen

from sbm.model.ids import BEFORE_ALL
from sbm.model.send_pause import SendPause
from sbm.model.simulation import (
    MOST_TICKS,
    MemberGroup,
    SetPosition,
    Simulation,
    SimulationSettings,
    TickTotals,
    Verdict,
)
from sbm.model.time_zones import TimeZones, ZonedCron
from sbm.operations.refusals import SEVERAL, NoSuchRow, WrongValues
from sbm.operations.simulating import (
    PAGE,
    Contents,
    Results,
    find_examples,
    with_pace,
)
from sbm.runtime.time_slices import TimeSlice
from sbm.store import clock, schedules, send_pauses, simulations
from sbm.store.postgres.transaction import Transaction
from sbm.store.simulations import Staying

PAUSED = "it was paused when the tick came"


@frozen(kw_only=True)
class Standing:
    """Where subscriptions stand, and on which schedule.

    ``fate`` is what happens to those whose prepend decides it, until they get a message.
    """

    schedule_id: int
    position: SetPosition
    fate: Verdict | None = None


@frozen(kw_only=True, order=True)
class ComingTick:
    """A tick that comes, or the end of a pause: then those get a message whom a tick has missed."""

    at: datetime
    schedule_id: int
    ends_pause: bool = False
    is_asked_for: bool = False


@define(eq=False, kw_only=True)
class World:
    """All subscriptions as groups, and how ticks move them."""

    contents: Contents
    now: datetime
    staying: dict[tuple[int, SetPosition], Staying]
    pauses: Sequence[SendPause]
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
                    results.skip(_group(standing, count))
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
        verdict = standing.fate or self.contents.verdict(standing.position)
        if not verdict.is_at_end:
            return verdict, None
        return verdict, self.staying.get((standing.schedule_id, standing.position))

    def move(
        self, standing: Standing, verdict: Verdict, count: int, staying: Staying | None = None
    ) -> None:
        """Put subscriptions where they are after a tick."""
        if verdict.steps_to is not None:
            self.put(evolve(standing, position=verdict.steps_to, fate=None), count)
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


async def simulate_days(
    transaction: Transaction, *, until: datetime, zones: TimeZones, settings: SimulationSettings
) -> Simulation:
    """What all ticks up to a moment do together; raises WrongValues if there are too many."""
    world, results = await _world(transaction, settings)
    ticks = []
    async for moment in _moments(transaction, world, zones, until=until):
        totals = await world.tick(moment, results)
        if totals.sent or totals.not_sent:
            ticks.append(totals)
    return await _told(transaction, results, ticks, settings)


async def simulate_at(
    transaction: Transaction,
    *,
    schedule_id: int,
    at: datetime,
    zones: TimeZones,
    settings: SimulationSettings,
) -> Simulation:
    """What a tick of a schedule does at a moment to come, after all ticks before it.

    Raises NoSuchRow, or WrongValues if there are too many ticks.
    """
    if await schedules.find(transaction, schedule_id=schedule_id) is None:
        raise NoSuchRow
    world, _ = await _world(transaction, settings)
    results = Results(following=world.following)
    ticks = []
    asked_for = ComingTick(at=at, schedule_id=schedule_id, is_asked_for=True)
    async for moment in _moments(transaction, world, zones, until=at, asked_for=asked_for):
        if moment.is_asked_for:
            ticks.append(await world.tick(moment, results))
        else:
            await world.tick(moment, Results(following=world.following))
    return await _told(transaction, results, ticks, settings)


async def simulate_set(
    transaction: Transaction, *, messageset_id: int, settings: SimulationSettings
) -> Simulation:
    """What the next tick of each subscription of a set does."""
    world, results = await _world(transaction, settings, messageset_id=messageset_id)
    world.pauses = ()
    for schedule_id in sorted(world.groups):
        await world.tick(ComingTick(at=world.now, schedule_id=schedule_id), results)
    found = await find_examples(
        partial(simulations.find_examples_of_set, transaction, messageset_id=messageset_id), results
    )
    return evolve(await _told(transaction, results, [], settings), examples=found)


async def _told(
    transaction: Transaction,
    results: Results,
    ticks: Sequence[TickTotals],
    settings: SimulationSettings,
) -> Simulation:
    pace = await simulations.find_pace(transaction)
    told = Simulation(
        as_of=pace.now,
        results=results.tallies,
        completions=results.completions,
        ticks=ticks,
    )
    if len(ticks) != 1:
        return told
    (tick,) = ticks
    return with_pace(told, evolve(pace, now=tick.at, waiting=0), settings.max_rate)


async def _world(
    transaction: Transaction, settings: SimulationSettings, *, messageset_id: int | None = None
) -> tuple[World, Results]:
    """All subscriptions; whoever is owed a message now is where it will stand after that."""
    contents = Contents(transaction=transaction, rules=settings.rules)
    following = await simulations.list_following_sets(transaction)
    results = Results(following=following)
    groups = await simulations.group_subscriptions(transaction, messageset_id=messageset_id)
    await contents.look_up(group.position for group in groups)
    may_end = {
        (group.schedule_id, group.position) for group in groups if contents.may_end(group.position)
    }
    staying = await simulations.count_those_who_stay(transaction, positions=may_end)
    world = World(
        contents=contents,
        now=await clock.now(transaction),
        staying=_by_place(staying),
        pauses=await send_pauses.list_open(transaction),
        following=following,
    )
    live: Counter[Standing] = Counter()
    for group in groups:
        if not group.is_prepended:
            standing = Standing(schedule_id=group.schedule_id, position=group.position)
            world.put(standing, group.count)
            if group.is_live:
                live[standing] += group.count
    if any(group.is_prepended for group in groups):
        await _put_prepended(transaction, world, live, messageset_id)
    if messageset_id is None:
        world.send_owed(live, _by_place(one for one in staying if one.is_live))
    return world, results


def _by_place(staying: Iterable[Staying]) -> dict[tuple[int, SetPosition], Staying]:
    found: dict[tuple[int, SetPosition], Staying] = {}
    for one in staying:
        earlier = 0 if one.place not in found else found[one.place].count
        found[one.place] = evolve(one, count=earlier + one.count)
    return found


async def _put_prepended(
    transaction: Transaction, world: World, live: Counter[Standing], messageset_id: int | None
) -> None:
    """Those with a prepend: their fate is decided by it until it was sent."""
    after, slices = BEFORE_ALL, transaction.slices()
    while members := await simulations.list_prepended(
        transaction, limit=PAGE, after=after, messageset_id=messageset_id
    ):
        after = members[-1].id
        for member in members:
            verdict = world.contents.verdict(member.position, member)
            standing = Standing(
                schedule_id=member.schedule_id,
                position=member.position,
                fate=None if verdict == world.contents.verdict(member.position) else verdict,
            )
            world.put(standing, 1)
            if member.is_live:
                live[standing] += 1
            if slices.is_over:
                await slices.next_turn()
        if len(members) < PAGE:
            break


async def _moments(
    transaction: Transaction,
    world: World,
    zones: TimeZones,
    *,
    until: datetime,
    asked_for: ComingTick | None = None,
) -> AsyncIterator[ComingTick]:
    """The ticks to come, in order; the contents for each are looked up.

    Those who go on to a next set by one tick are members of the ticks after that moment. The tick
    that is asked for takes the place of the clock's, if there is one at the same moment. Raises
    WrongValues if there are too many.
    """
    slices = transaction.slices()
    crons = await _crons(transaction, zones)
    waiting = [one async for one in _first_moments(transaction, crons, world.now)]
    waiting += [*_ends_of_pauses(world), *([] if asked_for is None else [asked_for])]
    heapq.heapify(waiting)
    latest: datetime | None = None
    while waiting and waiting[0].at <= until:
        moment = heapq.heappop(waiting)
        if latest is not None and moment.at > latest:
            world.join()
        latest = moment.at
        if not (moment.ends_pause or moment.is_asked_for):
            following = crons[moment.schedule_id].next_after(moment.at)
            if following is not None:
                heapq.heappush(waiting, evolve(moment, at=following))
            if asked_for is not None and moment == evolve(asked_for, is_asked_for=False):
                continue
        await world.look_up(moment)
        yield moment
        if slices.is_over:
            await slices.next_turn()


async def _crons(transaction: Transaction, zones: TimeZones) -> dict[int, ZonedCron]:
    """The schedules that the clock can read."""
    crons = {}
    for told in await schedules.list_told(transaction):
        zone = zones.of(told.time_zone)
        if told.cron is not None and zone is not None:
            crons[told.id] = ZonedCron(cron=told.cron, time_zone=zone)
    return crons


async def _first_moments(
    transaction: Transaction, crons: Mapping[int, ZonedCron], now: datetime
) -> AsyncIterator[ComingTick]:
    """The next tick of each schedule."""
    slices = transaction.slices()
    for schedule_id, cron in crons.items():
        first = cron.next_after(now)
        if first is not None:
            yield ComingTick(at=first, schedule_id=schedule_id)
        if slices.is_over:
            await slices.next_turn()


def _ends_of_pauses(world: World) -> Iterator[ComingTick]:
    """What waits for the end of a pause is sent then: one message for each subscription at most."""
    all_schedules = {*world.groups, *(one.schedule_id for one in world.following.values())}
    for pause in world.pauses:
        if pause.until is not None:
            for schedule_id in all_schedules:
                if pause.schedule_id in (None, schedule_id):
                    yield ComingTick(at=pause.until, schedule_id=schedule_id, ends_pause=True)


def _group(standing: Standing, count: int) -> MemberGroup:
    return MemberGroup(
        schedule_id=standing.schedule_id,
        messageset_id=standing.position.messageset_id,
        lang=standing.position.lang,
        next_sequence_number=standing.position.next_sequence_number,
        is_prepended=False,
        count=count,
        reason=PAUSED,
    )
