"""The console: its screens, by their paths below ``/console``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
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

from sbm.console.answering import PageNeeds, Pages
from sbm.console.rendering import Renderer
from sbm.console.screens.login import Login
from sbm.console.screens.start import Start
from sbm.console.screens.tick_actions import TickActions
from sbm.console.screens.tick_pages import TickPages
from sbm.console.screens.today import Today
from sbm.console.static_files import StaticFiles
from sbm.console.throttle import Throttle
from sbm.console.visit import View, Visit
from sbm.model.durations import TickGrace
from sbm.model.simulation import SimulationSettings
from sbm.model.tick_times import Expectations
from sbm.model.time_zones import TimeZones
from sbm.runtime.wakeups import Wakeups
from sbm.store.postgres.database import Database
from sbm.telemetry import Telemetry
from sbm.web.http.origin import Proxies
from sbm.web.http.passwords import Passwords

# The classes with routes of their own, by the path below which these routes lie.
SCREENS: Mapping[str, type[Any]] = {
    "": Login,
    "/": Today,
    "/start": Start,
    "/ticks": TickPages,
    "/ticks/<key>": TickActions,
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
    by: Expectations | None = None,
    zones: TimeZones | None = None,
    simulation: SimulationSettings | None = None,
    wakeups: Wakeups | None = None,
) -> Console:
    """The console. ``timezone`` is that of the schedules; ``media_url`` is SBM_MEDIA_URL.

    ``by`` and ``zones`` say when ticks are due; ``simulation`` has the settings that decide what is
    sent; and ``wakeups`` are woken after the commit of work for the pipeline.
    """
    media = urlsplit(media_url)
    by = by or Expectations(mode="builtin", time_zone=timezone, grace=TickGrace(timedelta(hours=1)))
    zones = zones or TimeZones(default=timezone)
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
            "/": Today(pages=pages, by=by, zones=zones, telemetry=telemetry),
            "/start": Start(
                pages=pages,
                by=by,
                zones=zones,
                settings=simulation or SimulationSettings(),
                wakeups=wakeups,
            ),
            "/ticks": TickPages(pages=pages),
            "/ticks/<key>": TickActions(pages=pages, wakeups=wakeups),
        },
    )
