"""Schedules: when they are due, in words and with their next ticks; to make and change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import partial

from attrs import astuple, field, frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console.actions import Done, Proposal, carry_out, perform, sentence_of, show
from sbm.console.answering import PageNeeds, Pages
from sbm.console.asked import around, rows_asked
from sbm.console.cron_words import words
from sbm.console.drafting import (
    SHOWN,
    DraftRules,
    FormDraft,
    as_form,
    differences,
    problems_of,
)
from sbm.console.form_fields import FormState
from sbm.console.screens.schedule_fields import given_schedule, schedule_fields, ticks_of
from sbm.console.screens.set_fields import form_state, schedule_words, why_blocked
from sbm.console.visit import View, Visit
from sbm.model.content import Schedule
from sbm.model.content_summary import ScheduleSummary
from sbm.model.cron import CRON_FIELDS, Cron
from sbm.model.paging import Page, PageRequest
from sbm.model.time_zones import TimeZones
from sbm.model.user import CONTENT_EDIT
from sbm.operations.refusals import NoSuchRow
from sbm.operations.schedule_remarks import remarks
from sbm.operations.schedules import change_schedule, create_schedule, delete_schedule
from sbm.store import schedules
from sbm.store.postgres.transaction import Transaction
from sbm.store.schedules import ToldSchedule
from sbm.web.http.publishing import check_publishing
from sbm.web.http.wire import row_id
from sbm.web.resources.schedules import SCHEMA

HOME = "/console/content/schedules/"
_ROWS = 50
_NEW = "new"
_EVERY_MORNING = dict.fromkeys(CRON_FIELDS, "*") | {"minute": "0", "hour": "8"}


@frozen(kw_only=True)
class _ListedSchedules:
    page: Page[Schedule]
    told: Mapping[int, ToldSchedule]
    summaries: Mapping[int, ScheduleSummary]


@frozen(kw_only=True)
class ShownSchedule:
    """A schedule in words: when it is due, its next ticks, and what is remarkable about it."""

    schedule: Schedule
    words: str
    zone: str
    ticks: Sequence[tuple[str, str]]
    remarks: Sequence[tuple[str, bool]]
    people: int
    messagesets: Sequence[str]


@frozen(eq=False, kw_only=True)
class ScheduleScreen:
    """The list of schedules; to make, change and delete one."""

    app = Klein()

    pages: Pages
    zones: TimeZones
    rules: DraftRules = field(factory=DraftRules)

    @app.route("/")
    async def list(self, request: Request) -> bytes:
        return await self.pages.answer(request, PageNeeds(), get=self._list)

    @app.route("/new/")
    async def new(self, request: Request) -> bytes:
        needs = PageNeeds(get=CONTENT_EDIT, post=CONTENT_EDIT)
        return await self.pages.answer(request, needs, get=self._new, post=self._create)

    @app.route("/<key>/")
    async def schedule(self, request: Request, key: str) -> bytes:
        return await self.pages.answer(request, PageNeeds(), get=partial(self._schedule, key))

    @app.route("/<key>/edit/")
    async def edit(self, request: Request, key: str) -> bytes:
        needs = PageNeeds(get=CONTENT_EDIT, post=CONTENT_EDIT)
        return await self.pages.answer(
            request, needs, get=partial(self._edit, key), post=partial(self._change, key)
        )

    @app.route("/<key>/delete/")
    async def delete(self, request: Request, key: str) -> bytes:
        needs = PageNeeds(get=CONTENT_EDIT, post=CONTENT_EDIT)
        return await self.pages.answer(
            request, needs, get=partial(self._ask_delete, key), post=partial(self._delete, key)
        )

    async def _list(self, visit: Visit) -> View:
        wanted = rows_asked(visit.query, most=_ROWS, is_counted=True)
        found = await visit.read(_read_page, wanted=wanted)
        return View(
            template="content_schedules.html",
            values={
                "schedules": [self._shown(visit, one, found) for one in found.page.rows],
                "links": around(visit.path, visit.query, wanted, found.page),
                "done": await sentence_of(visit),
            },
        )

    async def _schedule(self, key: str, visit: Visit) -> View:
        found = await visit.read(_read_one, key=key)
        return View(
            template="content_schedule.html",
            values={
                "shown": self._shown(visit, found.page.rows[0], found),
                "done": await sentence_of(visit),
            },
        )

    async def _new(self, visit: Visit) -> View:
        return await self._form(visit, None, form_state(visit, _EVERY_MORNING, _NEW))

    async def _create(self, visit: Visit) -> View:
        values = given_schedule(visit.form)

        async def propose(_transaction: Transaction) -> Proposal:
            return Proposal(
                title=visit._("New schedule"),
                button=visit._("Make the schedule"),
                sentences=[],
                count=0,
                back=HOME,
                fields=values,
                seen=(_NEW,),
                needs_reason=False,
            )

        async def work(transaction: Transaction) -> Done:
            made = await create_schedule(transaction, self._draft(visit, values, "POST").draft())
            await _check(transaction, visit, made.id)
            told = visit._("The schedule was made: %(words)s.")
            when = {"words": schedule_words(visit, made)}
            return Done(sentence=told % when, place=f"{HOME}{made.id}/")

        if "check" in visit.form:
            return await self._form(visit, None, form_state(visit, values, _NEW), is_checked=True)
        try:
            return await carry_out(visit, propose, work)
        except SHOWN as error:
            problems = problems_of(error, SCHEMA)
            return await self._form(visit, None, form_state(visit, values, _NEW, problems=problems))

    async def _edit(self, key: str, visit: Visit) -> View:
        found = await visit.read(_find, key=key)
        values = as_form(SCHEMA, found)
        return await self._form(visit, found, form_state(visit, values, _version(found)))

    async def _change(self, key: str, visit: Visit) -> View:
        values = given_schedule(visit.form)

        async def propose(transaction: Transaction) -> Proposal:
            return _propose_change(visit, await _find(transaction, key=key), values)

        async def work(transaction: Transaction) -> Done:
            schedule_id = row_id(key)
            await _check(transaction, visit, schedule_id)
            changed = await change_schedule(
                transaction, self._draft(visit, values, "PUT").draft, schedule_id=schedule_id
            )
            await _check(transaction, visit, schedule_id)
            told = visit._("The schedule was changed: %(words)s.")
            when = {"words": schedule_words(visit, changed)}
            return Done(sentence=told % when, place=f"{HOME}{changed.id}/")

        found = await visit.read(_find, key=key)
        state = partial(form_state, visit, values, _version(found))
        if "check" in visit.form:
            return await self._form(visit, found, state(), is_checked=True)
        try:
            return await carry_out(visit, propose, work)
        except SHOWN as error:
            return await self._form(visit, found, state(problems=problems_of(error, SCHEMA)))

    async def _ask_delete(self, key: str, visit: Visit) -> View:
        return await show(visit, partial(_propose_delete, visit=visit, key=key))

    async def _delete(self, key: str, visit: Visit) -> View:
        async def work(transaction: Transaction) -> Done:
            await _check(transaction, visit, row_id(key))
            await delete_schedule(transaction, schedule_id=row_id(key))
            return Done(sentence=visit._("The schedule was deleted."), place=HOME)

        return await perform(visit, partial(_propose_delete, visit=visit, key=key), work)

    async def _form(
        self, visit: Visit, found: Schedule | None, state: FormState, *, is_checked: bool = False
    ) -> View:
        people, blocked = 0, ""
        if found is not None:
            people = (await visit.read(schedules.describe, ids=[found.id]))[found.id].people
            blocked = await visit.read(_why_blocked, visit=visit, schedule_id=found.id)
        cron = Cron.read(**{name: state.values.get(name, "*") for name in CRON_FIELDS})
        zone = self.zones.of(state.values.get("time_zone") or None)
        now = datetime.now(timezone.utc)
        return View(
            template="content_schedule_form.html",
            values={
                "found": found,
                "people": people,
                "blocked": blocked,
                "state": state,
                "fields": schedule_fields(visit, state),
                "checked": is_checked,
                "words": "" if cron is None else words(cron, visit.texts, visit.language),
                "ticks": ticks_of(visit, cron, zone, now),
                "zone": "" if zone is None else zone.key,
            },
            status=state.status,
        )

    def _draft(self, visit: Visit, values: Mapping[str, str], method: str) -> FormDraft:
        return FormDraft(
            schema=SCHEMA, fields=values, method=method, user_id=visit.user.id, rules=self.rules
        )

    def _shown(self, visit: Visit, schedule: Schedule, found: _ListedSchedules) -> ShownSchedule:
        told, summary = found.told[schedule.id], found.summaries[schedule.id]
        zone = self.zones.of(schedule.time_zone)
        return ShownSchedule(
            schedule=schedule,
            words=schedule_words(visit, schedule),
            zone=schedule.time_zone or "" if zone is None else zone.key,
            ticks=ticks_of(visit, told.cron, zone, told.now),
            remarks=[(visit.retold(one.reason), one.is_fault) for one in remarks(told, self.zones)],
            people=summary.people,
            messagesets=summary.messagesets,
        )


async def _read_page(transaction: Transaction, *, wanted: PageRequest) -> _ListedSchedules:
    return await _told(transaction, await schedules.list_page(transaction, page=wanted))


async def _read_one(transaction: Transaction, *, key: str) -> _ListedSchedules:
    found = await _find(transaction, key=key)
    return await _told(transaction, Page(rows=[found], count=1, more=False))


async def _told(transaction: Transaction, page: Page[Schedule]) -> _ListedSchedules:
    ids = [one.id for one in page.rows]
    told = await schedules.list_told_of(transaction, ids=ids)
    return _ListedSchedules(
        page=page,
        told={one.id: one for one in told},
        summaries=await schedules.describe(transaction, ids=ids),
    )


async def _find(transaction: Transaction, *, key: str) -> Schedule:
    found = await schedules.find(transaction, schedule_id=row_id(key))
    if found is None:
        raise NoSuchRow
    return found


def _propose_change(visit: Visit, found: Schedule, values: Mapping[str, str]) -> Proposal:
    """What the form would change. It is only shown if somebody else was faster."""
    labels = {one.name: one for one in schedule_fields(visit, FormState())}
    colon = visit._(": ")
    return Proposal(
        title=visit._("Change the schedule"),
        button=visit._("Save"),
        sentences=[
            f"{labels[name].label}{colon}{labels[name].told(before)} → {labels[name].told(after)}"
            for name, before, after in differences(SCHEMA, as_form(SCHEMA, found), values)
        ],
        count=0,
        back=f"{HOME}{found.id}/",
        fields=values,
        seen=(_version(found),),
        needs_reason=False,
    )


async def _propose_delete(transaction: Transaction, *, visit: Visit, key: str) -> Proposal:
    found = await _find(transaction, key=key)
    summary = (await schedules.describe(transaction, ids=[found.id]))[found.id]
    objection = await _why_blocked(transaction, visit=visit, schedule_id=found.id)
    if summary.messagesets:
        told = visit._("These sets have it as their default: %(names)s. So it cannot be deleted.")
        objection = told % {"names": ", ".join(summary.messagesets)}
    elif await schedules.find_users(transaction, schedule_id=found.id):
        objection = visit._(
            "Subscriptions use this schedule, so it cannot be deleted. Completed ones count, too."
        )
    return Proposal(
        title=visit._("Delete a schedule: %(words)s") % {"words": schedule_words(visit, found)},
        button=visit._("Delete the schedule"),
        sentences=[visit._("Nothing uses it.")] if not objection else [],
        count=summary.people,
        back=f"{HOME}{found.id}/",
        seen=(_version(found),),
        undo=visit._("An administrator can undo it in the audit."),
        objection=objection,
        is_dangerous=True,
    )


async def _why_blocked(transaction: Transaction, *, visit: Visit, schedule_id: int) -> str:
    return await why_blocked(
        transaction, visit=visit, is_under_way=schedules.is_under_way, row_id=schedule_id
    )


async def _check(transaction: Transaction, visit: Visit, schedule_id: int) -> None:
    await check_publishing(
        transaction, user=visit.user, is_under_way=schedules.is_under_way, row_id=schedule_id
    )


def _version(found: Schedule) -> str:
    """What changes whenever the schedule does: it has no other mark of that."""
    return str(astuple(found))
