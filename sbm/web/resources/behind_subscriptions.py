"""``/api/v1/behind-subscriptions``: subscriptions with fewer messages than expected."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from attrs import frozen
from twisted.web.server import Request

from sbm.model.behind import BehindSubscription
from sbm.model.ids import LARGEST_ID
from sbm.model.instants import instant
from sbm.model.user import FIND_BEHIND_SUBSCRIPTIONS, PEOPLE_READ, VIEW_BEHIND_SUBSCRIPTIONS
from sbm.store import behind_subscriptions, tasks
from sbm.store.postgres.transaction import Transaction
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import InTransaction
from sbm.web.http.needs import Needs
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.openapi.parts import TASK, Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import one_object, said
from sbm.web.schema.json_schema import COUNT, MOMENT, ROW_ID, TEXT, URL, UUID
from sbm.web.schema.pages import Order

_FIND_NEEDS = Needs(of_path=FIND_BEHIND_SUBSCRIPTIONS, is_told=False)
_FIND = OptionsInfo(
    name="Find Behind Subscriptions",
    description="Looks for the subscriptions that are behind now, in the background.",
)


def shown(request: ApiRequest, behind: BehindSubscription) -> dict[str, Any]:
    """A subscription that is behind, as clients see it."""
    subscription_id = behind.subscription_id
    current, expected = behind.current_messageset_id, behind.expected_messageset_id
    return {
        "id": behind.id,
        "subscription": request.url(f"/api/v1/subscriptions/{subscription_id}/"),
        "subscription_id": str(subscription_id),
        "messages_behind": behind.messages_behind,
        "current_messageset": request.url(f"/api/v1/messageset/{current}/"),
        "current_messageset_id": current,
        "current_messageset_name": behind.current_messageset_name,
        "current_sequence_number": behind.current_sequence_number,
        "expected_messageset": request.url(f"/api/v1/messageset/{expected}/"),
        "expected_messageset_id": expected,
        "expected_messageset_name": behind.expected_messageset_name,
        "expected_sequence_number": behind.expected_sequence_number,
        "created_at": instant(behind.created_at),
    }


def _key(given: list[Any]) -> tuple[datetime, int]:
    moment, number = given
    created_at = datetime.fromisoformat(moment)
    if created_at.tzinfo is None or type(number) is not int or not 0 < number <= LARGEST_ID:
        raise ValueError("no key of this list")
    return created_at, number


_ROW = one_object(
    {
        "id": ROW_ID,
        "subscription": said(URL, "The subscription that is behind."),
        "subscription_id": UUID,
        "messages_behind": said(COUNT, "By how many messages it is behind."),
        "current_messageset": said(URL, "The set that it is in."),
        "current_messageset_id": ROW_ID,
        "current_messageset_name": TEXT,
        "current_sequence_number": said({"type": "integer"}, "The number of its next message."),
        "expected_messageset": said(URL, "The set that it should be in."),
        "expected_messageset_id": ROW_ID,
        "expected_messageset_name": TEXT,
        "expected_sequence_number": said(
            {"type": "integer"}, "The number that its next message should have."
        ),
        "created_at": said(MOMENT, "When the search found it."),
    }
)

RESOURCE = Resource[BehindSubscription](
    path="/api/v1/behind-subscriptions/",
    title="Behind Subscription",
    description="The subscriptions that were behind at the last search.",
    methods=("GET",),
    needs=Needs(of_path=VIEW_BEHIND_SUBSCRIPTIONS, of_method={"GET": PEOPLE_READ}, is_told=False),
    shown=shown,
    order=Order(written=lambda row: [row.created_at.isoformat(), row.id], read=_key),
    key="behind_id",
    list_page=behind_subscriptions.list_page,
    find=behind_subscriptions.find,
    sentences=Sentences(
        tag="Behind subscriptions",
        name="behind_subscription",
        one="a subscription that is behind",
        many="subscriptions that are behind",
        schema_name="BehindSubscription",
        row_schema=_ROW,
        key="The row.",
        notes={"LIST": "The result of the last search. The newest come first."},
    ),
)


@frozen(eq=False, kw_only=True)
class BehindSubscriptions(Collection):
    """Subscriptions that are behind; ``wake`` is called after a search was requested."""

    app = collection_app()
    resource = RESOURCE

    wake: Callable[[], None]

    @app.route("/find_behind_subscriptions")
    async def search(self, request: Request) -> bytes:
        methods = {"POST": InTransaction(work=_request, reply=self._requested)}
        return await self.endpoint.answer(request, _FIND, methods, needs=_FIND_NEEDS)

    async def _requested(self, _request: ApiRequest, task_id: uuid.UUID) -> Reply:
        self.wake()
        return Reply(status=202, body={"accepted": True, "task_id": str(task_id)})


async def _request(transaction: Transaction, request: ApiRequest) -> uuid.UUID:
    """The body is not read."""
    return await tasks.request(
        transaction, kind="find-behind-subscriptions", requested_by=request.user.id
    )


SECTION = Section(
    tags=[("Behind subscriptions", "Subscriptions that have had fewer messages than expected.")],
    paths=[
        *RESOURCE.paths(),
        PathItem(
            path="/api/v1/behind-subscriptions/find_behind_subscriptions/",
            tag="Behind subscriptions",
            needs=_FIND_NEEDS,
            operations={
                "POST": Operation(
                    name="find_behind_subscriptions",
                    summary="Search for subscriptions that are behind",
                    description="A task does this in the background. The body is not read.",
                    answers={202: answer_of(TASK, "The task was accepted.")},
                )
            },
        ),
    ],
    schemas=RESOURCE.schemas(),
)
