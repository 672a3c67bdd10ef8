"""``twistd sbm``: its options, and the service that they ask for."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.internet import reactor
from twisted.logger import Logger
from twisted.python import usage

from sbm.daemon import assemble
from sbm.runtime.signals import ENDING, Signals
from sbm.settings.config import Config
from sbm.settings.reading import ConfigError
from sbm.store.postgres import migrations
from sbm.store.postgres.errors import DatabaseUnavailable

DEFAULT_LISTEN = "tcp:8000"

_log = Logger()


class Options(usage.Options):
    """The settings themselves are environment variables: see the manual."""

    synopsis = "[options]"
    longdesc = (
        "The Seed Stage-Based Messaging Store: REST API and sending pipeline in one process."
        " Everything but the options below is set by environment variables, which the manual"
        " lists. With --sandbox nothing needs to be set: it brings a database and stand-ins of the"
        " other Seed services, in ./var/sandbox."
    )
    optParameters: ClassVar = [
        ["database", None, None, "Database URL (default: $STAGE_BASED_MESSAGING_DATABASE)."],
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


def makeService(options: Options) -> IService:
    """The daemon, or the sandbox around it; ends the process with a message if it cannot be.

    A schema that is not ours is a reason to refuse. A database that does not answer, or is unfit in
    another way, is none: the daemon waits for it.
    """
    later = _rotating(options)
    if options["sandbox"]:
        # Its parts are an extra that a production machine does not have.
        from sbm.sandbox.demo.sandbox import build

        # Who closes the terminal of a sandbox wants it to end.
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
        complaint = signals.waiting_for(lambda: migrations.check(config.database.uri()))
    except DatabaseUnavailable as error:
        complaint = None
        _log.warn("the database cannot be used yet: {error}", error=error)
    if complaint:
        raise SystemExit(f"sbm cannot start: {complaint}.")
    for warning in config.warnings:
        _log.warn("{warning}", warning=warning)
    _log.info("sbm {version}", version=version("sbm"))
    daemon = assemble(config, reactor, listen=options.listen or [DEFAULT_LISTEN])
    signals.hurry = daemon.hurry
    # What is here now stays. To look through all of it again, at some moment of its own choosing,
    # takes the garbage collector 50 ms, in which nothing else goes on.
    gc.collect()
    gc.freeze()
    return daemon


def _rotating(options: Options) -> frozenset[int]:
    """The signal by which twistd rotates the file that it logs to, if it logs to one."""
    twistd: Mapping[str, Any] = options.parent or {}
    is_file = twistd.get("logfile") not in (None, "-") and not twistd.get("syslog")
    return frozenset({signal.SIGUSR1}) if is_file else frozenset()
