"""What can be done to one subscription, and what each deed says before it is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID
from zoneinfo import ZoneInfo

from attrs import frozen
from babel.dates import format_datetime

from sbm.console.actions import Proposal
from sbm.console.visit import Visit
from sbm.model.content import MessageSet
from sbm.model.ledger_entry import SENT, LedgerEntry, LedgerFilter
from sbm.model.natural_numbers import natural_number
from sbm.model.subscription import IN_PROCESS, READY, Subscription
from sbm.model.timeline import PlanClock
from sbm.model.user import OPERATE, PEOPLE_ACT
from sbm.operations import people
from sbm.operations.drafts import Draft, Referenced
from sbm.operations.refusals import NoSuchRow, OperationRefused
from sbm.operations.subscribing import change_subscription
from sbm.operations.triggers import resend_last, send_next
from sbm.store import audit, ledger, messages, messagesets, schedules, subscriptions
from sbm.store.postgres.transaction import Transaction

# The last message is among so many rows of the ledger.
_ROWS = 200
_BEGINNING = 60

_REFERENCES = (
    Referenced(attribute="messageset_id", hold=messagesets.hold, unknown="It is gone."),
    Referenced(attribute="schedule_id", hold=schedules.hold, unknown="It is gone."),
)


class NothingSent(OperationRefused):
    """There is nothing to send, for this reason."""


@frozen(kw_only=True)
class Case:
    """A subscription as it stands, the user who wants to do something, and what was chosen."""

    visit: Visit
    subscription: Subscription
    messageset: MessageSet
    clock: PlanClock
    zone: ZoneInfo
    max_text_length: int
    place: str

    @property
    def chosen(self) -> Mapping[str, str]:
        """What the user has chosen: in the form, or before that in the address."""
        visit = self.visit
        return visit.form if visit.request.method == b"POST" else visit.query

    def number(self, name: str) -> int | None:
        """A number from 1 on that was chosen; None if it is none."""
        return natural_number(str(self.chosen.get(name, "")).strip(), least=1)

    def moment(self, moment: datetime) -> str:
        """A moment in the words of the reader."""
        return format_datetime(
            moment, "EEE d MMM y HH:mm", tzinfo=self.zone, locale=self.visit.language
        )

    def proposal(self, *, seen: Sequence[str | int | None] = (), **told: Any) -> Proposal:
        """A proposal that is not valid any more if the subscription changes."""
        one = self.subscription
        return Proposal(
            count=1,
            back=self.place,
            seen=[
                *(one.messageset_id, one.next_sequence_number, one.lang, one.schedule_id),
                *(one.active, one.completed, one.process_status, *seen),
            ],
            **told,
        )

    async def change(self, transaction: Transaction, **values: Any) -> None:
        """Give the subscription these values."""

        def changes(_stored: Mapping[str, Any]) -> Draft:
            return Draft(
                values=values,
                references=_REFERENCES,
                user_id=self.visit.user.id,
                max_text_length=self.max_text_length,
            )

        await change_subscription(transaction, changes, subscription_id=self.subscription.id)

    async def record(self, transaction: Transaction, what: str) -> None:
        """Tell the audit of a message that was asked for; changes of rows tell of themselves."""
        await audit.record(
            transaction,
            actor=self.visit.user.username,
            action=f"console {what}",
            reason=self.visit.reason,
            details={"subscription": str(self.subscription.id), "asked_for": what},
        )

    async def coming(
        self,
        transaction: Transaction,
        *,
        messageset: MessageSet | None = None,
        lang: str | None = None,
        number: int | None = None,
    ) -> str:
        """What the next message is at this place; what is not told stays as it is."""
        one, visit = self.subscription, self.visit
        at = messageset or self.messageset
        lang = one.lang if lang is None else lang
        number = one.next_sequence_number if number is None else number
        found = await messages.find_coming(
            transaction, messageset_id=at.id, lang=lang, next_sequence_number=number
        )
        told = {"set": at.short_name, "lang": lang, "number": number}
        if found is None:
            return visit._(
                "%(set)s has no message in %(lang)s from number %(number)s on: the set ends when"
                " its schedule is next due."
            ) % {**told}
        told["number"] = found.sequence_number
        if found.lang is None:
            return visit._(
                "The next message is number %(number)s of %(set)s, which is missing in %(lang)s:"
                " the subscription waits for the translation."
            ) % {**told}
        told |= {"lang": found.lang, "text": (found.text or "")[:_BEGINNING]}
        if not found.text:
            return visit._("The next message is number %(number)s of %(set)s, in %(lang)s.") % told
        return visit._(
            "The next message is number %(number)s of %(set)s, in %(lang)s. It begins with"
            " “%(text)s”."
        ) % {**told}


async def find_case(
    transaction: Transaction, *, subscription_id: UUID, person: str, is_locked: bool, **shared: Any
) -> Case:
    """The case of a subscription of the person in an address; raises NoSuchRow."""
    identity = await people.find_person(transaction, told=person)
    if is_locked:
        await subscriptions.lock(transaction, subscription_id=subscription_id)
    found = await subscriptions.find(transaction, subscription_id=subscription_id)
    if found is None or found.identity != identity:
        raise NoSuchRow
    messageset = await messagesets.find(transaction, messageset_id=found.messageset_id)
    assert messageset is not None
    return Case(subscription=found, messageset=messageset, **shared)


class SubscriptionDeed(ABC):
    """Something that can be done to a subscription."""

    # The permission that it needs.
    needs: ClassVar[str] = PEOPLE_ACT
    # Whether a message is owed, so that the daemon has to look.
    is_sent: ClassVar[bool] = False

    @abstractmethod
    async def propose(self, transaction: Transaction, case: Case) -> Proposal:
        """What it would do."""

    @abstractmethod
    async def do(self, transaction: Transaction, case: Case) -> str:
        """Do it; returns what was done, in a sentence."""


class Resend(SubscriptionDeed):
    """The last message once more."""

    needs = OPERATE
    is_sent = True

    async def propose(self, transaction: Transaction, case: Case) -> Proposal:
        visit, one = case.visit, case.subscription
        rows = await ledger.list_of_person(
            transaction, wanted=LedgerFilter(subscription_id=one.id), limit=_ROWS
        )
        sent = [row for row in rows if row.kind == "next" and row.outcome in SENT]
        last = next((row for row in sent if row.messageset_id == one.messageset_id), None)
        # Of two pages that were open at once, only one sends it again.
        again = next((row.id for row in rows if row.kind == "resend"), None)
        objection = ""
        if sent and last is None:
            objection = visit._("No message of this set was sent yet: there is none to send again.")
        return case.proposal(
            title=visit._("Send the last message again"),
            button=visit._("Send it again"),
            sentences=[
                self._told(case, last),
                visit._("The place in the message set does not change."),
            ],
            seen=[None if last is None else last.id, again],
            undo=visit._("A message that was sent cannot be taken back."),
            objection=objection,
        )

    @staticmethod
    def _told(case: Case, last: LedgerEntry | None) -> str:
        if last is None:
            return case.visit._(
                "sbm has sent no message of this subscription yet: the message before its next"
                " number is sent, or else the first one."
            )
        return case.visit._(
            "Number %(number)s of %(set)s, which was sent on %(at)s, is sent once more, as it is"
            " written now."
        ) % {
            "number": last.sequence_number,
            "set": case.messageset.short_name,
            "at": case.moment(last.settled_at),
        }

    async def do(self, transaction: Transaction, case: Case) -> str:
        await resend_last(transaction, subscription_id=case.subscription.id)
        await case.record(transaction, "resend")
        return case.visit._("The last message is being sent again.")


class SendNow(SubscriptionDeed):
    """The next message, before its time."""

    needs = OPERATE
    is_sent = True

    async def propose(self, transaction: Transaction, case: Case) -> Proposal:
        visit, one = case.visit, case.subscription
        objection = ""
        if one.completed:
            objection = visit._("The subscription is completed: there is no next message.")
        elif one.process_status < 0:
            objection = visit._("The subscription is in error. Start it again first.")
        elif not one.active:
            objection = visit._("The subscription is stopped. Start it again first.")
        elif one.process_status == IN_PROCESS:
            objection = visit._("A message is on its way to this person already.")
        sentences = [
            await case.coming(transaction),
            visit._("It is sent now. The message after it comes when the schedule is next due."),
        ]
        plans = await people.list_plans(transaction, identity=one.identity, clock=case.clock)
        for plan in plans:
            if plan.subscription_id == one.id and not objection:
                in_way = visit._("Something is in the way: %(what)s.")
                sentences += [
                    in_way % {"what": visit.retold(obstacle)} for obstacle in plan.obstacles
                ]
        return case.proposal(
            title=visit._("Send the next message now"),
            button=visit._("Send it now"),
            sentences=sentences,
            undo=visit._("A message that was sent cannot be taken back."),
            objection=objection,
        )

    async def do(self, transaction: Transaction, case: Case) -> str:
        trigger = await send_next(transaction, subscription_id=case.subscription.id)
        if not trigger.accepted:
            raise NothingSent(trigger.reason)
        await case.record(transaction, "send")
        return case.visit._("The next message is being sent.")


def undo(visit: Visit) -> str:
    """How a change of a subscription is undone."""
    return visit._("You can undo it in the story of the person, until something else changes.")


def on_its_way(case: Case) -> list[str]:
    """What is said if a message is on its way."""
    if case.subscription.process_status != IN_PROCESS:
        return []
    return [case.visit._("A message is on its way now: it may still go out as it was.")]


class Stop(SubscriptionDeed):
    """Nothing more is sent."""

    async def propose(self, transaction: Transaction, case: Case) -> Proposal:  # noqa: ARG002
        visit, one = case.visit, case.subscription
        objection = "" if one.active else visit._("The subscription is stopped already.")
        return case.proposal(
            title=visit._("Stop the subscription"),
            button=visit._("Stop it"),
            sentences=[
                visit._("No further message of %(set)s is sent to this person.")
                % {"set": case.messageset.short_name},
                visit._("Other subscriptions of the person go on."),
                *on_its_way(case),
            ],
            undo=visit._("You can start the subscription again, at the same place."),
            objection=objection,
            is_dangerous=True,
        )

    async def do(self, transaction: Transaction, case: Case) -> str:
        await case.change(transaction, active=False)
        return case.visit._("The subscription is stopped.")


class StartAgain(SubscriptionDeed):
    """A subscription that was stopped, completed or in error goes on."""

    async def propose(self, transaction: Transaction, case: Case) -> Proposal:
        visit, one = case.visit, case.subscription
        is_under_way = one.active and not one.completed and one.process_status >= READY
        sentences = [await case.coming(transaction)]
        if one.completed:
            sentences.append(
                visit._("It was completed. If this message was sent, change the place first.")
            )
        return case.proposal(
            title=visit._("Start the subscription again"),
            button=visit._("Start it again"),
            sentences=sentences,
            undo=undo(visit),
            objection=visit._("The subscription is active already.") if is_under_way else "",
        )

    async def do(self, transaction: Transaction, case: Case) -> str:
        await case.change(transaction, active=True, completed=False, process_status=READY)
        return case.visit._("The subscription is active again.")
