"""Daemons, a database and stand-ins of the other Seed services, on loopback, in this process."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import treq
from attrs import define, field
from twisted.application.service import IService
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import Site

from sbm.daemon import assemble
from sbm.model.role import Role
from sbm.operations import users
from sbm.sandbox.stand_ins.identity_store import IdentityStore, IdentityStoreApp
from sbm.sandbox.stand_ins.message_sender import MessageSender, MessageSenderApp
from sbm.sandbox.stand_ins.scheduler import SchedulerApp
from sbm.sandbox.stand_ins.schedules import Scheduler
from sbm.settings.config import Config
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import DatabaseUnavailable
from tests.arrange import Arranged, arranged
from tests.patience import patience
from tests.ports import free_port

T = TypeVar("T")

reactor: Any = _reactor

SCHEDULER_TOKEN = "token-of-the-scheduler"
USER_TOKEN = "token-of-a-user"

# What the Scheduler calls.
SEND = re.compile(r"/api/v1/(schedule|subscriptions)/[^/]+/send/?")

# An ordinary user, whose id is out of the way of all others. Not every database has tables.
A_USER = """
    DO $$ BEGIN
        IF to_regclass('tokens') IS NOT NULL THEN
            INSERT INTO users (id, username) VALUES (1000000, 'caller') ON CONFLICT DO NOTHING;
            INSERT INTO tokens (id, user_id, digest)
            VALUES (1000000, 1000000, sha256('token-of-a-user')) ON CONFLICT DO NOTHING;
        END IF;
    END $$
"""


@define
class Address:
    """A stand-in on a port of its own, which can be taken away and given back."""

    resource: Resource
    port: Any = None
    number: int = 0

    def open(self) -> None:
        site = Site(self.resource)
        self.port = reactor.listenTCP(self.number, site, interface="127.0.0.1")
        self.number = self.port.getHost().port

    async def close(self) -> None:
        port, self.port = self.port, None
        if port is not None:
            await port.stopListening()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.number}/api/v1"


def mounted(resource: Resource) -> Resource:
    """The same resource below /api/v1."""
    root, api = Resource(), Resource()
    root.putChild(b"api", api)
    api.putChild(b"v1", resource)
    return root


@define
class World:
    """Everything that an end-to-end test needs; ``direct`` is the database without the daemons."""

    database_uri: str
    direct: Arranged
    identities: IdentityStore = field(factory=IdentityStore)
    sender: MessageSender = field(factory=MessageSender)
    settings: dict[str, str] = field(factory=dict)
    identity_store: Address = field(init=False)
    message_sender: Address = field(init=False)
    schedules: Scheduler = field(factory=Scheduler)
    scheduler: Address = field(init=False)
    daemons: list[tuple[IService, str]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.identity_store = Address(mounted(IdentityStoreApp(store=self.identities).resource()))
        self.message_sender = Address(mounted(MessageSenderApp(sender=self.sender).resource()))
        scheduler = SchedulerApp(scheduler=self.schedules, turn=lambda: deferLater(reactor, 0))
        self.scheduler = Address(mounted(scheduler.resource()))
        self.identity_store.open()
        self.message_sender.open()
        self.scheduler.open()
        self.direct.rows(A_USER)

    def environ(self, **settings: str) -> dict[str, str]:
        """A daemon's settings, as an operator would put them into its environment."""
        environ = {
            "IDENTITY_STORE_URL": self.identity_store.url,
            "IDENTITY_STORE_TOKEN": "i",
            "MESSAGE_SENDER_URL": self.message_sender.url,
            "MESSAGE_SENDER_TOKEN": "m",
            "STAGE_BASED_MESSAGING_URL": "http://sbm.example.org",
            "SCHEDULER_URL": self.scheduler.url,
            "SCHEDULER_API_TOKEN": "s",
            "SCHEDULER_INBOUND_API_TOKEN": SCHEDULER_TOKEN,
            "SBM_STOP_GRACE_SECONDS": "5",
            # Tests call again at once, and mean another tick.
            "SBM_SCHEDULER_JOIN_SECONDS": "0",
            **self.settings,
            **settings,
        }
        return {name: value for name, value in environ.items() if value}

    def config(self, **settings: str) -> Config:
        return Config.from_environ(self.environ(**settings), database=self.database_uri)

    def start(self, role: Role = "all", /, **settings: str) -> str:
        """Start one more daemon; returns its base URL."""
        port = free_port()
        daemon: IService = assemble(
            self.config(**settings),
            reactor,
            listen=[f"tcp:{port}:interface=127.0.0.1"],
            role=role,
        )
        daemon.privilegedStartService()
        daemon.startService()
        url = f"http://127.0.0.1:{port}"
        self.daemons.append((daemon, url))
        return url

    async def stop(self) -> None:
        """Stop everything."""
        while self.daemons:
            daemon, _ = self.daemons.pop()
            await daemon.stopService()
        await self.identity_store.close()
        await self.message_sender.close()
        await self.scheduler.close()

    def subscribe(self, count: int, messageset: int, schedule: int, **more: Any) -> list[Any]:
        """Subscriptions of people whom the Identity Store knows."""
        ids: list[Any] = self.direct.subscriptions(count, messageset, schedule, **more)
        for row in self.direct.rows(
            "SELECT identity FROM subscriptions WHERE id = ANY(%s)", list(ids)
        ):
            self.identities.add(f"+27820{len(self.identities):06}", row["identity"])
        return ids

    async def token(self, *, admin: bool = True) -> str:
        """A new token; daemons that start hold the reactor, so it may take several attempts."""
        database = Database(reactor=reactor, address=self.config().database, size=1)
        give_up_at = reactor.seconds() + patience()
        try:
            while True:
                try:
                    return await database.transact(
                        users.create_token, email="tester@example.org", admin=admin
                    )
                except DatabaseUnavailable:
                    if reactor.seconds() > give_up_at:
                        raise
                await deferLater(reactor, 0.1)
        finally:
            database.stopService()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        at: str | None = None,
    ) -> tuple[int, Any]:
        """A request to the daemon started last, or ``at`` a base URL; returns status and body.

        Without a token, it is one of a user, or of the Scheduler for what that calls.
        """
        token = token or (SCHEDULER_TOKEN if SEND.fullmatch(path) else USER_TOKEN)
        url = at or self.daemons[-1][1]
        headers: dict[str | bytes, str | bytes] = {
            "Authorization": f"Token {token}",
            "Connection": "close",
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        response = await treq.request(
            method,
            url + path,
            headers=headers,
            data=None if body is None else json.dumps(body).encode(),
            persistent=False,
        )
        content = await response.content()
        return response.code, json.loads(content) if content else None

    async def tick(self, schedule: int) -> None:
        """A POST-back for a whole schedule, and everything that follows from it."""
        status, _ = await self.call("POST", f"/api/v1/schedule/{schedule}/send/")
        assert status == 202
        await self.settled()

    async def settled(self) -> None:
        """Return when no tick is open and no send is live."""
        await self.until(
            lambda: (
                not self.direct.value(
                    "SELECT (SELECT count(*) FROM sends) +"
                    " (SELECT count(*) FROM ticks WHERE state = 'expanding')"
                )
            )
        )

    async def until(self, condition: Callable[[], Any]) -> None:
        """Return when the condition holds; fail when it does not come to."""
        give_up_at = reactor.seconds() + patience()
        while not condition():
            assert reactor.seconds() < give_up_at, "it never came to that"
            await pause(0.05)

    async def together(self, calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        """The results of calls that are made at the same time."""
        return await gatherResults([Deferred.fromCoroutine(call) for call in calls])

    def received(self) -> dict[str, list[str]]:
        """The messages that each identity received, in order."""
        received: dict[str, list[str]] = {}
        for outbound in self.sender.outbounds():
            said = outbound.said
            received.setdefault(said.to_identity or "", []).append(said.content or "")
        return received


async def pause(seconds: float) -> None:
    """Let the world go on."""
    waited: Deferred[None] = Deferred()
    reactor.callLater(seconds, waited.callback, None)
    await waited


@contextmanager
def world(database_uri: str) -> Iterator[World]:
    """A world around a database; its user has to await ``stop``."""
    with arranged(database_uri) as direct:
        yield World(database_uri, direct)
