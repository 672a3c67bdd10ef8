"""``twistd sbm``: its options, and the service that it runs."""

from __future__ import annotations

import gc
import linecache
import os
import signal
import socket
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.internet import reactor
from twisted.logger import Logger
from twisted.python import usage

from sbm.daemon import assemble
from sbm.model.role import ROLES, Role
from sbm.runtime.open_files import allow_open_files
from sbm.runtime.services import Sequential
from sbm.runtime.signals import ENDING, Signals
from sbm.settings.config import Config
from sbm.settings.reading import ConfigError
from sbm.store.postgres import migrations
from sbm.store.postgres.errors import DatabaseUnavailable

DEFAULT_LISTEN = "tcp:8000"

# After how many new objects the garbage collector looks at these; and at those that have stayed for
# 2, and for 120 such collections.
COLLECTED_AFTER = (5_000, 2, 60)

_log = Logger()


def _role(text: str) -> Role:
    """Raises ValueError with a clause."""
    for role in ROLES:
        if text == role:
            return role
    raise ValueError(f"must be one of {', '.join(ROLES)}")


class Options(usage.Options):
    """The settings themselves are environment variables: see the manual."""

    synopsis = "[options]"
    longdesc = (
        "The Seed Stage-Based Messaging Store: REST API and sending pipeline in one process."
        " Everything except the options below is set by environment variables, which the manual"
        " lists. With --sandbox no settings are needed: it has a database and stand-ins of the"
        " other Seed services, in ./var/sandbox."
    )
    optParameters: ClassVar = [
        ["database", None, None, "Database URL (default: $STAGE_BASED_MESSAGING_DATABASE)."],
        [
            "role",
            None,
            "all",
            "What this process does: all; api (only answers requests); or pipeline (sends, and"
            " answers only /livez, /readyz and /metrics).",
            _role,
        ],
    ]
    optFlags: ClassVar = [
        ["sandbox", None, "Run with an embedded database and stand-ins of the other services."],
    ]

    def __init__(self) -> None:
        usage.Options.__init__(self)
        self.listen: list[str] = []

    def opt_listen(self, description: str) -> None:
        """Where to serve the API: an endpoint description, repeatable (default: tcp:8000)."""
        self.listen.append(description)

    opt_l = opt_listen

    def postOptions(self) -> None:
        """Refuse options that do not go together; raises UsageError."""
        if self["sandbox"] and self["role"] != "all":
            raise usage.UsageError("--sandbox has one daemon, which does all: leave out --role")


def makeService(options: Options) -> IService:
    """The daemon, or the sandbox around it; ends the process with a message if it cannot start.

    If the database has another schema, the daemon does not start. If the database does not answer,
    or cannot be used for another reason, the daemon starts and waits for it.
    """
    # attrs has put the source of all methods that it has made there, for debuggers: 2 MB.
    linecache.clearcache()
    allow_open_files()
    later = _rotating(options)
    if options["sandbox"]:
        # The sandbox needs packages of an extra, which a production machine does not have.
        from sbm.sandbox.demo.sandbox import build

        # If the terminal of a sandbox is closed, the sandbox ends.
        ours = ENDING - {signal.SIGINT} | {signal.SIGHUP}
        signals = Signals(reactor=reactor, ours=ours - later, later=later)
        sandbox = build(
            reactor, os.environ, listen=options.listen, assemble=assemble, fail=signals.fail
        )
        signals.hurry = sandbox.hurry
        signals.install()
        return sandbox
    ignored = frozenset({signal.SIGHUP})
    signals = Signals(reactor=reactor, ours=ENDING - later, ignored=ignored, later=later)
    signals.install()
    try:
        config = Config.from_environ(os.environ, database=options["database"])
    except ConfigError as error:
        raise SystemExit("\n".join(("sbm cannot start:", *error.problems))) from None
    try:
        problem = signals.waiting_for(lambda: migrations.check(config.database.uri()))
    except DatabaseUnavailable as error:
        problem = None
        _log.warn("the database cannot be used yet: {error}", error=error)
    if problem:
        raise SystemExit(f"sbm cannot start: {problem}.")
    for warning in config.warnings:
        _log.warn("{warning}", warning=warning)
    _log.info("sbm {version}", version=version("sbm"))
    daemon = assemble(
        config, reactor, listen=options.listen or [DEFAULT_LISTEN], role=options["role"]
    )
    signals.hurry = daemon.hurry
    service = _reporting(daemon, config, options["role"])
    # The objects that exist now stay. If the garbage collector had to search them again, at any
    # moment, the process would stand still for 50 ms.
    gc.collect()
    gc.freeze()
    # A collection holds the reactor for 1 ms for each 1,000 to 2,000 objects that it looks at. By
    # default, there is one after each 700 new objects: a few sends.
    gc.set_threshold(*COLLECTED_AFTER)
    return service


def _reporting(daemon: IService, config: Config, role: Role) -> IService:
    """The daemon, and Sentry around it if there is a DSN: it starts first and stops last."""
    if not config.sentry_dsn:
        return daemon
    try:
        # It needs a package of an extra.
        from sbm.runtime.sentry import Sentry
    except ImportError as error:
        _log.warn(
            "STAGE_BASED_MESSAGING_SENTRY_DSN is ignored: {error}. Install the extra sentry:"
            " pip install 'sbm[sentry]'.",
            error=error,
        )
        return daemon
    sentry = Sentry(
        reactor=reactor,
        dsn=config.sentry_dsn,
        release=f"sbm@{version('sbm')}",
        tags={"host": socket.gethostname(), "role": role, "commit": config.commit or "unknown"},
    )
    return Sequential(services=(sentry, daemon))


def _rotating(options: Options) -> frozenset[int]:
    """The signal on which twistd rotates its log file, if it has one."""
    twistd: Mapping[str, Any] = options.parent or {}
    is_file = twistd.get("logfile") not in (None, "-") and not twistd.get("syslog")
    return frozenset({signal.SIGUSR1}) if is_file else frozenset()
