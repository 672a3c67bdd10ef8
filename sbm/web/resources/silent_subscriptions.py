"""``/api/v1/silent``: active subscriptions that no tick reaches, and why."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.web.server import Request

from sbm.model.instants import instant
from sbm.model.silence import CAUSES, MEANINGS, SilentRecord
from sbm.model.user import PEOPLE_READ
from sbm.store import silent_subscriptions, tasks
from sbm.store.postgres.transaction import Transaction
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import InTransaction, reading
from sbm.web.http.needs import OPERATING
from sbm.web.http.needs import reading as needs_to_read
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.openapi.parts import TASK, Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import nullable, one_object, said, schema
from sbm.web.schema import filters
from sbm.web.schema.filters import Filter
from sbm.web.schema.json_schema import COUNT, MOMENT, ROW_ID, TEXT, URL, UUID

PATH = "/api/v1/silent/"

# How many groups are shown at most.
MOST_GROUPS = 1000

_NEEDS = needs_to_read(PEOPLE_READ)
FILTERS = [Filter(name="cause", read=filters.choice(CAUSES), note="Those with this cause.")]

_CAUSE = said(
    TEXT | {"enum": list(CAUSES)},
    "; ".join(f"`{cause}`: {meaning}" for cause, meaning in MEANINGS.items()) + ".",
)


def shown(request: ApiRequest, one: SilentRecord) -> dict[str, Any]:
    """A silent subscription as clients see it."""
    return {
        "id": one.id,
        "subscription": request.url(f"/api/v1/subscriptions/{one.subscription_id}/"),
        "subscription_id": str(one.subscription_id),
        "identity": one.identity,
        "cause": one.cause,
        "messageset": one.messageset_id,
        "messageset_name": one.messageset,
        "lang": one.lang,
        "schedule": one.schedule_id,
        "next_sequence_number": one.next_sequence_number,
        "found_at": instant(one.found_at),
    }


_ROW = one_object(
    {
        "id": ROW_ID,
        "subscription": said(URL, "The subscription."),
        "subscription_id": UUID,
        "identity": said(TEXT, "The person."),
        "cause": _CAUSE,
        "messageset": ROW_ID,
        "messageset_name": TEXT,
        "lang": TEXT,
        "schedule": ROW_ID,
        "next_sequence_number": said({"type": "integer"}, "The number of its next message, now."),
        "found_at": said(MOMENT, "The first search that found it with this cause."),
    }
)
_GROUP = one_object(
    {
        "cause": _CAUSE,
        "messageset": ROW_ID,
        "lang": TEXT,
        "schedule": ROW_ID,
        "count": COUNT,
    }
)
_COUNTS = one_object(
    {
        "searched_at": said(
            nullable(MOMENT), "When the last search ended; null: there was none yet."
        ),
        "active": said(COUNT, "How many active subscriptions it looked at."),
        "silent": said(COUNT, "How many of them are silent."),
        "by_cause": one_object(dict.fromkeys(CAUSES, COUNT)),
        "groups": said(
            {"type": "array", "items": _GROUP},
            f"By cause, message set, language and schedule. The largest come first;"
            f" {MOST_GROUPS:,} at most.",
        ),
    }
)

RESOURCE = Resource[SilentRecord](
    path=PATH,
    title="Silent Subscription",
    description="The active subscriptions that no tick reached at the last search.",
    methods=("GET",),
    needs=_NEEDS,
    shown=shown,
    filters=FILTERS,
    key="silent_id",
    list_page=silent_subscriptions.list_page,
    find=silent_subscriptions.find,
    sentences=Sentences(
        tag="Silent subscriptions",
        name="silent_subscription",
        one="a silent subscription",
        many="silent subscriptions",
        schema_name="SilentSubscription",
        row_schema=_ROW,
        key="The row.",
        notes={"LIST": "The result of the last search."},
    ),
)

_COUNTS_OPTIONS = OptionsInfo(
    name="Silent Counts", description="The counts of the last search, by cause"
)
_SEARCH = OptionsInfo(
    name="Find Silent Subscriptions",
    description="Looks for the active subscriptions that no tick reaches, in the background.",
)


@frozen(eq=False, kw_only=True)
class SilentSubscriptions(Collection):
    """Subscriptions that are silent; ``wake`` is called after a search was requested."""

    app = collection_app()
    resource = RESOURCE

    wake: Callable[[], None]

    @app.route("/counts")
    async def read_counts(self, request: Request) -> bytes:
        methods = {"GET": reading(_counts)}
        return await self.endpoint.answer(request, _COUNTS_OPTIONS, methods, needs=_NEEDS)

    @app.route("/search")
    async def search(self, request: Request) -> bytes:
        methods = {"POST": InTransaction(work=_request, reply=self._requested)}
        return await self.endpoint.answer(request, _SEARCH, methods, needs=OPERATING)

    async def _requested(self, _request: ApiRequest, task_id: uuid.UUID) -> Reply:
        self.wake()
        return Reply(status=202, body={"accepted": True, "task_id": str(task_id)})


async def _request(transaction: Transaction, request: ApiRequest) -> uuid.UUID:
    """The body is not read."""
    return await tasks.request(
        transaction, kind="find-silent-subscriptions", requested_by=request.user.id
    )


async def _counts(transaction: Transaction, _request: ApiRequest) -> Reply:
    found = await silent_subscriptions.find_counts(transaction)
    by_cause = dict.fromkeys(CAUSES, 0) if found is None else found.by_cause()
    return Reply(
        body={
            "searched_at": None if found is None else instant(found.searched_at),
            "active": 0 if found is None else found.active,
            "silent": sum(by_cause.values()),
            "by_cause": by_cause,
            "groups": [
                {
                    "cause": group.cause,
                    "messageset": group.messageset_id,
                    "lang": group.lang,
                    "schedule": group.schedule_id,
                    "count": count,
                }
                for group, count in ([] if found is None else found.counts[:MOST_GROUPS])
            ],
        }
    )


SECTION = Section(
    tags=[("Silent subscriptions", "Active subscriptions that no tick reaches.")],
    paths=[
        *RESOURCE.paths(),
        PathItem(
            path=f"{PATH}counts/",
            tag="Silent subscriptions",
            needs=_NEEDS,
            operations={
                "GET": Operation(
                    name="count_silent_subscriptions",
                    summary="Count silent subscriptions by cause",
                    description="The counts of the last search.",
                    answers={200: answer_of(schema("SilentCounts"), "The counts.")},
                )
            },
        ),
        PathItem(
            path=f"{PATH}search/",
            tag="Silent subscriptions",
            needs=OPERATING,
            operations={
                "POST": Operation(
                    name="find_silent_subscriptions",
                    summary="Search for subscriptions that no tick reaches",
                    description="A task does this in the background. The body is not read.",
                    answers={202: answer_of(TASK, "The task was accepted.")},
                )
            },
        ),
    ],
    schemas={**RESOURCE.schemas(), "SilentCounts": _COUNTS},
)
