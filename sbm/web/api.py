"""The whole HTTP API: the resources and their paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from attrs import field, frozen
from twisted.web.resource import IResource
from twisted.web.server import Request
from werkzeug.routing import Rule

from sbm.model.content_limits import ContentLimits
from sbm.model.role import Role
from sbm.model.simulation import SimulationSettings
from sbm.model.time_zones import TimeZones
from sbm.model.timeline import PlanClock
from sbm.model.user import MAX_TOKENS
from sbm.runtime.token_uses import TokenUses
from sbm.runtime.wakeups import Wakeups
from sbm.settings.config import SchedulingSettings
from sbm.store.postgres.database import Database
from sbm.telemetry import Telemetry
from sbm.web.description import description, docs, paths
from sbm.web.http.authentication import Authentication
from sbm.web.http.body_limits import BodyLimits
from sbm.web.http.connection_limits import Limits
from sbm.web.http.endpoint import Endpoint, new_app
from sbm.web.http.http_errors import NoSuchPath
from sbm.web.http.origin import Network, Proxies
from sbm.web.http.passwords import Passwords
from sbm.web.http.refused_requests import Refusals
from sbm.web.http.request import BoundedSite
from sbm.web.http.routing import RoutedResource
from sbm.web.http.targets import Paths
from sbm.web.http.uploads import UploadPlace, Uploads, place_of_api
from sbm.web.openapi.published import StaticDocument
from sbm.web.resources import root
from sbm.web.resources.audit import Audit
from sbm.web.resources.background import (
    SendEstimates,
    TaskRequest,
    run_send_estimate,
    sync_audio_files,
)
from sbm.web.resources.behind_subscriptions import BehindSubscriptions
from sbm.web.resources.binary_contents import PART, PATH, BinaryContents
from sbm.web.resources.deliveries import Deliveries, UndeliveredPeople
from sbm.web.resources.exposition import PrometheusMetrics
from sbm.web.resources.failed_tasks import FailedTasks
from sbm.web.resources.health import Health, library_versions
from sbm.web.resources.identities import Identities
from sbm.web.resources.intake import Intake
from sbm.web.resources.languages import Languages
from sbm.web.resources.ledger import Ledger
from sbm.web.resources.media import Media
from sbm.web.resources.message_versions import MessageVersions
from sbm.web.resources.messages import Messages
from sbm.web.resources.messagesets import MessageSets
from sbm.web.resources.metrics import MetricsResource
from sbm.web.resources.pauses import Pauses
from sbm.web.resources.people import Timelines
from sbm.web.resources.probes import Probes
from sbm.web.resources.scheduler_callbacks import SchedulerCallbacks
from sbm.web.resources.schedules import Schedules
from sbm.web.resources.silent_subscriptions import SilentSubscriptions
from sbm.web.resources.simulations import Simulations
from sbm.web.resources.subscriptions import Subscriptions
from sbm.web.resources.tasks import Tasks
from sbm.web.resources.ticks import Ticks
from sbm.web.resources.tokens import Tokens
from sbm.web.resources.triggers import Triggers
from sbm.web.resources.users import TokenAuth, Users, UserTokens

MAX_UPLOAD_BYTES = 50 * 2**20
_UTC = ZoneInfo("UTC")

# The classes with routes of their own, by the path below which these routes lie.
MOUNTED: Mapping[str, type[Any]] = {
    "/api/v1/user/token": UserTokens,
    "/api/token-auth": TokenAuth,
    "/api/v1/users": Users,
    "/api/v1/tokens": Tokens,
    "/api/v1/schedule": Schedules,
    "/api/v1/messageset": MessageSets,
    "/api/v1/message": Messages,
    "/api/v1/binarycontent": BinaryContents,
    "/api/v1/subscriptions": Subscriptions,
    "/api/v1/failed-tasks": FailedTasks,
    "/api/v1/behind-subscriptions": BehindSubscriptions,
    "/api/v1/silent": SilentSubscriptions,
    "/api/v1/simulations": Simulations,
    "/api/v1/ticks": Ticks,
    "/api/v1/pauses": Pauses,
    "/api/v1/audit": Audit,
    "/api/v1/identities": Identities,
    "/api/v1/ledger": Ledger,
    "/api/v1/message-versions": MessageVersions,
    "/api/v1/deliveries": Deliveries,
    "/api/v1/undelivered-people": UndeliveredPeople,
    "/api/v1/intake": Intake,
    "/api/v1/messageset_languages": Languages,
    "/api/v1/send-estimates": SendEstimates,
    "/api/v1/runsendestimate": TaskRequest,
    "/api/v1/sync_audio_files": TaskRequest,
    "/api/v1/tasks": Tasks,
    "/api/metrics": MetricsResource,
    "/api/health": Health,
}


@frozen(eq=False, kw_only=True)
class Root:
    """Everything below ``/``; ``mounted`` are the resources of MOUNTED, by the same paths."""

    app = new_app()

    endpoint: Endpoint
    mounted: Mapping[str, Any] = field()
    probes: Probes
    media: Media
    description: StaticDocument
    docs: StaticDocument
    console: IResource | None = None

    @mounted.validator
    def _check_mounted(self, _attribute: Any, mounted: Mapping[str, Any]) -> None:
        """A path without a resource would fail only when it is asked for."""
        if mounted.keys() != MOUNTED.keys():
            raise ValueError(f"not mounted in both: {mounted.keys() ^ MOUNTED.keys()}")

    @app.route("/api/v1")
    async def read_collections(self, request: Request) -> bytes:
        methods = {"GET": root.read_collections}
        return await self.endpoint.answer(request, root.COLLECTIONS_OPTIONS, methods)

    @app.route("/livez")
    def read_liveness(self, request: Request) -> bytes:
        return self.probes.read_liveness(request)

    @app.route("/readyz")
    async def read_readiness(self, request: Request) -> bytes:
        return await self.probes.read_readiness(request)

    @app.route("/metrics")
    def read_exposition(self, request: Request) -> bytes:
        return self.probes.read_exposition(request)

    @app.route("/media/<name>")
    async def fetch_file(self, request: Request, name: str) -> bytes:
        return await self.media.answer(request, name)

    @app.route("/api/v1/openapi.json")
    async def read_description(self, request: Request) -> bytes:
        return await self.description.answer(request)

    @app.route("/")
    def find_console(self, request: Request) -> bytes:
        return self.to_console(request)

    @app.route("/console")
    def to_console(self, request: Request) -> bytes:
        if self.console is None:
            raise NoSuchPath
        request.setResponseCode(303)
        request.setHeader(b"Location", b"/console/")
        return b""

    @app.route("/console/", branch=True)
    def open_console(self, request: Request) -> IResource:  # noqa: ARG002
        if self.console is None:
            raise NoSuchPath
        return self.console

    @app.route("/docs")
    async def read_docs(self, request: Request) -> bytes:
        return await self.docs.answer(request)


def _mount(path: str, rule: Rule) -> None:
    """Take over a route of the class that is mounted there.

    A branch of Klein would do, too, but it routes each request twice.
    """
    answer: Any = MOUNTED[path].app.endpoints[rule.endpoint]
    # A path that ends with a slash would also be found with two.
    below = "" if rule.rule == "/" else rule.rule

    @Root.app.route(f"{path}{below}", endpoint=f"{path} {rule.endpoint} {rule.rule}")
    def routed(self: Root, request: Request, **parts: str) -> Any:
        return answer(self.mounted[path], request, **parts)


for _path, _class in MOUNTED.items():
    for _rule in _class.app.url_map.iter_rules():
        _mount(_path, _rule)


def build(
    *,
    database: Database,
    scheduling: SchedulingSettings,
    version: str,
    role: Role = "all",
    wakeups: Wakeups,
    media_root: Path | None,
    max_upload_bytes: int = MAX_UPLOAD_BYTES,
    duplicate_window: timedelta = timedelta(0),
    trusted_proxies: Sequence[Network] = (),
    limits: Limits | None = None,
    telemetry: Telemetry | None = None,
    timezone: ZoneInfo = _UTC,
    simulation: SimulationSettings | None = None,
    content_limits: ContentLimits | None = None,
    max_tokens: int = MAX_TOKENS,
    token_uses: TokenUses | None = None,
    prompt: Database | None = None,
    passwords: Passwords | None = None,
    console: IResource | None = None,
    upload_places: Sequence[UploadPlace] = (),
) -> BoundedSite:
    """The site of the API.

    ``scheduling`` has the Scheduler's token, and what the Scheduler may call back for. ``version``
    and ``role`` are shown by the health check. ``wakeups`` are woken after the commit of work for
    the pipeline. Files of up to ``max_upload_bytes`` are stored in ``media_root``, if it is set,
    and served from there. For ``duplicate_window``, a day at most, the webhook refuses a request
    that repeats an earlier one; zero: never. The headers of ``trusted_proxies`` may say which
    address the client uses. ``telemetry`` is shown by ``/metrics`` and the health check; its
    ``pending_metrics`` are sent to the Metrics API. ``timezone`` is that of the schedules.
    ``simulation`` has the settings that decide what is sent, and ``content_limits`` are those of
    what is written. A user has at most
    ``max_tokens`` live tokens, and ``token_uses`` remembers which were used. ``prompt`` are
    connections that lists and registrations do not use. ``passwords`` are those that the
    ``console`` uses, too, if there is one; ``upload_places`` are its own.
    """
    reactor = database.reactor
    simulation = simulation or SimulationSettings()
    content = content_limits or ContentLimits()
    zones = TimeZones(
        default=scheduling.ticking_zone or timezone, scheduler=scheduling.ticking_zone
    )
    telemetry = telemetry or Telemetry()
    token_uses = token_uses or TokenUses(reactor=reactor)
    passwords = passwords or Passwords(database=database, reactor=reactor)
    proxies = Proxies(trusted_proxies)
    authentication = Authentication(
        database=database,
        passwords=passwords,
        scheduler_tokens=scheduling.inbound_tokens,
        token_used=token_uses.note,
        proxies=proxies,
    )
    endpoint = Endpoint(
        database=database, authentication=authentication, proxies=proxies, prompt=prompt
    )
    callbacks = SchedulerCallbacks(reactor=reactor, scheduling=scheduling, telemetry=telemetry)
    uploads = None
    if media_root is not None:
        uploads = Uploads(
            reactor=reactor,
            folder=media_root,
            limit=max_upload_bytes,
            places=[
                place_of_api(
                    path=PATH,
                    part=PART,
                    authentication=authentication,
                    needs=BinaryContents.resource.needs,
                ),
                *upload_places,
            ],
        )
    site_root = Root(
        endpoint=endpoint,
        mounted={
            "/api/v1/user/token": UserTokens(endpoint=endpoint, max_tokens=max_tokens),
            "/api/token-auth": TokenAuth(
                endpoint=endpoint, passwords=passwords, max_tokens=max_tokens
            ),
            "/api/v1/users": Users(endpoint=endpoint, passwords=passwords),
            "/api/v1/tokens": Tokens(endpoint=endpoint, max_tokens=max_tokens),
            "/api/v1/schedule": Schedules(
                endpoint=endpoint,
                wake=wakeups.ticks.wake,
                scheduling=scheduling,
                callbacks=callbacks,
                rules=simulation.rules,
            ),
            "/api/v1/messageset": MessageSets(endpoint=endpoint, limits=content),
            "/api/v1/message": Messages(endpoint=endpoint, limits=content),
            "/api/v1/binarycontent": BinaryContents(
                endpoint=endpoint,
                can_store=uploads is not None,
                limits=content,
            ),
            "/api/v1/subscriptions": Subscriptions(
                endpoint=endpoint,
                triggers=Triggers(
                    endpoint=endpoint,
                    wake=wakeups.sends.wake,
                    scheduling=scheduling,
                    callbacks=callbacks,
                ),
                window=duplicate_window,
                pending_metrics=telemetry.pending_metrics,
                limits=content,
            ),
            "/api/v1/failed-tasks": FailedTasks(
                endpoint=endpoint, wake=wakeups.sends.wake, wake_tasks=wakeups.tasks.wake
            ),
            "/api/v1/behind-subscriptions": BehindSubscriptions(
                endpoint=endpoint, wake=wakeups.tasks.wake
            ),
            "/api/v1/silent": SilentSubscriptions(endpoint=endpoint, wake=wakeups.tasks.wake),
            "/api/v1/simulations": Simulations(endpoint=endpoint, settings=simulation, zones=zones),
            "/api/v1/ticks": Ticks(endpoint=endpoint, wake=wakeups.pauses.wake),
            "/api/v1/pauses": Pauses(endpoint=endpoint, wake=wakeups.pauses.wake),
            "/api/v1/audit": Audit(endpoint=endpoint, limits=content, scheduling=scheduling),
            "/api/v1/intake": Intake(endpoint=endpoint),
            "/api/v1/ledger": Ledger(endpoint=endpoint),
            "/api/v1/message-versions": MessageVersions(endpoint=endpoint),
            "/api/v1/identities": Identities(
                endpoint=endpoint,
                timelines=Timelines(
                    endpoint=endpoint,
                    clock=PlanClock(mode=scheduling.mode, zones=zones),
                ),
            ),
            "/api/v1/deliveries": Deliveries(endpoint=endpoint),
            "/api/v1/undelivered-people": UndeliveredPeople(endpoint=endpoint),
            "/api/v1/messageset_languages": Languages(endpoint=endpoint),
            "/api/v1/send-estimates": SendEstimates(endpoint=endpoint),
            "/api/v1/runsendestimate": run_send_estimate(endpoint, wakeups.tasks.wake),
            "/api/v1/sync_audio_files": sync_audio_files(endpoint, wakeups.audio_copies.wake),
            "/api/v1/tasks": Tasks(endpoint=endpoint),
            "/api/metrics": MetricsResource(
                endpoint=endpoint,
                wake=wakeups.tasks.wake,
                pending_metrics=telemetry.pending_metrics,
                zone=timezone,
            ),
            "/api/health": Health(
                endpoint=endpoint,
                version=version,
                role=role,
                libraries=library_versions(),
                telemetry=telemetry,
            ),
        },
        probes=Probes(
            database=prompt or database,
            exposition=PrometheusMetrics(telemetry=telemetry, version=version),
        ),
        media=Media(reactor=reactor, root=media_root),
        description=description(version),
        docs=docs(version),
        console=console,
    )
    refusals = Refusals(reactor=reactor, telemetry=telemetry, paths=Paths(paths()))
    return BoundedSite(
        RoutedResource(site_root.app),
        reactor,
        limits=limits,
        uploads=uploads,
        refusals=refusals,
        body_limits=BodyLimits.with_metadata(content.metadata_bytes),
        proxies=endpoint.proxies,
        knows=passwords.guard.knows,
    )
