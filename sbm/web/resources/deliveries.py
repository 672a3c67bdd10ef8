"""``/api/v1/deliveries`` and ``/api/v1/undelivered-people``: what reached people's phones."""

from __future__ import annotations

from datetime import date
from typing import Any

from attrs import frozen
from twisted.web.server import Request

from sbm.model.delivery import DeliveryCount, UndeliveredPerson
from sbm.model.instants import instant
from sbm.model.user import PEOPLE_READ
from sbm.store import deliveries
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import Endpoint, new_app
from sbm.web.http.needs import reading
from sbm.web.http.reply import OptionsInfo
from sbm.web.openapi.lists import listing
from sbm.web.openapi.parts import PathItem, Section
from sbm.web.openapi.schemas import one_object, page_of, said
from sbm.web.schema import filters
from sbm.web.schema.filters import Filter
from sbm.web.schema.json_schema import COUNT, DAY, MOMENT, ROW_ID, TEXT
from sbm.web.schema.pages import Listing, Order

COUNTS = "/api/v1/deliveries/"
PEOPLE = "/api/v1/undelivered-people/"

_NEEDS = reading(PEOPLE_READ)

_COUNT = one_object(
    {
        "day": said(DAY, "The day on which they were sent, in UTC."),
        "messageset": said(COUNT, "The message set."),
        "lang": said(TEXT, "The language."),
        "seen": said(COUNT, "How many outbounds of that day were looked at again."),
        "delivered": said(COUNT, "How many of them were delivered."),
        "final": said(COUNT, "How many of them are not looked at again."),
    }
)
_PERSON = one_object(
    {
        "identity": said(TEXT, "The person."),
        "in_row": said(ROW_ID, "How many messages in a row were not delivered, up to the last."),
        "since": said(MOMENT, "When the first of them was sent."),
        "last_at": said(MOMENT, "When the last of them was sent."),
    }
)


def _count(_request: ApiRequest, one: DeliveryCount) -> dict[str, Any]:
    return {
        "day": one.day.isoformat(),
        "messageset": one.messageset_id,
        "lang": one.lang,
        "seen": one.seen,
        "delivered": one.delivered,
        "final": one.final,
    }


def _person(_request: ApiRequest, one: UndeliveredPerson) -> dict[str, Any]:
    return {
        "identity": one.identity,
        "in_row": one.in_row,
        "since": instant(one.since),
        "last_at": instant(one.last_at),
    }


def _number(told: Any) -> int:
    if type(told) is not int or not 0 <= told < 2**63:
        raise ValueError("no number")
    return told


def _day_and_id(key: list[Any]) -> tuple[date, int]:
    day, row_id = key
    return date.fromisoformat(day), _number(row_id)


def _numbers(key: list[Any]) -> tuple[int, int]:
    in_row, row_id = key
    return _number(in_row), _number(row_id)


_COUNT_FILTERS = [
    Filter(
        name="messageset",
        parameter="messageset_id",
        read=filters.integer,
        note="Counts of this message set.",
    ),
    Filter(name="lang", read=filters.text, note="Counts of this language."),
    Filter(
        name="after", parameter="day_after", read=filters.day, note="Counts of this day or later."
    ),
    Filter(
        name="before",
        parameter="day_before",
        read=filters.day,
        note="Counts of this day or before.",
    ),
]
_PEOPLE_FILTERS = [
    Filter(
        name="in_row",
        read=filters.integer,
        note="People with so many undelivered messages in a row, or more.",
    ),
    Filter(name="identity", read=filters.identity, note="This person."),
]

_COUNT_LIST: Listing[DeliveryCount] = Listing(
    name="deliveries",
    list_page=deliveries.list_counts,
    shown=_count,
    order=Order(written=lambda row: [row.day.isoformat(), row.id], read=_day_and_id),
    filters=_COUNT_FILTERS,
)
_PEOPLE_LIST: Listing[UndeliveredPerson] = Listing(
    name="undelivered-people",
    list_page=deliveries.list_people,
    shown=_person,
    order=Order(written=lambda row: [row.in_row, row.id], read=_numbers),
    filters=_PEOPLE_FILTERS,
)

_COUNT_OPTIONS = OptionsInfo(
    name="Deliveries", description="How many messages were delivered, by day, set and language."
)
_PEOPLE_OPTIONS = OptionsInfo(
    name="Undelivered People", description="People whose last messages were not delivered."
)


@frozen(eq=False, kw_only=True)
class Deliveries:
    """The counts by day, message set and language."""

    app = new_app()

    endpoint: Endpoint

    @app.route("/")
    async def counts(self, request: Request) -> bytes:
        methods = {"GET": _COUNT_LIST.method(self.endpoint)}
        return await self.endpoint.answer(request, _COUNT_OPTIONS, methods, needs=_NEEDS)


@frozen(eq=False, kw_only=True)
class UndeliveredPeople:
    """The people whose last messages were not delivered."""

    app = new_app()

    endpoint: Endpoint

    @app.route("/")
    async def people(self, request: Request) -> bytes:
        methods = {"GET": _PEOPLE_LIST.method(self.endpoint)}
        return await self.endpoint.answer(request, _PEOPLE_OPTIONS, methods, needs=_NEEDS)


SECTION = Section(
    tags=[("Deliveries", "What reached people's phones.")],
    paths=[
        PathItem(
            path=COUNTS,
            tag="Deliveries",
            needs=_NEEDS,
            operations={
                "GET": listing(
                    "list_deliveries",
                    "Count what was delivered, by day, set and language",
                    "DeliveryCount",
                    _COUNT_FILTERS,
                    description="The newest days come first.",
                )
            },
        ),
        PathItem(
            path=PEOPLE,
            tag="Deliveries",
            needs=_NEEDS,
            operations={
                "GET": listing(
                    "list_undelivered_people",
                    "List people whose last messages were not delivered",
                    "UndeliveredPerson",
                    _PEOPLE_FILTERS,
                    description="Those with the most in a row come first.",
                )
            },
        ),
    ],
    schemas={
        "DeliveryCount": _COUNT,
        "DeliveryCountPage": page_of("DeliveryCount"),
        "UndeliveredPerson": _PERSON,
        "UndeliveredPersonPage": page_of("UndeliveredPerson"),
    },
)
