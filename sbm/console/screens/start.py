"""Start: what goes out if I press start?"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from attrs import field, frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console import tick_words
from sbm.console.actions import Done, Proposal, perform, sentence_of
from sbm.console.answering import PageNeeds, Pages
from sbm.console.cron_words import words
from sbm.console.cursors import PagedList, PageLinks
from sbm.console.masking import short
from sbm.console.screens.tick_pages import sets_by_schedule
from sbm.console.visit import View, Visit
from sbm.model.content import Schedule
from sbm.model.cron import Cron
from sbm.model.hold import TickLimits
from sbm.model.natural_numbers import natural_number
from sbm.model.open_tick import OpenTick
from sbm.model.paging import Page
from sbm.model.signature import Signature
from sbm.model.simulation import ALLOWED_CHANGE, Result, Simulation, SimulationSettings, Tally
from sbm.model.tick_times import Expectations
from sbm.model.time_zones import TimeZones
from sbm.model.user import OPERATE, PEOPLE_READ
from sbm.operations.refusals import NoSuchRow, SimulationUnknown, WorldHasChanged
from sbm.operations.simulating import simulate_now
from sbm.operations.starting import start_tick
from sbm.operations.tick_times import ScheduleState, list_schedules
from sbm.runtime.places import Places
from sbm.runtime.wakeups import Wakeups
from sbm.store import clock, messagesets, schedules, simulations, status
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.http_errors import NotFound
from sbm.web.http.wire import row_id, uuid_of
from sbm.web.schema.pages import BY_ID

_SCHEDULES: PagedList[Schedule] = PagedList(name="schedules to start", order=BY_ID)

# The largest numbers of the limits of a tick.
MOST_PERCENT = 99
MOST_COUNT = 10_000_000

# So many groups of a set, language and number are shown, the largest ones.
MOST_GROUPS = 60


@frozen(kw_only=True)
class Startable:
    """A schedule that can be started: when it ticks, and the tick of it that is still open."""

    schedule: Schedule
    due: str
    zone: str
    state: ScheduleState | None
    sets: Sequence[str]
    open_ticks: Sequence[OpenTick]


@frozen(kw_only=True)
class Picture:
    """What a tick would do, as it was counted with a token."""

    startable: Startable
    told: Simulation
    token: UUID
    sets: Mapping[int, str]
    now: datetime


@frozen(eq=False, kw_only=True)
class StartPages:
    """The schedules, and what each would send. Simulations are made one at a time."""

    app = Klein()

    pages: Pages
    by: Expectations
    zones: TimeZones
    settings: SimulationSettings
    wakeups: Wakeups
    _one_at_a_time: Places = field(factory=lambda: Places(1), init=False)

    @app.route("/")
    async def choose(self, request: Request) -> bytes:
        return await self.pages.answer(request, PageNeeds(get=PEOPLE_READ), get=self._choose)

    @app.route("/<key>/")
    async def start(self, request: Request, key: str) -> bytes:
        return await self.pages.answer(
            request,
            PageNeeds(get=PEOPLE_READ, post=OPERATE),
            get=partial(self._foresee, key),
            post=partial(self._start, key),
        )

    async def _choose(self, visit: Visit) -> View:
        window = _SCHEDULES.window(visit.query)
        page, found = await visit.read(self._list, visit=visit)
        links: PageLinks = _SCHEDULES.links(visit.path, visit.query, window, page)
        return View(
            template="start_choice.html",
            values={"found": found, "links": links, "done": await sentence_of(visit)},
        )

    async def _list(
        self, transaction: Transaction, *, visit: Visit
    ) -> tuple[Page[Schedule], list[Startable]]:
        page = await schedules.list_page(transaction, page=_SCHEDULES.window(visit.query))
        return page, await self._describe(transaction, visit, page.rows)

    async def _describe(
        self, transaction: Transaction, visit: Visit, found: Iterable[Schedule]
    ) -> list[Startable]:
        states = {one.schedule_id: one for one in await list_schedules(transaction, self.by)}
        sets = await sets_by_schedule(transaction)
        still_open = await status.list_open_ticks(transaction)
        return [
            Startable(
                schedule=one,
                due=_due(visit, one),
                zone=self._zone(one),
                state=states.get(one.id),
                sets=sets.get(one.id, []),
                open_ticks=[tick for tick in still_open if tick.schedule_id == one.id],
            )
            for one in found
        ]

    def _zone(self, schedule: Schedule) -> str:
        zone = self.zones.of(schedule.time_zone)
        return str(schedule.time_zone) if zone is None else zone.key

    async def _foresee(self, key: str, visit: Visit) -> View:
        return await self._page(visit, row_id(key))

    async def _page(
        self,
        visit: Visit,
        schedule_id: int,
        *,
        before: Sequence[Any] | None = None,
        problem: str = "",
        errors: Mapping[str, str] | None = None,
    ) -> View:
        """What the schedule would send now; ``before`` is what was shown before, if it changed."""
        picture = await self._picture(visit, schedule_id)
        schedule, told = picture.startable.schedule, picture.told
        limits = {
            name: visit.form.get(name, "" if value is None else str(value))
            for name, value in _limits_of(schedule).items()
        }
        is_refused = before is not None or problem or errors
        return View(
            template="start.html",
            values={
                "picture": picture,
                "told": told,
                "sent": _groups(told.results, picture.sets),
                "most_groups": MOST_GROUPS,
                "unsent": _unsent(told),
                "completes": _completes(told, picture.sets),
                "limits": limits,
                "errors": errors or {},
                "problem": problem,
                "compared": None if before is None else _compared(before, told.counts()),
                "once": uuid.uuid4().hex,
                "seen": _proposal(schedule_id, picture.token).mark,
                "words": tick_words,
            },
            status=(400 if errors else 409) if is_refused else 200,
        )

    async def _picture(self, visit: Visit, schedule_id: int) -> Picture:
        """Simulate a tick, and keep what it does for whoever starts it; raises NotFound."""
        await self._one_at_a_time.acquire()
        try:
            told = await visit.read_snapshot(
                simulate_now, schedule_id=schedule_id, settings=self.settings
            )
        except NoSuchRow:
            raise NotFound from None
        finally:
            self._one_at_a_time.release()
        token = await visit.change(
            simulations.keep,
            schedule_id=schedule_id,
            made_by=visit.user.username,
            allowed_change=ALLOWED_CHANGE,
            counts=told.counts(),
        )
        return await visit.read(
            self._with_names, visit=visit, schedule_id=schedule_id, told=told, token=token
        )

    async def _with_names(
        self,
        transaction: Transaction,
        *,
        visit: Visit,
        schedule_id: int,
        told: Simulation,
        token: UUID,
    ) -> Picture:
        schedule = await schedules.find(transaction, schedule_id=schedule_id)
        if schedule is None:
            raise NotFound
        (startable,) = await self._describe(transaction, visit, [schedule])
        sets = {one.id: one.short_name for one in await messagesets.list_all(transaction)}
        return Picture(
            startable=startable,
            told=told,
            token=token,
            sets=sets,
            now=await clock.now(transaction),
        )

    async def _start(self, key: str, visit: Visit) -> View:
        schedule_id = row_id(key)
        token = uuid_of(visit.form.get("token", ""))
        limits, errors = _read_limits(visit)
        if not visit.reason:
            errors["reason"] = visit._("Say why: it is kept in the audit.")
        if errors:
            return await self._page(visit, schedule_id, errors=errors)
        if token is None or visit.form.get("seen") != _proposal(schedule_id, token).mark:
            return await self._unknown(visit, schedule_id)

        async def propose(_transaction: Transaction) -> Proposal:
            return _proposal(schedule_id, token)

        async def work(transaction: Transaction) -> Done:
            tick_id = await start_tick(
                transaction,
                schedule_id=schedule_id,
                token=token,
                rules=self.settings.rules,
                limits=limits,
                signature=Signature(actor=visit.user.username, reason=visit.reason),
            )
            sentence = visit._("Tick %(id)s of schedule %(number)s has begun.")
            return Done(
                sentence=sentence % {"id": tick_id, "number": schedule_id},
                place=f"/console/ticks/{tick_id}/",
                then=self.wakeups.ticks.wake,
            )

        try:
            return await perform(visit, propose, work)
        except WorldHasChanged as changed:
            return await self._page(visit, schedule_id, before=changed.simulated)
        except SimulationUnknown:
            return await self._unknown(visit, schedule_id)

    async def _unknown(self, visit: Visit, schedule_id: int) -> View:
        problem = visit._("Nothing was started: what you saw is too old. This is how it is now.")
        return await self._page(visit, schedule_id, problem=problem)


def _proposal(schedule_id: int, token: UUID) -> Proposal:
    """The token stands for what was seen; the page is not that of other actions."""
    return Proposal(
        title="", button="", sentences=(), count=schedule_id, seen=[str(token)], back=""
    )


def _due(visit: Visit, schedule: Schedule) -> str:
    cron = Cron.read(
        minute=schedule.minute,
        hour=schedule.hour,
        day_of_week=schedule.day_of_week,
        day_of_month=schedule.day_of_month,
        month_of_year=schedule.month_of_year,
    )
    return "" if cron is None else words(cron, visit.texts, visit.language)


def _limits_of(schedule: Schedule) -> dict[str, int | None]:
    return {
        "canary": schedule.canary,
        "brake_percent": schedule.brake_percent,
        "brake_after": schedule.brake_after,
    }


def _read_limits(visit: Visit) -> tuple[TickLimits, dict[str, str]]:
    """The limits in a form, and a sentence for each field that is wrong."""
    given: dict[str, int | None] = {}
    errors: dict[str, str] = {}
    for name, least, most in (
        ("canary", 1, MOST_COUNT),
        ("brake_percent", 0, MOST_PERCENT),
        ("brake_after", 1, MOST_COUNT),
    ):
        text = visit.form.get(name, "").strip()
        given[name] = natural_number(text, least=least, most=most)
        if text and given[name] is None:
            told = visit._("Enter a whole number from %(least)s to %(most)s, or nothing.")
            errors[name] = told % {"least": least, "most": most}
    if not errors and (given["brake_percent"] is None) != (given["brake_after"] is None):
        name = "brake_after" if given["brake_after"] is None else "brake_percent"
        errors[name] = visit._("Enter both numbers of the brake, or none.")
    return TickLimits(**given), errors


def _groups(
    results: Mapping[Result, Tally], sets: Mapping[int, str]
) -> dict[str, list[tuple[str, str, int | None, Tally]]]:
    """What is sent, by set, language and number, the largest numbers first; and by set alone."""
    groups: dict[tuple[str, str, int | None], Tally] = {}
    whole: dict[tuple[str, str, int | None], Tally] = {}
    for result, tally in results.items():
        if result.outcome != "sent":
            continue
        name = sets.get(result.messageset_id, str(result.messageset_id))
        for told, key in ((groups, result.sequence_number), (whole, None)):
            place = (name, result.lang, key)
            known = told.get(place, Tally())
            told[place] = Tally(count=known.count + tally.count, parts=known.parts + tally.parts)

    def listed(
        told: Mapping[tuple[str, str, int | None], Tally],
    ) -> list[tuple[str, str, int | None, Tally]]:
        rows = [(*place, tally) for place, tally in told.items()]
        return sorted(rows, key=lambda row: (-row[3].count, row[0], row[1], row[2] or 0))

    return {"groups": listed(groups), "languages": listed(whole)}


def _unsent(told: Simulation) -> list[dict[str, Any]]:
    """Who gets nothing, by outcome and reason, with some examples."""
    counts: dict[tuple[str, str, str], int] = defaultdict(int)
    examples: dict[tuple[str, str, str], list[tuple[str, str]]] = defaultdict(list)
    for result, tally in told.results.items():
        if result.outcome != "sent":
            counts[result[3:]] += tally.count
    for result, found in told.examples.items():
        examples[result[3:]] += [(str(one), short(identity)) for one, identity in found]
    return [
        {
            "outcome": outcome,
            "stage": stage,
            "reason": reason,
            "count": count,
            "examples": examples[outcome, stage, reason],
        }
        for (outcome, stage, reason), count in sorted(
            counts.items(), key=lambda one: (-one[1], one[0])
        )
    ]


def _completes(told: Simulation, sets: Mapping[int, str]) -> list[tuple[str, str, str, int]]:
    """The sets that end: the set, the language, the set that follows or nothing, and how many."""
    return sorted(
        (
            sets.get(one.messageset_id, str(one.messageset_id)),
            one.lang,
            "" if one.next_set_id is None else sets.get(one.next_set_id, str(one.next_set_id)),
            count,
        )
        for one, count in told.completions.items()
    )


def _compared(
    before: Sequence[Any], now: Sequence[Sequence[Any]]
) -> list[tuple[str, str, int, int]]:
    """What was simulated beside what is so now: outcome, reason, and both numbers."""
    both: dict[tuple[str, str], list[int]] = {}
    for n, counts in enumerate((before, now)):
        for *result, count in counts:
            outcome, _, reason = result[3:]
            both.setdefault((outcome, reason), [0, 0])[n] += count
    return sorted((outcome, reason, old, new) for (outcome, reason), (old, new) in both.items())
