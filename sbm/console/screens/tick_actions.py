"""What a person can do with a tick: pause its schedule, let it go on, or stop it for good."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from attrs import frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console import tick_words
from sbm.console.actions import Done, Proposal, perform, show
from sbm.console.answering import PageNeeds, Pages
from sbm.console.scope_words import concerned
from sbm.console.screens.tick_pages import TickView, read_state
from sbm.console.visit import View, Visit
from sbm.model.natural_numbers import natural_number
from sbm.model.send_pause import PauseScope, SendPause
from sbm.model.signature import Signature
from sbm.model.user import OPERATE
from sbm.operations import pausing
from sbm.operations.releases import release_tick
from sbm.operations.stopping import stop_tick
from sbm.runtime.wakeups import Wakeups
from sbm.store import send_pauses
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.http_errors import NotFound
from sbm.web.http.wire import row_id

_NEEDS = PageNeeds(get=OPERATE, post=OPERATE)

# While a tick is sent, the number of what is left changes each second. If it has grown by more than
# this share since it was shown, the person has seen something else.
GROWN = 0.05
# Of small ticks, by more than this.
GROWN_BY = 10

_ProposeForTick = Callable[[Visit, int, Transaction], Awaitable[Proposal]]
_DoToTick = Callable[[Visit, int, Transaction], Awaitable[Done]]


@frozen(eq=False, kw_only=True)
class TickActions:
    """The actions; ``wakeups`` are woken after the commit."""

    app = Klein()

    pages: Pages
    wakeups: Wakeups

    @app.route("/pause")
    async def pause(self, request: Request, key: str) -> bytes:
        return await self._act(request, key, _propose_pause, self._pause)

    @app.route("/resume")
    async def resume(self, request: Request, key: str) -> bytes:
        return await self._act(request, key, _propose_resume, self._resume)

    @app.route("/release")
    async def release(self, request: Request, key: str) -> bytes:
        return await self._act(request, key, _propose_release, self._release)

    @app.route("/stop")
    async def stop(self, request: Request, key: str) -> bytes:
        return await self._act(request, key, _propose_stop, self._stop)

    async def _act(
        self, request: Request, key: str, propose: _ProposeForTick, work: _DoToTick
    ) -> bytes:
        async def shown(visit: Visit) -> View:
            return await show(visit, partial(propose, visit, row_id(key)))

        async def done(visit: Visit) -> View:
            tick_id = row_id(key)
            return await perform(
                visit, partial(propose, visit, tick_id), partial(work, visit, tick_id)
            )

        return await self.pages.answer(request, _NEEDS, get=shown, post=done)

    async def _pause(self, visit: Visit, tick_id: int, transaction: Transaction) -> Done:
        state = await read_state(transaction, tick_id=tick_id)
        await pausing.pause_sends(
            transaction,
            scope=PauseScope(lane="tick", schedule_id=state.tick.schedule_id),
            on_ticks="later",
            until=None,
            signature=_signature(visit),
        )
        sentence = visit._("The schedule is being paused. What daemons have begun still goes out.")
        return Done(sentence=sentence, place=_place(tick_id), then=self.wakeups.pauses.wake)

    async def _resume(self, visit: Visit, tick_id: int, transaction: Transaction) -> Done:
        pause = await _pause_of(visit, transaction, tick_id)
        await pausing.resume_one(transaction, pause_id=pause.id, signature=_signature(visit))
        sentence = visit._("The pause has ended. What was held back is sent now.")
        return Done(sentence=sentence, place=_place(tick_id), then=self.wakeups.pauses.wake)

    async def _release(self, visit: Visit, tick_id: int, transaction: Transaction) -> Done:
        await release_tick(transaction, tick_id=tick_id, signature=_signature(visit))
        sentence = visit._("The tick goes on.")
        return Done(sentence=sentence, place=_place(tick_id), then=self.wakeups.pauses.wake)

    async def _stop(self, visit: Visit, tick_id: int, transaction: Transaction) -> Done:
        await stop_tick(transaction, tick_id=tick_id, signature=_signature(visit))
        sentence = visit._("The tick is stopped. What is left of it is being skipped.")
        return Done(sentence=sentence, place=_place(tick_id), then=self.wakeups.ticks.wake)


async def _propose_pause(visit: Visit, tick_id: int, transaction: Transaction) -> Proposal:
    state = await read_state(transaction, tick_id=tick_id)
    left = _left(state)
    return Proposal(
        title=visit._("Pause schedule %(number)s") % {"number": state.tick.schedule_id},
        button=visit._("Pause it"),
        sentences=[
            _waiting(visit, left),
            visit._("Other ticks of the schedule wait, too. Single sends go on."),
            visit._("Each person gets one message at most when the pause ends."),
            visit._("What daemons have begun still goes out."),
        ],
        count=_as_seen(visit, left),
        fields={"left": str(_as_seen(visit, left))},
        seen=[one.id for one in state.pauses],
        back=_place(tick_id),
        undo=visit._("To undo it, end the pause on the page of the tick."),
        objection=visit._("It is paused already.") if state.is_paused else "",
    )


async def _propose_resume(visit: Visit, tick_id: int, transaction: Transaction) -> Proposal:
    state = await read_state(transaction, tick_id=tick_id)
    pause = await _pause_of(visit, transaction, tick_id)
    left = _left(state)
    sentences = [
        visit.counted(
            "%(num)s message of this tick is sent.",
            "%(num)s messages of this tick are sent.",
            left,
        )
    ]
    if pause.schedule_id is None or pause.messageset_id is not None:
        told = visit._("The pause concerns more than this schedule: %(what)s.")
        sentences.append(told % {"what": concerned(visit._, pause.scope)})
    if len(state.pauses) > 1:
        sentences.append(visit._("Another pause still holds the tick afterwards."))
    told = visit._("Pause %(number)s: %(why)s")
    sentences.append(told % {"number": pause.id, "why": pause.reason})
    return Proposal(
        title=visit._("End pause %(number)s") % {"number": pause.id},
        button=visit._("End the pause"),
        sentences=sentences,
        count=_as_seen(visit, left),
        fields={"pause": str(pause.id), "left": str(_as_seen(visit, left))},
        seen=[pause.id, pause.state == "ended"],
        back=_place(tick_id),
        undo=visit._("To undo it, pause the schedule again. What was sent stays sent."),
        objection=visit._("This pause has ended already.") if pause.state == "ended" else "",
        needs_reason=False,
    )


async def _propose_release(visit: Visit, tick_id: int, transaction: Transaction) -> Proposal:
    state = await read_state(transaction, tick_id=tick_id)
    watched, left = state.watched, _left(state)
    is_held = watched is not None and watched.hold in ("braked", "canary")
    sentences = [
        visit.counted(
            "%(num)s message of this tick is sent.",
            "%(num)s messages of this tick are sent.",
            left,
        )
    ]
    if watched is not None and watched.hold in ("braked", "canary"):
        told = visit._("Of %(posted)s messages, %(failed)s were refused or failed.")
        sentences += [
            visit._(tick_words.HOLD_WORDS[watched.hold]),
            told % {"posted": watched.posted, "failed": watched.failed},
            visit._("Its brake counts from now on, and it does not wait for a person again."),
        ]
    return Proposal(
        title=visit._("Let tick %(id)s go on") % {"id": tick_id},
        button=visit._("Let it go on"),
        sentences=sentences,
        count=_as_seen(visit, left),
        fields={"left": str(_as_seen(visit, left))},
        seen=[None if watched is None else watched.hold],
        back=_place(tick_id),
        undo=visit._("It cannot be undone, but the tick can be stopped or its schedule paused."),
        objection="" if is_held else visit._("Nothing holds it that a person could release."),
    )


async def _propose_stop(visit: Visit, tick_id: int, transaction: Transaction) -> Proposal:
    state = await read_state(transaction, tick_id=tick_id)
    left = _left(state)
    objection = ""
    if state.tick.stopped_by is not None:
        objection = visit._("It is stopped already.")
    elif not state.tick.is_open:
        objection = visit._("Nothing of it is left: it has ended.")
    return Proposal(
        title=visit._("Stop tick %(id)s for good") % {"id": tick_id},
        button=visit._("Stop it for good"),
        sentences=[
            visit.counted(
                "%(num)s person does not get the message of this tick.",
                "%(num)s people do not get the message of this tick.",
                left,
            )
            + " "
            + visit._("The ledger says that you have stopped it."),
            visit._("What daemons have in hand at this moment still goes out: a few messages."),
            visit._("Nobody loses a place: the next tick of the schedule sends the same message."),
        ],
        count=_as_seen(visit, left),
        fields={"left": str(_as_seen(visit, left))},
        seen=[state.tick.stopped_by],
        back=_place(tick_id),
        undo=visit._("It cannot be undone. To send again, start the schedule."),
        objection=objection,
        is_dangerous=True,
    )


async def _pause_of(visit: Visit, transaction: Transaction, tick_id: int) -> SendPause:
    """The pause that the address or the form names, if it concerns the tick; raises NotFound."""
    told = visit.form.get("pause") or visit.query.get("pause", "")
    found = await send_pauses.find(transaction, pause_id=row_id(told))
    state = await read_state(transaction, tick_id=tick_id)
    if found is None or found.schedule_id not in (None, state.tick.schedule_id):
        raise NotFound
    return found


def _left(state: TickView) -> int:
    """About how many people the tick has not sent to, or skipped, yet."""
    return state.tick.members - state.tick.settled


def _as_seen(visit: Visit, left: int) -> int:
    """What the person has seen, if it is still about so many, or fewer: sending goes on."""
    seen = natural_number(visit.form.get("left", ""))
    if seen is None:
        return left
    return seen if left <= seen + max(GROWN_BY, GROWN * seen) else left


def _waiting(visit: Visit, left: int) -> str:
    return visit.counted(
        "%(num)s message of this tick waits until somebody ends the pause.",
        "%(num)s messages of this tick wait until somebody ends the pause.",
        left,
    )


def _signature(visit: Visit) -> Signature:
    return Signature(actor=visit.user.username, reason=visit.reason)


def _place(tick_id: int) -> str:
    return f"/console/ticks/{tick_id}/"
