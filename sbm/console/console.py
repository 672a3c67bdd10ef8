"""The console: its screens, by their paths below ``/console``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from attrs import frozen
from klein import Klein
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect, Rule

from sbm.clients.identity_store import IdentityStore
from sbm.console.answering import Handler, PageNeeds, Pages
from sbm.console.drafting import DraftRules
from sbm.console.live import LivePart, LiveParts
from sbm.console.rendering import Renderer
from sbm.console.screens.accounts import Accounts
from sbm.console.screens.audit_trail import AuditTrail
from sbm.console.screens.content_sets import ContentSets
from sbm.console.screens.grid_screen import GridScreen
from sbm.console.screens.help_pages import HelpPages
from sbm.console.screens.helpdesk import Helpdesk
from sbm.console.screens.helpdesk_actions import HelpdeskActions, HelpdeskUndo
from sbm.console.screens.intake_account import IntakeAccount
from sbm.console.screens.lagging import Lagging
from sbm.console.screens.lagging_actions import LaggingActions
from sbm.console.screens.login import Login
from sbm.console.screens.message_editor import MessageEditor
from sbm.console.screens.message_file import MessageFile, upload_place
from sbm.console.screens.message_screen import MessageRules
from sbm.console.screens.operations import Operations
from sbm.console.screens.schedule_screen import ScheduleScreen
from sbm.console.screens.sends_control import SendsControl
from sbm.console.screens.session_pages import SessionPages
from sbm.console.screens.set_clone import SetClone
from sbm.console.screens.start import StartPages
from sbm.console.screens.tick_actions import TickActions
from sbm.console.screens.tick_pages import TickPages
from sbm.console.screens.today import Today
from sbm.console.screens.token_pages import TokenPages
from sbm.console.screens.trouble import Trouble
from sbm.console.static_files import StaticFiles
from sbm.console.throttle import Throttle
from sbm.console.visit import View, Visit, go_to
from sbm.model.content_limits import ContentLimits
from sbm.model.durations import TickGrace
from sbm.model.simulation import SimulationSettings
from sbm.model.tick_times import Expectations
from sbm.model.time_zones import TimeZones
from sbm.model.timeline import PlanClock
from sbm.model.user import MAX_TOKENS
from sbm.operations.undoing import UndoRules
from sbm.runtime.wakeups import Wakeups
from sbm.store.postgres.database import Database
from sbm.telemetry import Telemetry
from sbm.web.http.http_errors import NoSuchPath
from sbm.web.http.origin import Proxies
from sbm.web.http.passwords import Passwords
from sbm.web.http.uploads import UploadPlace

# The settings of a service whose Scheduler does not make the ticks.
DEFAULT_RULES = UndoRules()

# The classes with routes of their own, by the path below which these routes lie.
SCREENS: Mapping[str, type[Any]] = {
    "": Login,
    "/": Today,
    "/start": StartPages,
    "/ticks": TickPages,
    "/ticks/<key>": TickActions,
    "/operations": Operations,
    "/operations/pauses": SendsControl,
    "/help": HelpPages,
    "/audit": AuditTrail,
    "/users": Accounts,
    "/tokens": TokenPages,
    "/sessions": SessionPages,
    "/intake": IntakeAccount,
    "/content": ContentSets,
    "/content/schedules": ScheduleScreen,
    "/content/<key>": GridScreen,
    "/content/<key>/clone": SetClone,
    "/content/<key>/<number>/<lang>": MessageEditor,
    "/content/<key>/<number>/<lang>/file": MessageFile,
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
    live: LiveParts

    @property
    def upload_places(self) -> Sequence[UploadPlace]:
        """Where the console takes files."""
        return [upload_place(self.pages)]

    def resource(self) -> IResource:
        """The resource of the console, for the root of the site."""
        resource: IResource = self.app.resource()
        return resource

    @app.route("/static/<name>")
    async def static(self, request: Request, name: str) -> bytes:
        async def answered(request: Request, _origin: str) -> View:
            return self.files.view(request, name)

        return await self.pages.answer_stranger(request, answered)

    @app.route("/live/<name>")
    async def listen(self, request: Request, name: str) -> bytes:
        return await self.pages.answer(
            request, PageNeeds(), get=partial(self.live.answer, name=name)
        )

    @app.handle_errors(HTTPException)  # type: ignore[arg-type]
    async def unknown_path(self, request: Request, failure: Failure) -> bytes:
        get: Handler = self._missing
        if isinstance(failure.value, RequestRedirect):  # only the slash at the end is missing
            get = self._with_slash
        return await self.pages.answer(request, PageNeeds(), get=get, post=self._missing)

    async def _with_slash(self, visit: Visit) -> View:
        return go_to(f"{visit.path}/", **visit.query)

    async def _missing(self, _visit: Visit) -> View:
        raise NoSuchPath


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

_LIMITS = ContentLimits()


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
    identity_store: IdentityStore | None = None,
    undo_rules: UndoRules = DEFAULT_RULES,
    max_tokens: int = MAX_TOKENS,
    clock: PlanClock | None = None,
    limits: ContentLimits = _LIMITS,
    can_store: bool = False,
    signs: Callable[[], float] = float,
) -> Console:
    """The console. ``timezone`` is that of the schedules; ``media_url`` is SBM_MEDIA_URL.

    ``wakeups`` are woken after the commit of work for the pipeline. Changes are undone by the
    ``undo_rules``, and a user has at most ``max_tokens`` live tokens. ``clock`` says what makes the
    ticks. ``limits`` are those of content. ``can_store``: there is a
    folder for files. The ``identity_store`` finds people by their numbers. ``by`` and ``zones`` say
    when ticks are due, and ``simulation`` has the settings that decide what is sent. ``signs``
    returns another number whenever something has changed, as far as this process knows.
    """
    media = urlsplit(media_url)
    files = StaticFiles()
    by = by or Expectations(mode="builtin", time_zone=timezone, grace=TickGrace(timedelta(hours=1)))
    zones = zones or TimeZones(default=timezone)
    wakeups = wakeups or Wakeups.of(database.reactor)
    throttle = Throttle(reactor=database.reactor)
    clock = clock or PlanClock(mode="builtin", zones=TimeZones(default=timezone))
    drafts = DraftRules(limits=limits, ticking_zone=clock.zones.scheduler)
    messages = MessageRules(drafts=drafts, media_url=media_url or "/media", can_store=can_store)
    renderer = Renderer(zone=timezone, version=version, addresses=files.addresses())
    pages = Pages(
        database=database,
        proxies=proxies,
        renderer=renderer,
        media_origin=f"{media.scheme}://{media.netloc}" if media.netloc else "",
    )
    today = Today(pages=pages, by=by, zones=zones, telemetry=telemetry)
    ticks = TickPages(pages=pages)
    operations = Operations(pages=pages, telemetry=telemetry)
    return Console(
        pages=pages,
        files=files,
        live=LiveParts(
            reactor=database.reactor,
            database=database,
            renderer=renderer,
            parts={
                "today": LivePart(template="today_live.html", values=today.live),
                "tick": LivePart(template="tick_live.html", values=ticks.live),
                "operations": LivePart(template="operations_live.html", values=operations.live),
            },
            signs=signs,
        ),
        screens={
            "": Login(
                pages=pages,
                passwords=passwords,
                throttle=throttle,
                telemetry=telemetry,
            ),
            "/": today,
            "/start": StartPages(
                pages=pages,
                by=by,
                zones=zones,
                settings=simulation or SimulationSettings(),
                wakeups=wakeups,
            ),
            "/ticks": ticks,
            "/ticks/<key>": TickActions(pages=pages, wakeups=wakeups),
            "/operations": operations,
            "/operations/pauses": SendsControl(pages=pages, wake=wakeups.pauses.wake),
            "/help": HelpPages(pages=pages),
            "/audit": AuditTrail(pages=pages, rules=undo_rules),
            "/users": Accounts(pages=pages, passwords=passwords),
            "/tokens": TokenPages(pages=pages, max_tokens=max_tokens),
            "/sessions": SessionPages(pages=pages, passwords=passwords, throttle=throttle),
            "/intake": IntakeAccount(pages=pages),
            "/content": ContentSets(pages=pages, rules=drafts),
            "/content/schedules": ScheduleScreen(pages=pages, zones=clock.zones, rules=drafts),
            "/content/<key>": GridScreen(pages=pages),
            "/content/<key>/clone": SetClone(pages=pages, rules=drafts),
            "/content/<key>/<number>/<lang>": MessageEditor(pages=pages, rules=messages),
            "/content/<key>/<number>/<lang>/file": MessageFile(pages=pages, rules=messages),
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
                max_text_length=limits.text_length,
                wake=wakeups.sends.wake,
            ),
            "/people/<identity>/undo": HelpdeskUndo(
                pages=pages,
                rules=undo_rules,
            ),
        },
    )
