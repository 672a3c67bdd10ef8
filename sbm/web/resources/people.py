"""``/api/v1/identities/<identity>/timeline``: what happened to a person, and what is planned."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from attrs import frozen
from twisted.web.server import Request

from sbm.model.identity import canonical_uuid
from sbm.model.instants import instant
from sbm.model.paging import EndlessPage, PortionSize
from sbm.model.timeline import PersonEvent, Plan, PlanClock
from sbm.model.user import PEOPLE_READ
from sbm.operations import people
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import Endpoint, InTransaction
from sbm.web.http.needs import reading
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.openapi.lists import INVALID_FILTER, NOT_FOUND, key
from sbm.web.openapi.parts import Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import nullable, one_object, ref, said, schema
from sbm.web.schema.json_schema import COUNT, FLAG, MOMENT, TEXT, URL, UUID
from sbm.web.schema.pages import EndlessListing, EndlessPortion, Order

_NEEDS = reading(PEOPLE_READ)

_EVENT = one_object(
    {
        "at": said(MOMENT, "When it happened."),
        "event": said(
            TEXT,
            "`registered`, `chained` (from the set before), `changed`, `deleted`, `completed`,"
            " `resend-requested`, `sent-twice`, an outcome of the ledger; or `request-refused`,"
            " `request-twin` or `request-replayed`: a request that made no subscription.",
        ),
        "subscription": said(nullable(UUID), "The subscription, which may be deleted."),
        "by": said(nullable(TEXT), "The user or operator who did it, if one did."),
        "reason": said(TEXT, "Why, in words."),
        "text": said(nullable(TEXT), "The text as it was sent, with the prepend."),
        "details": said({"type": "object"}, "What else is known, by the kind of the event."),
    }
)
_PLAN = one_object(
    {
        "subscription": said(UUID, "The subscription."),
        "messageset": said(COUNT, "Its message set."),
        "short_name": said(TEXT, "The short name of the set."),
        "lang": said(TEXT, "Its language."),
        "messages": {
            "type": "array",
            "items": one_object(
                {
                    "sequence_number": said({"type": "integer"}, "The number of the message."),
                    "lang": said(
                        nullable(TEXT),
                        "The language in which it is sent; null: the subscription waits for the"
                        " translation.",
                    ),
                    "at": said(nullable(MOMENT), "When its tick comes; null: that is not known."),
                    "state": said(nullable(TEXT), "The state of its send, if it is live."),
                }
            ),
        },
        "obstacles": said(
            {"type": "array", "items": TEXT}, "What stands in the way; empty: nothing."
        ),
        "completes": said(FLAG, "Whether the set ends with these messages."),
        "next_set": said(nullable(COUNT), "The set that follows then."),
    }
)
_TIMELINE = one_object(
    {
        "planned": said(
            {"type": ["array", "null"], "items": schema("PersonPlan")},
            "What comes next, for each subscription that is not completed; null on later pages.",
        ),
        "next": said(nullable(URL), "The next page; null on the last one."),
        "results": {"type": "array", "items": schema("PersonEvent")},
    }
)


def shown_event(event: PersonEvent) -> dict[str, Any]:
    """An event as clients see it."""
    subscription_id = event.subscription_id
    return {
        "at": instant(event.at),
        "event": event.event,
        "subscription": None if subscription_id is None else str(subscription_id),
        "by": event.actor,
        "reason": event.reason,
        "text": event.text,
        "details": event.details,
    }


def shown_plan(plan: Plan) -> dict[str, Any]:
    """A plan as clients see it."""
    return {
        "subscription": str(plan.subscription_id),
        "messageset": plan.messageset_id,
        "short_name": plan.short_name,
        "lang": plan.lang,
        "messages": [
            {
                "sequence_number": one.sequence_number,
                "lang": one.lang,
                "at": one.at and instant(one.at),
                "state": one.state,
            }
            for one in plan.messages
        ],
        "obstacles": list(plan.obstacles),
        "completes": plan.completes,
        "next_set": plan.next_set_id,
    }


def _key_of(key: list[Any]) -> tuple[datetime, str, str]:
    moment, source, name = key
    at = datetime.fromisoformat(moment)
    if at.tzinfo is None or not isinstance(source, str) or not isinstance(name, str):
        raise ValueError("no key of an event")
    return at, source, name


_ORDER: Order[PersonEvent] = Order(
    written=lambda event: [event.at.isoformat(), event.source, event.ref], read=_key_of
)

_OPTIONS = OptionsInfo(
    name="Timeline", description="All that happened to a person, and what is planned."
)


async def _list_portion(
    transaction: Transaction, *, size: PortionSize, after: Any, identity: str
) -> EndlessPage[PersonEvent]:
    return await people.list_events(
        transaction, identity=identity, limit=size.rows, most_bytes=size.bytes, after=after
    )


@frozen(eq=False, kw_only=True)
class Timelines:
    """The stories of people; ``clock`` says when their next messages come."""

    endpoint: Endpoint
    clock: PlanClock

    async def answer(self, request: Request, identity: str) -> bytes:
        """Answer a request for the timeline of a person."""
        identity = canonical_uuid(identity) or identity
        listing: EndlessListing[PersonEvent] = EndlessListing(
            name=f"timeline of {identity}",
            list_page=partial(_list_portion, identity=identity),
            shown=shown_event,
            order=_ORDER,
        )
        method = InTransaction(
            work=partial(self._read, identity, listing),
            reply=partial(self._reply, listing),
            only_reads=True,
            lane="list",
        )
        return await self.endpoint.answer(request, _OPTIONS, {"GET": method}, needs=_NEEDS)

    async def _read(
        self,
        identity: str,
        listing: EndlessListing[PersonEvent],
        transaction: Transaction,
        request: ApiRequest,
    ) -> tuple[Sequence[Plan] | None, EndlessPortion[PersonEvent]]:
        portion = await listing.read(transaction, request)
        if request.query.get("cursor"):
            return None, portion
        return await people.list_plans(transaction, identity=identity, clock=self.clock), portion

    async def _reply(
        self,
        listing: EndlessListing[PersonEvent],
        request: ApiRequest,
        found: tuple[Sequence[Plan] | None, EndlessPortion[PersonEvent]],
    ) -> Reply:
        plans, portion = found
        planned = None if plans is None else [shown_plan(plan) for plan in plans]
        return await listing.reply(self.endpoint, request, portion, planned=planned)


SECTION = Section(
    tags=[("People", "What happened to a person, and what is planned.")],
    paths=[
        PathItem(
            path="/api/v1/identities/{identity}/timeline/",
            tag="People",
            needs=_NEEDS,
            parameters=key("identity", TEXT, "The identity of the person."),
            operations={
                "GET": Operation(
                    name="read_timeline",
                    summary="Read all that happened to a person",
                    description="The newest come first. The first page also has what is planned:"
                    " the next five messages of each subscription, when their ticks come by the"
                    " clock that ticks, and what stands in the way. Deleted subscriptions are"
                    " told of, too.",
                    parameters=[ref("parameters", "limit"), ref("parameters", "cursor")],
                    answers={
                        200: answer_of(schema("Timeline"), "One page."),
                        **INVALID_FILTER,
                        **NOT_FOUND,
                    },
                )
            },
        )
    ],
    schemas={"Timeline": _TIMELINE, "PersonEvent": _EVENT, "PersonPlan": _PLAN},
)
