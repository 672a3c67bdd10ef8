"""The console: its screens, by their paths below ``/console``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from attrs import frozen
from klein import Klein
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from sbm.clients.identity_store import IdentityStore
from sbm.console.answering import PageNeeds, Pages
from sbm.console.rendering import Renderer
from sbm.console.screens.helpdesk import Helpdesk
from sbm.console.screens.helpdesk_actions import HelpdeskActions, HelpdeskUndo
from sbm.console.screens.lagging import Lagging
from sbm.console.screens.lagging_actions import LaggingActions
from sbm.console.screens.login import Login
from sbm.console.screens.today import Today
from sbm.console.screens.trouble import Trouble
from sbm.console.static_files import StaticFiles
from sbm.console.throttle import Throttle
from sbm.console.visit import View, Visit
from sbm.model.content_rules import MAX_TEXT_LENGTH
from sbm.model.time_zones import TimeZones
from sbm.model.timeline import PlanClock
from sbm.operations.undoing import UndoRules
from sbm.runtime.wakeups import Wakeups
from sbm.store.postgres.database import Database
from sbm.telemetry import Telemetry
from sbm.web.http.origin import Proxies
from sbm.web.http.passwords import Passwords

# The classes with routes of their own, by the path below which these routes lie.
SCREENS: Mapping[str, type[Any]] = {
    "": Login,
    "/": Today,
    "/people": Helpdesk,
    "/people/<identity>/<subscription>": HelpdeskActions,
    "/people/<identity>/undo": HelpdeskUndo,
    "/behind": Lagging,
    "/behind/do": LaggingActions,
    "/trouble": Trouble,
}


@frozen(eq=False, kw_only=True)
class Console:
    """Everything below ``/console``; ``screens`` are those of SCREENS, by the same paths."""

    app = Klein()

    pages: Pages
    screens: Mapping[str, Any]
    files: StaticFiles

    def resource(self) -> IResource:
        """The resource of the console, for the root of the site."""
        resource: IResource = self.app.resource()
        return resource

    @app.route("/static/<name>")
    async def static(self, request: Request, name: str) -> bytes:
        file = self.files.find(name)
        if file is None:
            return await self.pages.answer(request, PageNeeds(), get=self._missing)
        return self.files.answer(request, file)

    @app.handle_errors(HTTPException)  # type: ignore[arg-type]
    async def unknown_path(self, request: Request, failure: Failure) -> bytes:  # noqa: ARG002
        return await self.pages.answer(request, PageNeeds(), get=self._missing, post=self._missing)

    async def _missing(self, _visit: Visit) -> View:
        return View(template="refused.html", values={"told": []}, status=404)


def _mount(path: str, rule: Rule) -> None:
    """Take over a route of the screen that is mounted there."""
    answer: Any = SCREENS[path].app.endpoints[rule.endpoint]
    below = "" if path.endswith("/") and rule.rule == "/" else rule.rule

    @Console.app.route(f"{path}{below}", endpoint=f"{path} {rule.endpoint} {rule.rule}")
    def routed(self: Console, request: Request, **parts: str) -> Any:
        return answer(self.screens[path], request, **parts)


for _path, _class in SCREENS.items():
    for _rule in _class.app.url_map.iter_rules():
        _mount(_path, _rule)


def build(
    *,
    database: Database,
    passwords: Passwords,
    proxies: Proxies,
    telemetry: Telemetry,
    timezone: ZoneInfo,
    version: str,
    media_url: str = "",
    clock: PlanClock | None = None,
    wakeups: Wakeups | None = None,
    identity_store: IdentityStore | None = None,
    max_text_length: int = MAX_TEXT_LENGTH,
) -> Console:
    """The console. ``timezone`` is that of the schedules; ``media_url`` is SBM_MEDIA_URL.

    ``clock`` says what makes the ticks. ``wakeups`` are woken after the commit of work for the
    pipeline. The ``identity_store`` finds people by their numbers. A text that is sent has at most
    ``max_text_length`` characters.
    """
    media = urlsplit(media_url)
    clock = clock or PlanClock(mode="builtin", zones=TimeZones(default=timezone))
    wakeups = wakeups or Wakeups.of(database.reactor)
    pages = Pages(
        database=database,
        proxies=proxies,
        renderer=Renderer(zone=timezone, version=version),
        media_origin=f"{media.scheme}://{media.netloc}" if media.netloc else "",
    )
    return Console(
        pages=pages,
        files=StaticFiles(),
        screens={
            "": Login(
                pages=pages,
                passwords=passwords,
                throttle=Throttle(reactor=database.reactor),
                telemetry=telemetry,
            ),
            "/": Today(pages=pages),
            "/people": Helpdesk(pages=pages, clock=clock, identity_store=identity_store),
            "/behind": Lagging(pages=pages),
            "/behind/do": LaggingActions(
                pages=pages,
                zones=clock.zones,
                wake_sends=wakeups.sends.wake,
                wake_tasks=wakeups.tasks.wake,
            ),
            "/trouble": Trouble(
                pages=pages, wake_sends=wakeups.sends.wake, wake_tasks=wakeups.tasks.wake
            ),
            "/people/<identity>/<subscription>": HelpdeskActions(
                pages=pages,
                clock=clock,
                max_text_length=max_text_length,
                wake=wakeups.sends.wake,
            ),
            "/people/<identity>/undo": HelpdeskUndo(
                pages=pages,
                rules=UndoRules(
                    max_text_length=max_text_length, ticking_zone=clock.zones.scheduler
                ),
            ),
        },
    )
