"""``/api/v1/intake``: what became of each request for a subscription, and counts of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from attrs import evolve, frozen
from twisted.web.server import Request

from sbm.model.instants import instant
from sbm.model.intake import (
    LONGEST_PERIOD,
    OUTCOMES,
    IntakeCount,
    IntakeEntry,
    Period,
    PeriodTooLong,
)
from sbm.model.intake import period as period_of
from sbm.model.paging import Page, PageRequest
from sbm.model.user import PEOPLE_READ
from sbm.store import intake
from sbm.store.intake import MOST_COUNTS, IntakeFilter
from sbm.store.postgres.transaction import Transaction
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import reading
from sbm.web.http.http_errors import Invalid
from sbm.web.http.needs import reading as needs_to_read
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.openapi.lists import INVALID_FILTER, parameters
from sbm.web.openapi.parts import Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import nullable, one_object, said, schema
from sbm.web.schema import filters
from sbm.web.schema.filters import Filter, read_filters
from sbm.web.schema.json_schema import COUNT, MOMENT, ROW_ID, TEXT, UUID

PATH = "/api/v1/intake/"

_NEEDS = needs_to_read(PEOPLE_READ)
_DAYS = LONGEST_PERIOD.days
_NOT_ALONE = (
    "No index serves it alone: add identity, request_id, reason, or an outcome that is not"
    " `created`; or read the counts, which need no more than this."
)
_TOO_LONG = f"It must not be more than {_DAYS} days after received_after."

_CALLER = Filter(name="caller", read=filters.text, note="Requests by this user.")
_CALLER_WITH_OTHERS = evolve(
    _CALLER,
    note="Requests by this user; with `identity`, `request_id`, `reason`, or an `outcome` that is"
    " not `created`.",
)
_PERIOD = [
    Filter(name="received_after", read=filters.moment, note="Requests at this time or later."),
    Filter(
        name="received_before",
        read=filters.moment,
        note=f"Requests at this time or before. The two are at most {_DAYS} days apart; by"
        f" default, the list has the last {_DAYS} days.",
    ),
]
FILTERS = [
    Filter(name="outcome", read=filters.choice(OUTCOMES), note="Requests that ended so."),
    Filter(
        name="reason",
        read=filters.text,
        note="Requests that were refused for this reason, such as `invalid`.",
    ),
    _CALLER_WITH_OTHERS,
    Filter(name="identity", read=filters.identity, note="Requests for this person."),
    Filter(
        name="request_id",
        read=filters.text,
        note="The request with this X-Request-ID, if it made nothing; the audit has the others.",
    ),
    *_PERIOD,
]

_OUTCOME = said(
    TEXT | {"enum": list(OUTCOMES)},
    "`created`: it made a subscription; `replayed`: its Idempotency-Key was used before, and the"
    " first answer was given again; `twin`: the same was requested within SBM_DUPLICATE_WINDOW;"
    " `refused`: it made nothing.",
)
_REASON = said(TEXT, "Why it was refused, in the words of the metric of refused requests.")
_FIELDS = said({"type": "array", "items": TEXT}, "The fields that were refused.")
_ROW = one_object(
    {
        "id": said(ROW_ID, "Newer entries have higher numbers."),
        "received_at": said(MOMENT, "When."),
        "outcome": _OUTCOME,
        "reason": _REASON,
        "fields": _FIELDS,
        "caller": said(TEXT, "The name of the user whose token or password it had."),
        "user": said(nullable(ROW_ID), "The id of the user; null: it was the Scheduler's token."),
        "action": said(TEXT, "The method and the path."),
        "request_id": said(nullable(TEXT), "The X-Request-ID of the request."),
        "idempotency_key": said(
            nullable(TEXT), "Its Idempotency-Key; null: it had none, or none that can be read."
        ),
        "identity": said(nullable(TEXT), "The person; null: it named none that can be read."),
        "subscription": said(
            nullable(UUID), "The subscription that it, or the first such request, made."
        ),
        "payload": said(
            {}, "If it was refused, the members of its body, without values of personal data."
        ),
    }
)
_COUNTS = one_object(
    {
        "received_after": said(MOMENT, "Where the counted time begins."),
        "received_before": said(MOMENT, "Where it ends."),
        "requests": said(COUNT, "All requests in this time: the sum of the counts."),
        "counts": said(
            {
                "type": "array",
                "items": one_object(
                    {
                        "outcome": _OUTCOME,
                        "reason": _REASON,
                        "fields": _FIELDS,
                        "caller": TEXT,
                        "count": COUNT,
                        "latest_at": said(MOMENT, "When the latest of them came."),
                    }
                ),
            },
            f"The largest come first; {MOST_COUNTS:,} at most.",
        ),
    }
)


def shown(_request: ApiRequest, entry: IntakeEntry) -> dict[str, Any]:
    """An entry as clients see it."""
    subscription_id = entry.subscription_id
    return {
        "id": entry.id,
        "received_at": instant(entry.received_at),
        "outcome": entry.outcome,
        "reason": entry.reason,
        "fields": list(entry.fields),
        "caller": entry.caller,
        "user": entry.user_id,
        "action": entry.action,
        "request_id": entry.request_id,
        "idempotency_key": entry.idempotency_key,
        "identity": entry.identity,
        "subscription": None if subscription_id is None else str(subscription_id),
        "payload": entry.payload,
    }


async def _list_page(
    transaction: Transaction,
    *,
    page: PageRequest,
    received_after: datetime | None = None,
    received_before: datetime | None = None,
    **wanted: Any,
) -> Page[IntakeEntry]:
    period = _period(transaction, received_after, received_before)
    entries = IntakeFilter(period=period, **wanted)
    if not entries.is_served:
        raise Invalid({"caller": [_NOT_ALONE]})
    return await intake.list_page(transaction, page=page, wanted=entries)


def _period(transaction: Transaction, after: datetime | None, before: datetime | None) -> Period:
    try:
        return period_of(after, before, now=transaction.local_time)
    except PeriodTooLong:
        raise Invalid({"received_before": [_TOO_LONG]}) from None


RESOURCE = Resource[IntakeEntry](
    path=PATH,
    title="Intake",
    description="What became of each authenticated request for a subscription.",
    methods=("GET",),
    needs=_NEEDS,
    shown=shown,
    filters=FILTERS,
    key="entry_id",
    list_page=_list_page,
    find=intake.find,
    sentences=Sentences(
        tag="Intake",
        name="intake_entry",
        one="an entry of the intake account",
        many="the intake account",
        schema_name="IntakeEntry",
        row_schema=_ROW,
        key="The entry.",
        answer="The entry.",
        notes={"LIST": "The newest come first."},
    ),
)

_OPTIONS = OptionsInfo(name="Intake Counts", description="Counts of requests by reason and caller")


@frozen(eq=False, kw_only=True)
class Intake(Collection):
    """The intake account, and its counts."""

    app = collection_app()
    resource = RESOURCE

    @app.route("/counts")
    async def read_counts(self, request: Request) -> bytes:
        methods = {"GET": reading(_counts)}
        return await self.endpoint.answer(request, _OPTIONS, methods, needs=_NEEDS)


async def _counts(transaction: Transaction, request: ApiRequest) -> Reply:
    wanted = await read_filters(transaction, [_CALLER, *_PERIOD], request.query)
    period = _period(transaction, wanted.get("received_after"), wanted.get("received_before"))
    counts = await intake.count(transaction, period=period, caller=wanted.get("caller"))
    return Reply(
        body={
            "received_after": instant(period.after),
            "received_before": instant(min(period.before, transaction.local_time)),
            "requests": sum(one.count for one in counts),
            "counts": [_count(one) for one in counts],
        }
    )


def _count(one: IntakeCount) -> dict[str, Any]:
    return {
        "outcome": one.outcome,
        "reason": one.reason,
        "fields": list(one.fields),
        "caller": one.caller,
        "count": one.count,
        "latest_at": instant(one.latest_at),
    }


SECTION = Section(
    tags=[("Intake", "What became of each request for a subscription.")],
    paths=[
        *RESOURCE.paths(),
        PathItem(
            path=f"{PATH}counts/",
            tag="Intake",
            needs=_NEEDS,
            operations={
                "GET": Operation(
                    name="count_intake",
                    summary="Count requests by reason and caller",
                    description="How many requests ended how, by caller.",
                    parameters=parameters([_CALLER, *_PERIOD]),
                    answers={
                        200: answer_of(schema("IntakeCounts"), "The counts."),
                        **INVALID_FILTER,
                    },
                )
            },
        ),
    ],
    schemas={**RESOURCE.schemas(), "IntakeCounts": _COUNTS},
)
