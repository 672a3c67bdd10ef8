"""Pausing sends, and resuming them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import get_args

from attrs import field, frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console.actions import Done, Proposal, perform, show
from sbm.console.answering import PageNeeds, Pages
from sbm.console.scope_words import concerned
from sbm.console.texts import marked
from sbm.console.visit import View, Visit
from sbm.model.paging import PageRequest
from sbm.model.send import Lane
from sbm.model.send_pause import OnTicks, PauseScope, SendPause
from sbm.model.signature import Signature
from sbm.model.user import OPERATE
from sbm.operations import pausing
from sbm.operations.refusals import NoSuchRow
from sbm.store import messagesets, schedules, send_pauses
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.http_errors import Invalid
from sbm.web.http.wire import row_id

PLACE = "/console/operations/"

_MOST_SCHEDULES = 500


@frozen(kw_only=True)
class AskedPause:
    """The pause that an address or a form asks for; ``fields`` are as they were given."""

    scope: PauseScope
    on_ticks: OnTicks
    until: datetime | None
    fields: Mapping[str, str] = field(factory=dict)


@frozen(eq=False, kw_only=True)
class SendsControl:
    """Pauses of sends; ``wake`` is called after the commit of a change."""

    app = Klein()

    pages: Pages
    wake: Callable[[], None]

    @app.route("/new/")
    async def choose(self, request: Request) -> bytes:
        return await self.pages.answer(request, PageNeeds(get=OPERATE), get=self._choose)

    @app.route("/begin/")
    async def begin(self, request: Request) -> bytes:
        needs = PageNeeds(get=OPERATE, post=OPERATE)
        return await self.pages.answer(request, needs, get=self._show_pause, post=self._pause)

    @app.route("/<pause>/end/")
    async def end(self, request: Request, pause: str) -> bytes:
        needs = PageNeeds(get=OPERATE, post=OPERATE)
        return await self.pages.answer(
            request,
            needs,
            get=partial(self._show_end, pause=pause),
            post=partial(self._end, pause=pause),
        )

    async def _choose(self, visit: Visit) -> View:
        return await visit.read(self._choices)

    async def _choices(self, transaction: Transaction) -> View:
        page = PageRequest(limit=_MOST_SCHEDULES, count=0)
        return View(
            template="pause_new.html",
            values={
                "schedules": (await schedules.list_page(transaction, page=page)).rows,
                "sets": await messagesets.list_all(transaction),
            },
        )

    async def _show_pause(self, visit: Visit) -> View:
        asked = self._asked(visit.query)
        return await show(visit, partial(_propose_pause, visit=visit, asked=asked))

    async def _pause(self, visit: Visit) -> View:
        asked = self._asked(visit.form)

        async def work(transaction: Transaction) -> Done:
            await pausing.pause_sends(
                transaction,
                scope=asked.scope,
                on_ticks=asked.on_ticks,
                until=asked.until,
                signature=_signature(visit),
            )
            told = visit._("The pause has begun. It is in force when nothing of it is in hand.")
            return Done(sentence=told, place=PLACE, then=self.wake)

        return await perform(visit, partial(_propose_pause, visit=visit, asked=asked), work)

    async def _show_end(self, visit: Visit, *, pause: str) -> View:
        return await show(visit, partial(_propose_end, visit=visit, pause_id=row_id(pause)))

    async def _end(self, visit: Visit, *, pause: str) -> View:
        pause_id = row_id(pause)

        async def work(transaction: Transaction) -> Done:
            await pausing.resume_one(transaction, pause_id=pause_id, signature=_signature(visit))
            told = visit._("The pause has ended. What it held back is sent now.")
            return Done(sentence=told, place=PLACE, then=self.wake)

        return await perform(visit, partial(_propose_end, visit=visit, pause_id=pause_id), work)

    def _asked(self, given: Mapping[str, str]) -> AskedPause:
        """Raises Invalid if a value is none of the choices."""
        names = ("lane", "schedule", "messageset", "on_ticks", "until")
        fields = {name: given.get(name, "") for name in names}
        lane, on_ticks = fields["lane"], fields["on_ticks"] or "later"
        if lane not in ("", *get_args(Lane)) or on_ticks not in get_args(OnTicks):
            raise Invalid({"lane": [marked("There is no such choice.")]})
        return AskedPause(
            scope=PauseScope(
                lane=lane or None,  # type: ignore[arg-type]  # one of the choices
                schedule_id=row_id(fields["schedule"]) if fields["schedule"] else None,
                messageset_id=row_id(fields["messageset"]) if fields["messageset"] else None,
            ),
            on_ticks=on_ticks,  # type: ignore[arg-type]  # one of the choices
            until=self._moment(fields["until"]),
            fields=fields,
        )

    def _moment(self, given: str) -> datetime | None:
        """A moment as a browser sends it, in the time zone of the console; None if it is empty."""
        if not given:
            return None
        try:
            moment = datetime.fromisoformat(given)
        except ValueError:
            raise Invalid({"until": [marked("Enter a day and a time.")]}) from None
        zone = self.pages.renderer.zone
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def _signature(visit: Visit) -> Signature:
    return Signature(actor=visit.user.username, reason=visit.reason)


async def _propose_pause(transaction: Transaction, *, visit: Visit, asked: AskedPause) -> Proposal:
    """What was seen are the other pauses, and not the numbers of sends.

    These change all the time, and a pause holds back what is owed when it begins, however much.
    """
    scope = asked.scope
    if scope.schedule_id is not None and not await schedules.exists(
        transaction, row_id=scope.schedule_id
    ):
        raise NoSuchRow
    if scope.messageset_id is not None and not await messagesets.exists(
        transaction, row_id=scope.messageset_id
    ):
        raise NoSuchRow
    others = await send_pauses.list_open(transaction)
    live = await send_pauses.count_of(transaction, scope=scope)
    name = await _named(transaction, visit, scope)
    sentences = [
        visit._("It pauses: %(name)s.") % {"name": name},
        visit.counted(
            "%(num)s message of it waits now, and stays owed.",
            "%(num)s messages of it wait now, and stay owed.",
            live.owed,
        ),
        visit.counted(
            "%(num)s message is in hand. If its request has begun, it goes out.",
            "%(num)s messages are in hand. Those whose requests have begun go out.",
            live.in_hand,
        ),
        visit._("People can be registered meanwhile, and the API goes on."),
    ]
    if asked.on_ticks == "later":
        sentences.append(
            visit._("Ticks that come meanwhile wait: each person gets one message when it ends.")
        )
    else:
        sentences.append(
            visit._("What ticks ask for meanwhile is skipped: these people miss those messages.")
        )
    if asked.until is None:
        sentences.append(visit._("It lasts until somebody ends it."))
    else:
        shown = asked.until.strftime("%Y-%m-%d %H:%M %Z")
        sentences.append(visit._("It ends by itself: %(moment)s.") % {"moment": shown})
    same = any(one.scope == scope for one in others)
    return Proposal(
        title=visit._("Pause sends"),
        button=visit._("Pause"),
        sentences=sentences,
        count=1,
        seen=[one.id for one in others],
        back=PLACE,
        fields=asked.fields,
        undo=visit._("You can end the pause at any time. No message is lost."),
        objection=visit._("This is paused already.") if same else "",
        is_dangerous=asked.on_ticks == "skip",
    )


async def _propose_end(transaction: Transaction, *, visit: Visit, pause_id: int) -> Proposal:
    found = await send_pauses.find(transaction, pause_id=pause_id)
    if found is None:
        raise NoSuchRow
    live = await send_pauses.count_of(transaction, scope=found.scope)
    name = await _named(transaction, visit, found.scope)
    return Proposal(
        title=visit._("End a pause"),
        button=visit._("End the pause"),
        sentences=[
            visit._("It ends the pause of: %(name)s.") % {"name": name},
            visit.counted(
                "%(num)s message of it is owed, and is sent, unless something else holds it back.",
                "%(num)s messages of it are owed, and are sent, unless something else holds them"
                " back.",
                live.owed,
            ),
            _of_ticks(visit, found),
        ],
        count=1,
        seen=[found.id, found.ended_at is not None],
        back=PLACE,
        undo=visit._("You can pause again at any time. What was sent cannot be taken back."),
        objection=visit._("This pause has ended already.") if found.ended_at else "",
    )


def _of_ticks(visit: Visit, pause: SendPause) -> str:
    if pause.on_ticks == "skip":
        return visit._("What ticks asked for meanwhile was skipped.")
    return visit._("Each person gets one message at most, however many ticks came meanwhile.")


async def _named(transaction: Transaction, visit: Visit, scope: PauseScope) -> str:
    """What a pause concerns, in words."""
    found = None
    if scope.messageset_id is not None:
        found = await messagesets.find(transaction, messageset_id=scope.messageset_id)
    return concerned(visit._, scope, short_name=None if found is None else found.short_name)
