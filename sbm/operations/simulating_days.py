"""What would the ticks of some days do, or one of them, if nothing else happens?"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

from attrs import define, evolve, field

from sbm.model.ids import BEFORE_ALL
from sbm.model.simulation import (
    SetPosition,
    Simulation,
    SimulationSettings,
    TickTotals,
)
from sbm.model.time_zones import TimeZones, ZonedCron
from sbm.operations.refusals import NoSuchRow
from sbm.operations.simulating import (
    PAGE,
    Contents,
    Results,
    find_examples,
    with_pace,
)
from sbm.operations.simulating_world import ComingTick, Standing, World
from sbm.store import clock, schedules, send_pauses, simulations
from sbm.store.postgres.transaction import Transaction
from sbm.store.simulations import Staying


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
        pause_reason=await simulations.find_pause_reason(transaction),
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
    """Those with a prepend: it decides what happens to them until it was sent."""
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
                prepended=None if verdict == world.contents.verdict(member.position) else verdict,
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
    ticking = _Ticking(world=world, crons=await _crons(transaction, zones), until=until)
    ticking.begin(world.now)
    for one in (*_ends_of_pauses(world), *([] if asked_for is None else [asked_for])):
        ticking.add(one)
    while (moment := ticking.next()) is not None:
        if asked_for is None or moment != evolve(asked_for, is_asked_for=False):
            await world.look_up(moment)
            yield moment
        if slices.is_over:
            await slices.next_turn()


@define(eq=False, kw_only=True)
class _Ticking:
    """The ticks to come; a schedule without members has none until somebody joins it."""

    world: World
    crons: Mapping[int, ZonedCron]
    until: datetime
    _waiting: list[ComingTick] = field(factory=list, init=False)
    _schedules: set[int] = field(factory=set, init=False)
    _latest: datetime | None = field(default=None, init=False)

    def add(self, moment: ComingTick) -> None:
        """Add a tick, unless it comes too late."""
        if moment.at <= self.until:
            heapq.heappush(self._waiting, moment)

    def begin(self, after: datetime) -> None:
        """Let the clock tick for the schedules that have members, and for which it does not yet."""
        for schedule_id, members in self.world.groups.items():
            if members and schedule_id not in self._schedules:
                self._tick_after(schedule_id, after)

    def next(self) -> ComingTick | None:
        """The next tick; those who went on at an earlier moment are members of it."""
        if not self._waiting:
            if self._latest is None:
                return None
            self.world.join()
            self.begin(self._latest)
            self._latest = None
            return self.next()
        if self._latest is not None and self._waiting[0].at > self._latest:
            self.world.join()
            self.begin(self._latest)
        moment = heapq.heappop(self._waiting)
        self._latest = moment.at
        if not (moment.ends_pause or moment.is_asked_for):
            self._schedules.discard(moment.schedule_id)
            if self.world.groups.get(moment.schedule_id):
                self._tick_after(moment.schedule_id, moment.at)
        return moment

    def _tick_after(self, schedule_id: int, moment: datetime) -> None:
        cron = self.crons.get(schedule_id)
        at = None if cron is None else cron.next_after(moment)
        if at is not None:
            self._schedules.add(schedule_id)
            self.add(ComingTick(at=at, schedule_id=schedule_id))


async def _crons(transaction: Transaction, zones: TimeZones) -> dict[int, ZonedCron]:
    """The schedules that the clock can read."""
    crons = {}
    for told in await schedules.list_told(transaction):
        zone = zones.of(told.time_zone)
        if told.cron is not None and zone is not None:
            crons[told.id] = ZonedCron(cron=told.cron, time_zone=zone)
    return crons


def _ends_of_pauses(world: World) -> Iterator[ComingTick]:
    """What waits for the end of a pause is sent then: one message for each subscription at most."""
    all_schedules = {*world.groups, *(one.schedule_id for one in world.following.values())}
    for pause in world.pauses:
        if pause.until is not None:
            for schedule_id in all_schedules:
                if pause.schedule_id in (None, schedule_id):
                    yield ComingTick(at=pause.until, schedule_id=schedule_id, ends_pause=True)
