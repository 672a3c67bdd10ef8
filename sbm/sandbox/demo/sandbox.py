"""The sandbox: the daemon, its database and the other services, in one process and one folder.

The daemon does not know that it is in a sandbox. It gets its settings from the same environment
variables as in production; their values are the addresses of stand-ins on this machine.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from attrs import define, field
from treq.client import HTTPClient
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger, LogPublisher
from twisted.web.client import Agent

from sbm.clients.scheduler import Scheduler
from sbm.clients.service_client import ServiceClient
from sbm.operations.scheduler_sync import Comparison
from sbm.operations.users import create_token
from sbm.runtime.loop import Loop
from sbm.runtime.services import Sequential
from sbm.runtime.threads import in_thread
from sbm.sandbox.demo.activity_log import ActivityLog, ActivityReporter
from sbm.sandbox.demo.api_caller import Caller
from sbm.sandbox.demo.folder import Folder, write_secret
from sbm.sandbox.demo.guide import Guide
from sbm.sandbox.demo.hub import Hub, SampleContentLoader
from sbm.sandbox.demo.ports import FIRST_PORT, where_to_listen
from sbm.sandbox.demo.sample_content import BABY
from sbm.sandbox.demo.terminal import Line, Terminal
from sbm.sandbox.postgres import EmbeddedPostgres, EmbeddedPostgresError
from sbm.sandbox.stand_ins.scheduler import CallBacks
from sbm.sandbox.stand_ins.servers import StandIns
from sbm.settings.config import Config
from sbm.settings.reading import ConfigError
from sbm.store import console_sessions, users
from sbm.store.postgres import migrations
from sbm.store.postgres.database import Database
from sbm.telemetry import Telemetry

FOLDER = Path("var", "sandbox")

ADMIN = "admin@example.org"

# Every few seconds, one of the schedules is called; each of them is called every third time.
TICK_PACE = timedelta(seconds=4)
TURNS = 3

REGISTRATION_SECONDS = 10.0
SUM_SECONDS = 10.0
COMPLETED_SECONDS = 0.5

# Short, so that a person can watch how the daemon recovers from a stop or a crash.
TUNABLES = {
    "DEFAULT_REQUEST_TIMEOUT": "5",
    "SBM_LEASE_SECONDS": "10",
    "SBM_METRICS_SECONDS": "2",
    # The Scheduler of the sandbox calls every few seconds, whatever the cron is.
    "SBM_SCHEDULER_JOIN_SECONDS": "0",
    "SBM_SETTLE_SECONDS": "10",
    "SBM_STOP_GRACE_SECONDS": "2",
}

# ``sbm.daemon.assemble``, which is passed in because the sandbox must not import sbm.daemon.
Assemble = Callable[..., IService]


def build(
    reactor: Any,
    environ: Mapping[str, str],
    *,
    listen: Sequence[str],
    assemble: Assemble,
    fail: Callable[[], None],
) -> Sequential:
    """The sandbox in ``./var/sandbox``, not started; ``listen`` says where to serve the API.

    ``fail`` stops the process with the status of a failure.

    It reads from the environment the variables that tune the daemon (``SBM_…``,
    ``DEFAULT_REQUEST_TIMEOUT``) and ``NO_COLOR``. The database and the other services are its own.
    """
    terminal: Any = Terminal(
        stream=sys.stdout,
        colours=sys.stdout.isatty() and not environ.get("NO_COLOR"),
        width=lambda: shutil.get_terminal_size(fallback=(120, 24)).columns,
    )
    tunables = {
        name: value
        for name, value in environ.items()
        if name.startswith("SBM_") or name == "DEFAULT_REQUEST_TIMEOUT"
    }
    sandbox: Any = Sandbox(
        reactor=reactor,
        assemble=assemble,
        folder=Folder(path=FOLDER.resolve()),
        tunables={**TUNABLES, **tunables},
        listen=tuple(listen),
        observer=LogPublisher(terminal),
        fail=fail,
    )
    service: Sequential = sandbox
    return service


# The link to the console that is printed.
LINK_LASTS = timedelta(days=1)


@define(eq=False, slots=False, kw_only=True)
class Sandbox(Sequential):
    """The parts of the sandbox; each needs those that were started before it.

    Starting blocks until the server runs and the API listens, and raises SystemExit with a message
    if that fails. The parts that need the API are started when the reactor runs.
    """

    _reactor: Any
    _assemble: Assemble
    _folder: Folder
    _tunables: Mapping[str, str]
    _listen: tuple[str, ...]
    _observer: LogPublisher
    _fail: Callable[[], None]
    _scheduler_token: str = field(factory=lambda: secrets.token_hex(20), init=False, repr=False)
    _log: Logger = field(factory=Logger, init=False)
    _opening: Deferred[None] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        super().__init__()
        self._postgres = EmbeddedPostgres(folder=self._folder.database)

    def setServiceParent(self, parent: Any) -> None:
        """Become part of ``twistd``'s application, and make it log through us."""
        set_component = getattr(parent, "setComponent", None)
        if set_component is not None:
            set_component(ILogObserver, self._observer)
        Service.setServiceParent(self, parent)

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        try:
            self._take_the_folder()
            self._start_the_server()
            self._start_the_daemon()
        except KeyboardInterrupt:
            self._postgres.stop()
            raise SystemExit("Interrupted.") from None
        except BaseException:
            self._postgres.stop()
            raise
        self._reactor.callWhenRunning(self._open)

    async def _stop(self) -> None:
        Service.stopService(self)
        self._say("Stopping ...")
        self._folder.ready_file.unlink(missing_ok=True)
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await opening
        await super()._stop()
        self._say(f"Stopped. Everything is kept in {self._folder}.")

    def _take_the_folder(self) -> None:
        try:
            self._folder.take()
        except BlockingIOError:
            raise SystemExit(
                f"Another sandbox is running in {self._folder}: stop that one first."
            ) from None
        except OSError as error:
            raise _cannot_start(error) from None
        self._add(self._folder)
        self._folder.ready_file.unlink(missing_ok=True)
        self._observer.addObserver(self._folder.log_observer())

    def _start_the_server(self) -> None:
        """Start PostgreSQL, and migrate its schema."""
        is_first = not self._postgres.data.exists()
        self._say("Starting PostgreSQL" + " (the first time takes a little longer)" * is_first)
        try:
            self._postgres.start()
        except EmbeddedPostgresError as error:
            raise _cannot_start(error) from None
        self._add(EmbeddedServer(reactor=self._reactor, postgres=self._postgres))
        try:
            applied = migrations.migrate(self._postgres.uri())
            problem = migrations.check(self._postgres.uri())
        except Exception as error:
            raise _cannot_start(error) from error
        if problem:
            raise _cannot_start(problem)
        if applied:
            self._say(f"Applied {len(applied)} migrations")

    def _start_the_daemon(self) -> None:
        """Start the stand-ins, and then the daemon, which gets their addresses as settings."""
        self._stand_ins = StandIns(reactor=self._reactor, folder=self._folder.path)
        self._add(self._stand_ins)
        try:
            self._api, listen = where_to_listen(self._listen)
            self._config = Config.from_environ(self._environ())
        except (LookupError, ConfigError) as error:
            raise _cannot_start(error) from None
        if not self._listen and not self._api.endswith(f":{FIRST_PORT}"):
            self._say(f"Port {FIRST_PORT} is taken: serving at {self._api} instead")
        for warning in self._config.warnings:
            self._log.warn("{warning}", warning=warning)
        self._telemetry = Telemetry()
        self._activity_log = ActivityLog(identity_store=self._stand_ins.identity_store)
        self._add(
            self._assemble(
                self._config,
                self._reactor,
                listen=listen,
                telemetry=self._telemetry,
                listeners=[self._activity_log.settled],
            )
        )

    def _environ(self) -> dict[str, str]:
        """The daemon's environment, as an operator would set it."""
        return {
            "SBM_MEDIA_ROOT": str(self._folder.media),
            # With one call for a whole schedule, a person can follow what happens.
            "SBM_SCHEDULING": "schedule",
            **self._tunables,
            **self._stand_ins.settings(),
            "SCHEDULER_INBOUND_API_TOKEN": self._scheduler_token,
            "STAGE_BASED_MESSAGING_DATABASE": self._postgres.uri(),
            "STAGE_BASED_MESSAGING_URL": self._api,
        }

    def _open(self) -> None:
        self._opening = Deferred.fromCoroutine(self._fill_or_fail())

    async def _fill_or_fail(self) -> None:
        try:
            await self._fill()
        except Exception:
            if not self.running:
                return  # stopping canceled it
            self._log.failure("The sandbox cannot start")
            self._fail()

    async def _correct_the_scheduler(self, database: Database) -> None:
        """Correct its schedules: those of an earlier run may have another port and token."""
        scheduling = self._config.scheduling
        assert scheduling.scheduler is not None
        client = ServiceClient(
            reactor=self._reactor,
            address=scheduling.scheduler,
            timeout=self._config.request_timeout,
        )
        self._add(client)
        comparison = Comparison(
            database=database,
            scheduler=Scheduler(client=client),
            mode=scheduling.mode,
            public_url=scheduling.public_url,
            auth_token=scheduling.inbound_token,
        )
        async for difference in comparison.bring_in_line():
            self._log.info("{action} {about}", action=difference.action, about=difference.about)

    async def _fill(self) -> None:
        """Load content and subscribers through the API, and start the calls and registrations."""
        agent: Any = Agent(self._reactor)
        treq: Any = HTTPClient(agent)
        database = Database(reactor=self._reactor, address=self._config.database, size=1)
        self._add(database)
        token = await self._admin_token(database)
        caller = Caller(url=f"{self._api}/api/v1", token=token, treq=treq)
        hub = Hub(caller=caller, identity_store=self._stand_ins.identity_store)
        await self._load(caller, database, hub)
        await self._correct_the_scheduler(database)
        reporter = ActivityReporter(
            caller=caller,
            activity_log=self._activity_log,
            telemetry=self._telemetry,
            message_sender=self._stand_ins.message_sender,
            scheduler=self._stand_ins.scheduler,
        )
        await reporter.learn_lengths()
        await self._be_ready(caller, await self._link(database))
        self._repeat("completed sets", COMPLETED_SECONDS, reporter.follow_ends)
        self._repeat("sums", SUM_SECONDS, reporter.sum_up)
        self._repeat("registration", REGISTRATION_SECONDS, hub.register_next)
        self._add(
            CallBacks(
                scheduler=self._stand_ins.scheduler,
                treq=treq,
                clock=self._reactor,
                pace=TICK_PACE,
                turns=TURNS,
            )
        )

    async def _admin_token(self, database: Database) -> str:
        """The token of the run before, or a new one if it is not valid any more."""
        file = self._folder.token_file
        if file.exists():
            token = file.read_text(encoding="ascii", errors="replace").strip()
            found = await database.transact(users.find_user_by_token, token=token)
            if found is not None and found.user.is_admin and found.user.is_active:
                return token
        token = await database.transact(create_token, email=ADMIN, admin=True)
        write_secret(file, token + "\n")
        return token

    async def _link(self, database: Database) -> str:
        """A link to the console that logs the administrator in once, until tomorrow."""
        found = await database.read(users.find_user_by_name, username=ADMIN)
        if found is None or found[0].id is None:
            return f"{self._api}/console/"  # its user was deleted
        secret = await database.transact(
            console_sessions.make_link, user_id=found[0].id, within=LINK_LASTS
        )
        return f"{self._api}/console/link?key={secret}"

    async def _load(self, caller: Caller, database: Database, hub: Hub) -> None:
        media_root = self._config.media_root
        assert media_root is not None
        loader = SampleContentLoader(caller=caller, database=database, media_root=media_root)
        if await loader.load():
            self._say("Loaded the sample content: 3 message sets, 2 languages, 3 schedules")
        registered = await hub.register_cohort()
        if registered:
            url = f"{caller.url}/subscriptions/request"
            self._say(f"Registered {registered} subscribers by POST {url}")

    async def _be_ready(self, caller: Caller, link: str) -> None:
        """Show how to use the sandbox, on the terminal and in the file for programs."""
        urls = self._stand_ins.urls()
        contents = {
            "api": self._api,
            "console": link,
            "token": caller.token,
            "database": self._postgres.uri(),
            **{name.removesuffix("_URL").lower(): url for name, url in urls.items()},
        }
        known = await caller.get("messageset/", short_name=BABY.short_name)
        guide = Guide(
            api=self._api,
            link=link,
            token=caller.token,
            folder=str(self._folder),
            messagesets=known["results"],
        )
        write_secret(self._folder.ready_file, json.dumps(contents, indent=4) + "\n")
        for line in guide.lines():
            self._log.info("{line}", line=line)

    def _repeat(self, name: str, seconds: float, run: Callable[[], Awaitable[None]]) -> None:
        """Do it now, and again after each rest."""
        self._add(
            Loop(
                reactor=self._reactor,
                name=name,
                one_pass=run,
                rest=seconds,
                may_be_cut=True,
            )
        )

    def _add(self, service: Any) -> None:
        """Start a part; it is stopped before the parts that were started earlier."""
        service.setServiceParent(self)

    def _say(self, text: str) -> None:
        self._log.info("{line}", line=Line.of(text))


@define(eq=False, slots=False, kw_only=True)
class EmbeddedServer(Service):
    """The embedded server, which is started already; it is stopped in a thread, as that blocks."""

    _reactor: Any
    _postgres: EmbeddedPostgres

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return in_thread(self._reactor, self._postgres.stop)


def _cannot_start(why: object) -> SystemExit:
    return SystemExit(f"The sandbox cannot start: {why}")
