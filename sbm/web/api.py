"""The HTTP face as a whole: which resource answers where."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from attrs import frozen
from twisted.web.server import Request

from sbm.model.content_rules import MAX_TEXT_LENGTH
from sbm.runtime.wakeups import Wakeups
from sbm.settings.config import Scheduling
from sbm.store.postgres.database import Database
from sbm.telemetry import Telemetry
from sbm.web.http.authentication import Authentication
from sbm.web.http.channel import Limits
from sbm.web.http.endpoint import ApiRequest, Endpoint, OptionsInfo, Reply, new_app, written
from sbm.web.http.errors import MethodNotAllowed
from sbm.web.http.origin import Network, Proxies
from sbm.web.http.passwords import Passwords
from sbm.web.http.refusals import Refusals
from sbm.web.http.request import BoundedSite
from sbm.web.http.targets import Paths
from sbm.web.http.uploads import Uploads
from sbm.web.openapi.document import describe
from sbm.web.openapi.published import StaticDocument, description, docs
from sbm.web.resources.background import (
    SendEstimates,
    TaskRequest,
    run_send_estimate,
    sync_audio_files,
)
from sbm.web.resources.behind_subscriptions import BehindSubscriptions
from sbm.web.resources.binary_contents import PART, PATH, BinaryContents
from sbm.web.resources.exposition import PrometheusMetrics
from sbm.web.resources.failed_tasks import FailedTasks
from sbm.web.resources.health import Health, library_versions
from sbm.web.resources.languages import Languages
from sbm.web.resources.media import Media
from sbm.web.resources.messages import Messages
from sbm.web.resources.messagesets import MessageSets
from sbm.web.resources.metrics import Metrics
from sbm.web.resources.scheduler_callbacks import SchedulerCallbacks
from sbm.web.resources.schedules import Schedules
from sbm.web.resources.subscriptions import Subscriptions
from sbm.web.resources.tasks import Tasks
from sbm.web.resources.ticks import Ticks
from sbm.web.resources.users import TokenAuth, UserTokens

_COLLECTIONS = ("subscriptions", "failed-tasks", "behind-subscriptions")
MAX_UPLOAD_BYTES = 50 * 2**20
_UTC = ZoneInfo("UTC")

_ABOUT = OptionsInfo(name="Api Root", description="The collections, and where they are.")


@frozen(eq=False)
class Root:
    """Everything below ``/``."""

    app = new_app()

    _front: Endpoint
    _user_tokens: UserTokens
    _token_auth: TokenAuth
    _schedules: Schedules
    _messagesets: MessageSets
    _messages: Messages
    _binary_contents: BinaryContents
    _subscriptions: Subscriptions
    _failed_tasks: FailedTasks
    _behind_subscriptions: BehindSubscriptions
    _ticks: Ticks
    _languages: Languages
    _send_estimates: SendEstimates
    _run_send_estimate: TaskRequest
    _sync_audio_files: TaskRequest
    _tasks: Tasks
    _metrics: Metrics
    _health: Health
    _exposition: PrometheusMetrics
    _media: Media
    _description: StaticDocument
    _docs: StaticDocument

    @app.route("/api/v1")
    async def collections(self, request: Request) -> bytes:
        return await self._front.answer(request, _ABOUT, {"GET": self._read_collections})

    @app.route("/api/v1/user/token", branch=True)
    def user_tokens(self, _request: Request) -> Any:
        return self._user_tokens.app.resource()

    @app.route("/api/token-auth", branch=True)
    def token_auth(self, _request: Request) -> Any:
        return self._token_auth.app.resource()

    @app.route("/api/v1/schedule", branch=True)
    def schedules(self, _request: Request) -> Any:
        return self._schedules.app.resource()

    @app.route("/api/v1/messageset", branch=True)
    def messagesets(self, _request: Request) -> Any:
        return self._messagesets.app.resource()

    @app.route("/api/v1/message", branch=True)
    def messages(self, _request: Request) -> Any:
        return self._messages.app.resource()

    @app.route("/api/v1/binarycontent", branch=True)
    def binary_contents(self, _request: Request) -> Any:
        return self._binary_contents.app.resource()

    @app.route("/api/v1/subscriptions", branch=True)
    def subscriptions(self, _request: Request) -> Any:
        return self._subscriptions.app.resource()

    @app.route("/api/v1/failed-tasks", branch=True)
    def failed_tasks(self, _request: Request) -> Any:
        return self._failed_tasks.app.resource()

    @app.route("/api/v1/behind-subscriptions", branch=True)
    def behind_subscriptions(self, _request: Request) -> Any:
        return self._behind_subscriptions.app.resource()

    @app.route("/api/v1/ticks", branch=True)
    def ticks(self, _request: Request) -> Any:
        return self._ticks.app.resource()

    @app.route("/api/v1/messageset_languages", branch=True)
    def languages(self, _request: Request) -> Any:
        return self._languages.app.resource()

    @app.route("/api/v1/send-estimates", branch=True)
    def send_estimates(self, _request: Request) -> Any:
        return self._send_estimates.app.resource()

    @app.route("/api/v1/runsendestimate", branch=True)
    def run_send_estimate(self, _request: Request) -> Any:
        return self._run_send_estimate.app.resource()

    @app.route("/api/v1/sync_audio_files", branch=True)
    def sync_audio_files(self, _request: Request) -> Any:
        return self._sync_audio_files.app.resource()

    @app.route("/api/v1/tasks", branch=True)
    def tasks(self, _request: Request) -> Any:
        return self._tasks.app.resource()

    @app.route("/api/metrics", branch=True)
    def metrics(self, _request: Request) -> Any:
        return self._metrics.app.resource()

    @app.route("/livez")
    def livez(self, request: Request) -> bytes:
        """The process answers: nothing else is looked at, and nobody has to say who she is."""
        request.setHeader(b"Allow", b"GET, HEAD, OPTIONS")
        if request.method not in (b"GET", b"HEAD", b"OPTIONS"):
            raise MethodNotAllowed(request.method.decode("ascii", "replace"))
        request.setHeader(b"Content-Length", b"0")
        return written(request, Reply())

    @app.route("/api/health", branch=True)
    def health(self, _request: Request) -> Any:
        return self._health.app.resource()

    @app.route("/metrics")
    def exposition(self, request: Request) -> bytes:
        return self._exposition.answer(request)

    @app.route("/media/<name>")
    async def media(self, request: Request, name: str) -> bytes:
        return await self._media.answer(request, name)

    @app.route("/api/v1/openapi.json")
    def description(self, request: Request) -> bytes:
        return self._description.answer(request)

    @app.route("/docs")
    def docs(self, request: Request) -> bytes:
        return self._docs.answer(request)

    async def _read_collections(self, exchange: ApiRequest) -> Reply:
        return Reply(body={name: exchange.url(f"/api/v1/{name}/") for name in _COLLECTIONS})


def build(
    *,
    database: Database,
    scheduling: Scheduling,
    version: str,
    wakeups: Wakeups,
    media_root: Path | None,
    max_upload_bytes: int = MAX_UPLOAD_BYTES,
    duplicate_window: timedelta = timedelta(0),
    trusted_proxies: Sequence[Network] = (),
    limits: Limits | None = None,
    telemetry: Telemetry | None = None,
    timezone: ZoneInfo = _UTC,
    max_text_length: int = MAX_TEXT_LENGTH,
) -> BoundedSite:
    """The site of the API.

    ``scheduling`` says what the Scheduler shows, and what it may call back for; ``version`` is told
    by the health check; ``wakeups`` are woken after the commit of work for the pipeline; files of
    up to ``max_upload_bytes`` are stored in ``media_root``, and served from there, if there is one;
    for ``duplicate_window`` the webhook refuses the twin of a request, a day at most, zero: never;
    ``trusted_proxies`` are believed about the address that the client sees; ``telemetry`` is what
    ``/metrics`` and the health show, and its tally is told what the Metrics API shall know;
    ``timezone`` is that of the schedules; ``max_text_length`` is how many characters the Message
    Sender takes.
    """
    reactor = database.reactor
    telemetry = telemetry or Telemetry()
    passwords = Passwords(database, database.reactor)
    authentication = Authentication(database, passwords, scheduling.inbound_token)
    front = Endpoint(database, authentication, Proxies(trusted_proxies))
    callbacks = SchedulerCallbacks(reactor=reactor, scheduling=scheduling, telemetry=telemetry)
    uploads = None
    if media_root is not None:
        uploads = Uploads(reactor, media_root, max_upload_bytes, authentication, PATH, PART)
    root = Root(
        front,
        UserTokens(front),
        TokenAuth(front, passwords),
        Schedules(front, wakeups.ticks.wake, scheduling, callbacks),
        MessageSets(front, max_text_length),
        Messages(front, max_text_length),
        BinaryContents(front, can_store=uploads is not None, max_text_length=max_text_length),
        Subscriptions(
            *(front, wakeups.sends.wake, scheduling, callbacks, duplicate_window, telemetry.tally),
            max_text_length,
        ),
        FailedTasks(front, wakeups.sends.wake, wakeups.tasks.wake),
        BehindSubscriptions(front, wakeups.tasks.wake),
        Ticks(front),
        Languages(front),
        SendEstimates(front),
        run_send_estimate(front, wakeups.tasks.wake),
        sync_audio_files(front, wakeups.audio_copies.wake),
        Tasks(front),
        Metrics(front, wakeups.tasks.wake, telemetry.tally, timezone),
        Health(front, version, library_versions(), telemetry),
        PrometheusMetrics(telemetry, version),
        Media(reactor, media_root),
        description(version),
        docs(version),
    )
    resource = root.app.resource()
    refusals = Refusals(
        reactor=reactor, telemetry=telemetry, paths=Paths(describe(version)["paths"])
    )
    return BoundedSite(resource, reactor, limits=limits, uploads=uploads, refusals=refusals)
