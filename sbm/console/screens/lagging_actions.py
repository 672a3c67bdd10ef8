"""What is done to those who are behind: search again, move on, send."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from urllib.parse import urlencode
from uuid import UUID

from attrs import field, frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console import actions, wording
from sbm.console.actions import Done, Proposal
from sbm.console.answering import PageNeeds, Pages
from sbm.console.lag_filters import BEHIND, LagFilter
from sbm.console.texts import marked
from sbm.console.visit import View, Visit
from sbm.model.behind import BehindRecord, RepairCount
from sbm.model.paging import PageRequest
from sbm.model.signature import Signature
from sbm.model.task import TaskKind
from sbm.model.time_zones import TimeZones
from sbm.model.user import OPERATE
from sbm.operations import behind, schedule_runs
from sbm.operations.selection import CHUNK
from sbm.store import audit, behind_subscriptions, messagesets, tasks
from sbm.store.postgres.transaction import Transaction
from sbm.store.schedule_runs import RunFilter

PLACE = "/console/behind/"

# So many of the list are judged, which takes a second or two; CHUNK of them are repaired at once.
MOST_JUDGED = 2000

_NEEDS = PageNeeds(get=OPERATE, post=OPERATE)


@frozen(kw_only=True)
class LagRepair:
    """What is done to those who are behind: fast-forward, or send to them.

    ``obstacle`` says why it cannot be done to one of them, or None.
    """

    title: str
    button: str
    undo: str
    obstacle: Callable[[BehindRecord], str | None]
    work: Callable[..., Awaitable[RepairCount]]
    is_sent: bool = False


FORWARD = LagRepair(
    title=marked("Move people who are behind to where they should be"),
    button=marked("Move them"),
    undo=marked("An administrator can undo it with the audit."),
    obstacle=lambda one: one.held_back,
    work=behind.fast_forward_these,
)
SEND = LagRepair(
    title=marked("Send the next message to people who are behind"),
    button=marked("Send to them"),
    undo=marked("A message that was sent cannot be taken back."),
    obstacle=lambda one: one.unsendable,
    work=behind.owe_to_these,
    is_sent=True,
)

# The searches, the place of the list that each makes, and what each looks for.
_SEARCHES: Mapping[str, tuple[TaskKind, str, str]] = {
    "behind": (
        "find-behind-subscriptions",
        PLACE,
        marked("Search for people who are behind"),
    ),
    "silent": (
        "find-silent-subscriptions",
        f"{PLACE}silent/",
        marked("Search for people who will get nothing"),
    ),
}


@frozen(kw_only=True)
class Judged:
    """Those of a list who were judged: what would be done to whom, and what not, and why."""

    listed: int
    looked_at: int
    meant: Sequence[BehindRecord]
    further: int
    skipped: Counter[str] = field(factory=Counter)
    caught_up: int = 0


@frozen(eq=False, kw_only=True)
class LaggingActions:
    """The actions; ``wake_sends`` and ``wake_tasks`` are called after the commit of such work."""

    app = Klein()

    pages: Pages
    zones: TimeZones
    wake_sends: Callable[[], None]
    wake_tasks: Callable[[], None]

    @app.route("/search-behind")
    async def search_behind(self, request: Request) -> bytes:
        return await self._search(request, "behind")

    @app.route("/search-silent")
    async def search_silent(self, request: Request) -> bytes:
        return await self._search(request, "silent")

    @app.route("/forward")
    async def forward(self, request: Request) -> bytes:
        return await self._repair(request, FORWARD)

    @app.route("/send")
    async def send(self, request: Request) -> bytes:
        return await self._repair(request, SEND)

    async def _search(self, request: Request, what: str) -> bytes:
        kind, place, title = _SEARCHES[what]

        async def propose(transaction: Transaction, visit: Visit) -> Proposal:
            return await _propose_search(transaction, visit, kind=kind, place=place, title=title)

        async def work(transaction: Transaction, visit: Visit) -> Done:
            task_id = await tasks.request(transaction, kind=kind, requested_by=visit.user.id)
            await audit.record(
                transaction,
                actor=visit.user.username,
                action="console search",
                reason=visit.reason,
                details={"task": str(task_id)},
            )
            return Done(
                sentence=visit._("The search has begun. Load this page again in a minute."),
                place=place,
                then=self.wake_tasks,
            )

        async def show(visit: Visit) -> View:
            return await actions.show(visit, partial(propose, visit=visit))

        async def perform(visit: Visit) -> View:
            return await actions.perform(
                visit, partial(propose, visit=visit), partial(work, visit=visit)
            )

        return await self.pages.answer(request, _NEEDS, get=show, post=perform)

    async def _repair(self, request: Request, repair: LagRepair) -> bytes:
        asked = partial(self._asked, repair)
        return await self.pages.answer(request, _NEEDS, get=asked, post=asked)

    async def _asked(self, repair: LagRepair, visit: Visit) -> View:
        """Say what it would do, or do it; the runs of the schedules are computed for both."""
        is_post = visit.request.method == b"POST"
        wanted = LagFilter.read(visit.form if is_post else visit.query, BEHIND)
        listed, ids = await visit.read(_choose, wanted=wanted)
        database = self.pages.database
        runs = await schedule_runs.prepare(database, zones=self.zones, wanted=RunFilter(ids=ids))
        asked = _AskedRepair(
            repair=repair,
            visit=visit,
            wanted=wanted,
            listed=listed,
            ids=ids,
            runs_id=runs.id,
            wake=self.wake_sends,
        )
        try:
            if is_post:
                return await actions.perform(visit, asked.propose, asked.do)
            return await actions.show(visit, asked.propose)
        finally:
            await schedule_runs.forget(database, runs_id=runs.id)


@frozen(eq=False, kw_only=True)
class _AskedRepair:
    """A repair of the people on a list that a user asks for."""

    repair: LagRepair
    visit: Visit
    wanted: LagFilter
    listed: int
    ids: Sequence[UUID]
    runs_id: int
    wake: Callable[[], None]

    @property
    def place(self) -> str:
        told = self.wanted.written()
        return f"{PLACE}?{urlencode(told)}" if told else PLACE

    async def _judge(self, transaction: Transaction) -> Judged:
        found = await behind.judge_these(transaction, runs_id=self.runs_id, ids=self.ids)
        skipped: Counter[str] = Counter()
        meant = []
        for one in found:
            obstacle = self.repair.obstacle(one)
            if obstacle is None:
                meant.append(one)
            else:
                skipped[obstacle] += 1
        return Judged(
            listed=self.listed,
            looked_at=len(self.ids),
            meant=meant[:CHUNK],
            further=max(len(meant) - CHUNK, 0),
            skipped=skipped,
            caught_up=len(self.ids) - len(found),
        )

    async def propose(self, transaction: Transaction) -> Proposal:
        visit, judged = self.visit, await self._judge(transaction)
        objection = ""
        if not self.ids:
            objection = visit._("Nobody is on this list. Search again first.")
        elif not judged.meant:
            objection = visit._("There is nobody to whom this can be done now.")
        return Proposal(
            title=visit._(self.repair.title),
            button=visit._(self.repair.button),
            sentences=[
                *(await self._whom(transaction, judged)),
                *self._what(judged),
            ],
            count=len(judged.meant),
            back=self.place,
            fields=self.wanted.written(),
            # The very same people, and the same places to which they come.
            seen=[
                judged.further,
                *(str((one.id, one.next_sequence_number, one.path)) for one in judged.meant),
            ],
            undo=visit._(self.repair.undo),
            objection=objection,
        )

    async def _whom(self, transaction: Transaction, judged: Judged) -> list[str]:
        visit, told = self.visit, []
        if self.wanted.messageset_id is not None:
            chosen = await messagesets.find(transaction, messageset_id=self.wanted.messageset_id)
            name = chosen.short_name if chosen else self.wanted.messageset_id
            told.append(visit._("Only people in %(set)s.") % {"set": name})
        if self.wanted.at_least is not None:
            told.append(
                visit.counted(
                    "Only people who are %(num)s message behind, or more.",
                    "Only people who are %(num)s messages behind, or more.",
                    self.wanted.at_least,
                )
            )
        told.append(
            visit.counted(
                "%(num)s person is on the list.", "%(num)s people are on the list.", judged.listed
            )
        )
        if judged.listed > judged.looked_at:
            told.append(
                visit.counted(
                    "The newest %(num)s of them was looked at.",
                    "The newest %(num)s of them were looked at.",
                    judged.looked_at,
                )
            )
        return told

    def _what(self, judged: Judged) -> list[str]:
        visit, count = self.visit, len(judged.meant)
        told = []
        if count and self.repair.is_sent:
            told += [
                visit.counted(
                    "%(num)s person gets one message now: the next one.",
                    "%(num)s people get one message each now: the next one.",
                    count,
                ),
                visit._("Nothing is sent twice: who is owed a message is left out."),
            ]
        elif count:
            begun = sum(len(one.path) - 1 for one in judged.meant)
            told += [
                visit.counted(
                    "%(num)s person is moved to where the person should be by now.",
                    "%(num)s people are moved to where they should be by now.",
                    count,
                ),
                visit._("The messages between are never sent."),
            ]
            if begun:
                told.append(
                    visit.counted(
                        "%(num)s subscription to a next set begins.",
                        "%(num)s subscriptions to next sets begin.",
                        begun,
                    )
                )
        if judged.further:
            told.append(
                visit.counted(
                    "%(num)s more is left for the next time: do this again afterwards.",
                    "%(num)s more are left for the next time: do this again afterwards.",
                    judged.further,
                )
            )
        for reason, number in judged.skipped.most_common():
            text = visit.counted("%(num)s is left out: ", "%(num)s are left out: ", number)
            told.append(f"{text}{visit._(wording.SKIPS.get(reason, reason))}.")
        if judged.caught_up:
            told.append(
                visit.counted(
                    "%(num)s is not behind any more.",
                    "%(num)s are not behind any more.",
                    judged.caught_up,
                )
            )
        return told

    async def do(self, transaction: Transaction) -> Done:
        visit = self.visit
        ids = [one.id for one in (await self._judge(transaction)).meant]
        count = await self.repair.work(
            transaction,
            runs_id=self.runs_id,
            ids=ids,
            signature=Signature(actor=visit.user.username, reason=visit.reason),
        )
        if self.repair.is_sent:
            told = visit.counted(
                "A message is sent to %(num)s person.",
                "A message is sent to %(num)s people each.",
                count.done,
            )
            return Done(sentence=told, place=self.place, then=self.wake)
        if count.done == len(ids):
            await behind_subscriptions.forget(transaction, ids=ids)
        told = visit.counted("%(num)s person was moved.", "%(num)s people were moved.", count.done)
        return Done(sentence=told, place=self.place)


async def _choose(transaction: Transaction, *, wanted: LagFilter) -> tuple[int, list[UUID]]:
    """How many are on the list, and the newest of them."""
    page = await behind_subscriptions.list_page(
        transaction, page=PageRequest(limit=MOST_JUDGED), **wanted.of_behind()
    )
    return page.count, [one.subscription_id for one in page.rows]


async def _propose_search(
    transaction: Transaction, visit: Visit, *, kind: TaskKind, place: str, title: str
) -> Proposal:
    page = await tasks.list_page(transaction, page=PageRequest(limit=1, count=0), kind=kind)
    is_under_way = bool(page.rows) and page.rows[0].state in ("waiting", "begun")
    return Proposal(
        title=visit._(title),
        button=visit._("Search"),
        sentences=[
            visit._("A task looks at all subscriptions in the background."),
            visit._("It changes nothing but this list, and nothing is sent."),
        ],
        count=0,
        back=place,
        objection=visit._("A search is under way already.") if is_under_way else "",
        needs_reason=False,
    )
