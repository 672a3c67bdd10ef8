"""The HTTP face as a whole: which resource answers where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.web.server import Request, Site

from sbm.store.database import Database
from sbm.web.authentication import Authentication
from sbm.web.errors import NotFound
from sbm.web.exchange import About, Exchange, Front, Reply, new_app
from sbm.web.health import Health, library_versions
from sbm.web.media import media_file
from sbm.web.messages import Messages
from sbm.web.messagesets import MessageSets
from sbm.web.request import BoundedRequest, QuietSite
from sbm.web.schedules import Schedules
from sbm.web.subscriptions import Subscriptions

_COLLECTIONS = ("subscriptions", "failed-tasks", "behind-subscriptions")
_ABOUT = About(name="Api Root", description="The collections, and where they are.")


@frozen(eq=False)
class Root:
    """Everything below ``/``."""

    app = new_app()

    _front: Front
    _schedules: Schedules
    _messagesets: MessageSets
    _messages: Messages
    _subscriptions: Subscriptions
    _health: Health
    _media_root: Path | None

    @app.route("/api/v1")
    async def collections(self, request: Request) -> bytes:
        return await self._front.answer(request, _ABOUT, {"GET": self._read_collections})

    @app.route("/api/v1/schedule", branch=True)
    def schedules(self, _request: Request) -> Any:
        return self._schedules.app.resource()

    @app.route("/api/v1/messageset", branch=True)
    def messagesets(self, _request: Request) -> Any:
        return self._messagesets.app.resource()

    @app.route("/api/v1/message", branch=True)
    def messages(self, _request: Request) -> Any:
        return self._messages.app.resource()

    @app.route("/api/v1/subscriptions", branch=True)
    def subscriptions(self, _request: Request) -> Any:
        return self._subscriptions.app.resource()

    @app.route("/api/health", branch=True)
    def health(self, _request: Request) -> Any:
        return self._health.app.resource()

    @app.route("/media/<name>")
    def media(self, request: Request, name: str) -> Any:
        found = None if self._media_root is None else media_file(self._media_root, name)
        if found is None:
            raise NotFound
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        return found

    async def _read_collections(self, exchange: Exchange) -> Reply:
        return Reply(body={name: exchange.url(f"/api/v1/{name}/") for name in _COLLECTIONS})


def build(
    *,
    database: Database,
    scheduler_token: str | None,
    version: str,
    wake: Callable[[], None],
    media_root: Path | None,
) -> Site:
    """The site of the API.

    ``scheduler_token`` is what the Scheduler shows (None: it has no access); ``version`` is told
    by the health check; ``wake`` is called after the commit of work for the pipeline; files are
    served from ``media_root`` if there is one.
    """
    front = Front(database, Authentication(database, scheduler_token))
    root = Root(
        front,
        Schedules(front, wake),
        MessageSets(front),
        Messages(front),
        Subscriptions(front, wake),
        Health(front, version, library_versions()),
        media_root,
    )
    resource = root.app.resource()
    return QuietSite(resource, requestFactory=BoundedRequest)  # type: ignore[no-untyped-call]
