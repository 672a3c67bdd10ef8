"""The pages on which something is done to one subscription, and on which a change is undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from attrs import define, frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console import actions, wording
from sbm.console.actions import Done, Proposal
from sbm.console.answering import PageNeeds, Pages
from sbm.console.masking import HIDDEN
from sbm.console.screens import deeds, place_deeds
from sbm.console.screens.deeds import Case, SubscriptionDeed
from sbm.console.screens.helpdesk import place_of
from sbm.console.visit import View, Visit
from sbm.model.audit_entry import AuditEntry
from sbm.model.text import is_storable
from sbm.model.timeline import PlanClock
from sbm.model.user import PEOPLE_ACT
from sbm.operations import people
from sbm.operations.refusals import NoSuchRow, OperationRefused
from sbm.operations.undoing import UndoRules, undo_entry
from sbm.store import audit, subscriptions
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.wire import row_id, row_uuid


class HasMovedOn(OperationRefused):
    """The values that a change has made are not current any more."""

    def __init__(self) -> None:
        super().__init__("The subscription has changed since: nothing was undone.")


@frozen(eq=False, kw_only=True)
class HelpdeskActions:
    """The actions on a subscription; ``wake`` is called after the commit of an owed send."""

    app = Klein()

    pages: Pages
    clock: PlanClock
    max_text_length: int
    wake: Callable[[], None]

    @app.route("/resend")
    async def resend(self, request: Request, identity: str, subscription: str) -> bytes:
        return await self._answer(request, identity, subscription, deeds.Resend())

    @app.route("/send")
    async def send(self, request: Request, identity: str, subscription: str) -> bytes:
        return await self._answer(request, identity, subscription, deeds.SendNow())

    @app.route("/language")
    async def language(self, request: Request, identity: str, subscription: str) -> bytes:
        return await self._answer(request, identity, subscription, place_deeds.ChangeLanguage())

    @app.route("/schedule")
    async def schedule(self, request: Request, identity: str, subscription: str) -> bytes:
        return await self._answer(request, identity, subscription, place_deeds.ChangeSchedule())

    @app.route("/place")
    async def place(self, request: Request, identity: str, subscription: str) -> bytes:
        return await self._answer(request, identity, subscription, place_deeds.ChangePlace())

    @app.route("/stop")
    async def stop(self, request: Request, identity: str, subscription: str) -> bytes:
        return await self._answer(request, identity, subscription, deeds.Stop())

    @app.route("/start")
    async def start(self, request: Request, identity: str, subscription: str) -> bytes:
        return await self._answer(request, identity, subscription, deeds.StartAgain())

    async def _answer(
        self, request: Request, identity: str, subscription: str, deed: SubscriptionDeed
    ) -> bytes:
        asked = partial(self._asked, identity, subscription, deed)
        return await self.pages.answer(
            request, PageNeeds(get=deed.needs, post=deed.needs), get=asked, post=asked
        )

    async def _asked(
        self, identity: str, subscription: str, deed: SubscriptionDeed, visit: Visit
    ) -> View:
        """Say what it would do, or do it."""
        is_post = visit.request.method == b"POST"
        find = partial(
            deeds.find_case,
            subscription_id=row_uuid(subscription),
            person=_told(identity),
            is_locked=is_post,
            visit=visit,
            clock=self.clock,
            zone=self.pages.renderer.zone,
            max_text_length=self.max_text_length,
            place=place_of(_told(identity)),
        )
        asked = _Asked(find=find, deed=deed, wake=self.wake)
        if is_post:
            # Rehearsed, if it is shown again: it locks the subscription.
            return await actions.perform(visit, asked.propose, asked.do, is_rehearsed=True)
        return await actions.show(visit, asked.propose)


@define(eq=False, kw_only=True)
class _Asked:
    """A deed that a user asks for: proposed, and done to what was proposed."""

    find: Callable[[Transaction], Any]
    deed: SubscriptionDeed
    wake: Callable[[], None]

    async def propose(self, transaction: Transaction) -> Proposal:
        return await self.deed.propose(transaction, await self.find(transaction))

    async def do(self, transaction: Transaction) -> Done:
        case: Case = await self.find(transaction)
        sentence = await self.deed.do(transaction, case)
        return Done(
            sentence=sentence, place=case.place, then=self.wake if self.deed.is_sent else None
        )


@frozen(eq=False, kw_only=True)
class HelpdeskUndo:
    """The page that undoes one change of a subscription; ``rules`` are those of the undoing."""

    app = Klein()

    pages: Pages
    rules: UndoRules

    @app.route("/<entry>")
    async def undo(self, request: Request, identity: str, entry: str) -> bytes:
        return await self.pages.answer(
            request,
            PageNeeds(get=PEOPLE_ACT, post=PEOPLE_ACT),
            get=partial(self._shown, identity, entry),
            post=partial(self._undone, identity, entry),
        )

    async def _shown(self, identity: str, entry: str, visit: Visit) -> View:
        return await actions.show(visit, self._proposed(identity, entry, visit))

    async def _undone(self, identity: str, entry: str, visit: Visit) -> View:
        async def work(transaction: Transaction) -> Done:
            undone = await undo_entry(transaction, entry_id=row_id(entry), rules=self.rules)
            if undone.stayed:
                raise HasMovedOn
            return Done(sentence=visit._("The change is undone."), place=place_of(_told(identity)))

        return await actions.perform(visit, self._proposed(identity, entry, visit), work)

    def _proposed(self, identity: str, entry: str, visit: Visit) -> actions.Propose:
        return partial(_propose_undo, person=_told(identity), entry_id=row_id(entry), visit=visit)


async def _propose_undo(
    transaction: Transaction, *, person: str, entry_id: int, visit: Visit
) -> Proposal:
    identity = await people.find_person(transaction, told=person)
    entry = await audit.find(transaction, entry_id=entry_id)
    if entry is None or entry.table_name != "subscriptions" or entry.operation != "update":
        raise NoSuchRow
    subscription = await subscriptions.find(transaction, subscription_id=UUID(entry.row_id or ""))
    if subscription is None or subscription.identity != identity:
        raise NoSuchRow
    after = entry.new_values
    now = {name: getattr(subscription, name) for name in after if name in wording.FIELDS}
    # The database says "in process" while a message is on its way; it stores "ready".
    has_changed = any(
        value != after[name] for name, value in now.items() if name != "process_status"
    )
    return Proposal(
        title=visit._("Undo a change"),
        button=visit._("Undo it"),
        sentences=list(_sentences(visit, entry)),
        count=1,
        back=place_of(person),
        seen=[entry_id, *map(str, now.values())],
        objection=_moved_on(visit) if has_changed else "",
        undo=visit._("You can undo this, too."),
    )


def _moved_on(visit: Visit) -> str:
    return visit._("The subscription has changed since: this change cannot be undone any more.")


def _sentences(visit: Visit, entry: AuditEntry) -> list[str]:
    before: Mapping[str, Any] = entry.old_values
    after: Mapping[str, Any] = entry.new_values
    told = []
    for name in after:
        if name in ("updated_at", "updated_by", "joined_at", "joined_xid"):
            continue
        is_told = name in wording.FIELDS
        told.append(
            visit._("%(what)s: from %(now)s back to %(then)s.")
            % {
                "what": visit._(wording.FIELDS.get(name, name)),
                "now": after[name] if is_told else HIDDEN,
                "then": before.get(name) if is_told else HIDDEN,
            }
        )
    return told


def _told(person: str) -> str:
    if not is_storable(person):
        raise NoSuchRow
    return person
