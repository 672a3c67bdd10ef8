"""Trouble: what failed, by cause, and may I try it again?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from attrs import frozen
from babel.dates import format_date
from klein import Klein
from twisted.web.server import Request

from sbm.console import actions, wording
from sbm.console.actions import Done, Proposal, sentence_of
from sbm.console.answering import PageNeeds, Pages
from sbm.console.cursors import PagedList
from sbm.console.masking import short, without_numbers
from sbm.console.screens.helpdesk import place_of
from sbm.console.texts import marked
from sbm.console.visit import View, Visit
from sbm.model.failed_task import EVERYTHING, FailedTask, FailedTaskFilter, FailureGroup
from sbm.model.ledger_entry import STAGES
from sbm.model.natural_numbers import natural_number
from sbm.model.paging import PageRequest
from sbm.model.signature import Signature
from sbm.model.task import TaskRecord, TaskState
from sbm.model.text import is_storable
from sbm.model.user import OPERATE, PEOPLE_READ
from sbm.operations import requeue
from sbm.operations.requeue import AT_ONCE, RequeueForecast
from sbm.store import clock, failed_tasks, tasks
from sbm.store.failed_tasks import MOST_GROUPED
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.http_errors import Invalid, NotFound
from sbm.web.schema.pages import BY_ID

PLACE = "/console/trouble/"

# So many groups are shown, and so many of them in the chart.
MOST_GROUPS = 100
IN_CHART = 3
DAYS = 7
# The longest cause of a group, in characters.
LONGEST_CAUSE = 200

_READS = PageNeeds(get=PEOPLE_READ)
_LIST: PagedList[FailedTask] = PagedList(name="failed tasks", order=BY_ID)
_UNDER_WAY: tuple[TaskState, ...] = ("begun", "waiting")


@frozen(kw_only=True)
class Chosen:
    """The failed tasks that a page is about: one of them, a group, or all of them."""

    wanted: FailedTaskFilter = EVERYTHING
    one: int | None = None

    @classmethod
    def read(cls, told: Mapping[str, str]) -> Chosen:
        """From an address or a form, of which nothing is ignored; raises Invalid."""
        if "one" in told:
            one = natural_number(told["one"])
            if one is None:
                raise NotFound
            return cls(one=one)
        stage, cause = told.get("stage", ""), told.get("cause")
        if stage == "all" and cause is None:
            return cls()
        if stage not in STAGES or cause is None:
            raise Invalid({"stage": [marked("Choose a group of failed messages.")]})
        if len(cause) > LONGEST_CAUSE or not is_storable(cause):
            raise Invalid({"cause": [marked("There is no such group.")]})
        return cls(wanted=FailedTaskFilter(stage=stage, cause=cause))

    def written(self) -> dict[str, str]:
        """As an address or a form has it."""
        if self.one is not None:
            return {"one": str(self.one)}
        if self.wanted.stage is None:
            return {"stage": "all"}
        return {"stage": self.wanted.stage, "cause": self.wanted.cause or ""}

    @property
    def place(self) -> str:
        """The page of the group, or the list of all groups."""
        if self.wanted.stage is None:
            return PLACE
        return f"{PLACE}group?{urlencode(self.written())}"


@frozen(eq=False, kw_only=True)
class Trouble:
    """The failed messages. The functions are called after the commit of work for the pipeline."""

    app = Klein()

    pages: Pages
    wake_sends: Callable[[], None]
    wake_tasks: Callable[[], None]

    @app.route("/")
    async def groups(self, request: Request) -> bytes:
        return await self.pages.answer(request, _READS, get=self._groups)

    @app.route("/group")
    async def group(self, request: Request) -> bytes:
        return await self.pages.answer(request, _READS, get=self._group)

    @app.route("/owe")
    async def owe(self, request: Request) -> bytes:
        needs = PageNeeds(get=OPERATE, post=OPERATE)
        return await self.pages.answer(request, needs, get=self._proposed, post=self._owed)

    async def _groups(self, visit: Visit) -> View:
        values = await visit.read(self._read_groups)
        groups: Sequence[FailureGroup] = values["groups"]
        top = groups[:IN_CHART]
        return View(
            template="trouble.html",
            values={
                **values,
                **self._words(),
                "total": sum(one.count for one in groups),
                "most": MOST_GROUPED,
                "names": [without_numbers(one.cause)[:60] for one in top],
                "trend": self._trend(visit, values["today"], top),
                "link": lambda one: f"{PLACE}group?{urlencode(_told(one))}",
                "done": await sentence_of(visit),
            },
        )

    async def _read_groups(self, transaction: Transaction) -> dict[str, Any]:
        zone = self.pages.renderer.zone
        return {
            "groups": await failed_tasks.list_groups(transaction, zone=zone, limit=MOST_GROUPS),
            "today": (await clock.now(transaction)).astimezone(zone).date(),
            "under_way": await _tasks_under_way(transaction),
        }

    def _trend(
        self, visit: Visit, today: date, groups: Sequence[FailureGroup]
    ) -> list[tuple[str, list[int]]]:
        """The rows of a chart: each of the last days, and how many of each group failed then."""
        days = [today - timedelta(days=ago) for ago in range(DAYS - 1, -1, -1)]
        return [
            (
                format_date(day, "EEE d MMM", locale=visit.language),
                [one.days[place] for one in groups],
            )
            for place, day in enumerate(days)
        ]

    async def _group(self, visit: Visit) -> View:
        chosen = Chosen.read(visit.query)
        if chosen.wanted.stage is None:
            raise NotFound
        window = _LIST.window(visit.query)

        async def read(transaction: Transaction) -> dict[str, Any]:
            page = await failed_tasks.list_page(transaction, page=window, wanted=chosen.wanted)
            found = await self._read_groups(transaction)
            same = [
                one
                for one in found["groups"]
                if (one.stage, one.cause) == (chosen.wanted.stage, chosen.wanted.cause)
            ]
            return {
                "page": page,
                "links": _LIST.links(visit.path, visit.query, window, page),
                "trend": self._trend(visit, found["today"], same) if same else [],
                "under_way": found["under_way"],
            }

        return View(
            template="trouble_group.html",
            values={
                **await visit.read(read),
                **self._words(),
                "stage": chosen.wanted.stage,
                "cause": chosen.wanted.cause,
                "asked": chosen.written(),
                "short": short,
                "place_of": place_of,
                "done": await sentence_of(visit),
            },
        )

    @staticmethod
    def _words() -> dict[str, Any]:
        return {"stages": wording.STAGES, "masked": without_numbers}

    async def _proposed(self, visit: Visit) -> View:
        chosen = Chosen.read(visit.query)
        return await actions.show(visit, partial(_propose, chosen=chosen, visit=visit))

    async def _owed(self, visit: Visit) -> View:
        chosen = Chosen.read(visit.form)
        return await actions.perform(
            visit,
            partial(_propose, chosen=chosen, visit=visit),
            partial(self._owe_again, chosen=chosen, visit=visit),
        )

    async def _owe_again(self, transaction: Transaction, *, chosen: Chosen, visit: Visit) -> Done:
        signature = Signature(actor=visit.user.username, reason=visit.reason)
        if chosen.one is not None:
            trigger = await requeue.requeue_one(
                transaction, failed_task_id=chosen.one, signature=signature
            )
            told = visit._("The message is owed again.")
            if not trigger.accepted:
                told = visit._("It was left out: %(reason)s.") % {
                    "reason": visit._(wording.SKIPS.get(trigger.reason, trigger.reason))
                }
            return Done(sentence=told, place=PLACE, then=self.wake_sends)
        done = await requeue.requeue_all(
            transaction, wanted=chosen.wanted, signature=signature, requested_by=visit.user.id
        )
        told = visit.counted(
            "%(num)s message is owed again.", "%(num)s messages are owed again.", done.owed
        )
        if done.goes_on:
            told = visit._("%(told)s A task does the rest.") % {"told": told}
        return Done(sentence=told, place=PLACE, then=self._woken)

    def _woken(self) -> None:
        self.wake_sends()
        self.wake_tasks()


def _told(one: FailureGroup) -> dict[str, str]:
    return {"stage": one.stage, "cause": one.cause}


async def _tasks_under_way(transaction: Transaction) -> list[TaskRecord]:
    """The tasks that owe failed messages again, which have not ended."""
    found = []
    for state in _UNDER_WAY:
        page = await tasks.list_page(
            transaction,
            page=PageRequest(limit=5, count=0),
            kind="requeue-failed-tasks",
            state=state,
        )
        found += page.rows
    return found


async def _propose(transaction: Transaction, *, chosen: Chosen, visit: Visit) -> Proposal:
    foreseen = await requeue.foresee(transaction, wanted=chosen.wanted, failed_task_id=chosen.one)
    count = foreseen.owed + sum(foreseen.skipped.values())
    return Proposal(
        title=visit._("Owe failed messages again"),
        button=visit._("Owe again"),
        sentences=_sentences(visit, foreseen, count),
        count=count,
        back=chosen.place,
        fields=chosen.written(),
        seen=[foreseen.owed, *(f"{count} {why}" for why, count in foreseen.skipped.items())],
        undo=visit._(
            "Nothing is sent twice: a message keeps its id, and one that may have gone out is never"
            " on this list. What was owed again cannot be taken back; a pause holds it."
        ),
        objection="" if count else visit._("None of these is on the list any more."),
    )


def _sentences(visit: Visit, foreseen: RequeueForecast, count: int) -> list[str]:
    told = [
        visit.counted(
            "%(num)s message is owed again: it is sent as soon as its turn comes.",
            "%(num)s messages are owed again: they are sent as soon as their turns come.",
            foreseen.owed,
        )
        if foreseen.owed
        else visit._("No message is owed again.")
    ]
    for reason, number in foreseen.skipped.items():
        text = visit.counted("%(num)s is left out: ", "%(num)s are left out: ", number)
        told.append(f"{text}{visit._(wording.SKIPS.get(reason, reason))}.")
    told.append(visit._("All of them leave this list."))
    if count > AT_ONCE:
        told.append(
            visit.counted(
                "The oldest %(num)s is done at once, and a task does the rest.",
                "The oldest %(num)s are done at once, and a task does the rest.",
                AT_ONCE,
            )
        )
    return told
