"""Servers for the stand-ins of the Seed services, each at a URL of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import Site

from sbm.runtime.services import Sequential
from sbm.sandbox.stand_ins.identity_store import IdentityStore, IdentityStoreApp
from sbm.sandbox.stand_ins.message_sender import MessageSender, MessageSenderApp
from sbm.sandbox.stand_ins.metrics import Metrics, MetricsApp
from sbm.sandbox.stand_ins.scheduler import SchedulerApp
from sbm.sandbox.stand_ins.schedules import Scheduler

# The stand-ins accept any token.
TOKEN = "sandbox"  # noqa: S105 (stand-ins listen on this machine only)


@define(eq=False, slots=False, kw_only=True)
class StandIns(Sequential):
    """The stand-ins, which store their data in a folder; they are served while this runs."""

    _reactor: Any
    _folder: Path

    def __attrs_post_init__(self) -> None:
        super().__init__()
        self.identity_store = IdentityStore(path=self._folder / "identity_store.jsonl")
        self.message_sender = MessageSender(path=self._folder / "message_sender.jsonl")
        self.scheduler = Scheduler(path=self._folder / "scheduler.jsonl")
        apis = {
            "IDENTITY_STORE_URL": IdentityStoreApp(store=self.identity_store).resource(),
            "MESSAGE_SENDER_URL": MessageSenderApp(sender=self.message_sender).resource(),
            "SCHEDULER_URL": SchedulerApp(
                scheduler=self.scheduler, turn=lambda: deferLater(self._reactor, 0)
            ).resource(),
            "METRICS_URL": MetricsApp(metrics=Metrics()).resource(),
        }
        self._stand_ins = {
            name: StandIn(reactor=self._reactor, api=api) for name, api in apis.items()
        }
        models = (self.identity_store, self.message_sender, self.scheduler)
        services: list[Any] = [Closing(close=model.close) for model in models]
        for service in services + list(self._stand_ins.values()):
            service.setServiceParent(self)

    def urls(self) -> dict[str, str]:
        """The values of the ``…_URL`` settings, while the stand-ins are served."""
        return {name: stand_in.url for name, stand_in in self._stand_ins.items()}

    def settings(self) -> dict[str, str]:
        """The settings of a daemon that calls the stand-ins."""
        names = (
            "IDENTITY_STORE_TOKEN",
            "MESSAGE_SENDER_TOKEN",
            "SCHEDULER_API_TOKEN",
            "METRICS_AUTH_TOKEN",
        )
        return {**self.urls(), **dict.fromkeys(names, TOKEN)}


@define(eq=False, slots=False, kw_only=True)
class StandIn(Service):
    """Serves the HTTP API of a stand-in below ``/api/v1``, on a free port of this machine."""

    _reactor: Any
    _api: Resource
    _port: Any = field(default=None, init=False)

    @property
    def url(self) -> str:
        """The URL of its API, while it runs."""
        return f"http://127.0.0.1:{self._port.getHost().port}/api/v1"

    def startService(self) -> None:
        Service.startService(self)
        root: Any = Resource()
        versions: Any = Resource()
        root.putChild(b"api", versions)
        versions.putChild(b"v1", self._api)
        site = UnloggedSite(root)  # type: ignore[no-untyped-call]
        self._port = self._reactor.listenTCP(0, site, interface="127.0.0.1")

    def stopService(self) -> Any:
        Service.stopService(self)
        return self._port.stopListening()


class UnloggedSite(Site):
    """A site without an access log."""

    noisy = False

    def log(self, request: Any) -> None:
        """Write nothing."""


@define(eq=False, slots=False, kw_only=True)
class Closing(Service):
    """Calls ``close`` when it is stopped, after all services that were started later."""

    _close: Callable[[], None]

    def stopService(self) -> None:
        Service.stopService(self)
        self._close()
