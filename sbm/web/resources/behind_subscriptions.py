"""``/api/v1/behind-subscriptions``: who has had fewer messages than expected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from attrs import frozen
from twisted.web.server import Request

from sbm.model.behind import BehindSubscription
from sbm.model.user import FIND_BEHIND_SUBSCRIPTIONS, VIEW_BEHIND_SUBSCRIPTIONS
from sbm.store import behind_subscriptions, tasks
from sbm.web.http.endpoint import ApiRequest, Endpoint, OptionsInfo, Reply, new_app
from sbm.web.http.errors import NotFound
from sbm.web.http.wire import LARGEST_ID, instant, row_id
from sbm.web.schema.pages import Listing, Order

_LIST = OptionsInfo(
    name="Behind Subscription List",
    description="The subscriptions that were behind when they were last looked for.",
)
_INSTANCE = OptionsInfo(name="Behind Subscription Instance", description=_LIST.description)
_FIND = OptionsInfo(
    name="Find Behind Subscriptions",
    description="Looks for the subscriptions that are behind now, in the background.",
)


@frozen(eq=False)
class BehindSubscriptions:
    """Those who are behind; ``wake`` is called once a search is asked for and committed."""

    app = new_app()

    _front: Endpoint
    _wake: Callable[[], None]

    @app.route("/")
    async def collection(self, request: Request) -> bytes:
        methods = {"GET": self._list}
        return await self._front.answer(
            request, _LIST, methods, permission=VIEW_BEHIND_SUBSCRIPTIONS
        )

    @app.route("/find_behind_subscriptions")
    async def search(self, request: Request) -> bytes:
        methods = {"POST": self._find}
        return await self._front.answer(
            request, _FIND, methods, permission=FIND_BEHIND_SUBSCRIPTIONS
        )

    @app.route("/<number>")
    async def instance(self, request: Request, number: str) -> bytes:
        methods = {"GET": partial(self._read, number)}
        return await self._front.answer(
            request, _INSTANCE, methods, permission=VIEW_BEHIND_SUBSCRIPTIONS
        )

    async def _list(self, exchange: ApiRequest) -> Reply:
        return await _LISTING.reply(self._front.database, exchange)

    async def _read(self, number: str, exchange: ApiRequest) -> Reply:
        found = await self._front.database.transact(
            behind_subscriptions.find, behind_id=row_id(number)
        )
        if found is None:
            raise NotFound
        return Reply(body=shown(exchange, found))

    async def _find(self, exchange: ApiRequest) -> Reply:
        """The body is not read."""
        task_id = await self._front.database.transact(
            tasks.request, kind="find-behind-subscriptions", requested_by=exchange.user.id
        )
        self._wake()
        return Reply(status=202, body={"accepted": True, "task_id": str(task_id)})


def shown(exchange: ApiRequest, behind: BehindSubscription) -> dict[str, Any]:
    """One of them as clients see it."""
    subscription_id = behind.subscription_id
    current, expected = behind.current_messageset_id, behind.expected_messageset_id
    return {
        "id": behind.id,
        "subscription": exchange.url(f"/api/v1/subscriptions/{subscription_id}/"),
        "subscription_id": str(subscription_id),
        "messages_behind": behind.messages_behind,
        "current_messageset": exchange.url(f"/api/v1/messageset/{current}/"),
        "current_messageset_id": current,
        "current_messageset_name": behind.current_messageset_name,
        "current_sequence_number": behind.current_sequence_number,
        "expected_messageset": exchange.url(f"/api/v1/messageset/{expected}/"),
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


_LISTING = Listing(
    name="behind-subscriptions",
    list_page=behind_subscriptions.list_page,
    shown=shown,
    order=Order(written=lambda row: [row.created_at.isoformat(), row.id], read=_key),
)
