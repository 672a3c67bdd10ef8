"""The API, served on a port of its own over a database of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest_twisted
from attrs import define, field, fields, frozen
from treq.client import HTTPClient
from twisted.internet import reactor as global_reactor
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers

from sbm.console.console import Console
from sbm.model.scheduler_call import Scheduling as Mode
from sbm.operations import users
from sbm.runtime.wakeups import Wakeup, Wakeups
from sbm.settings.config import SchedulingSettings
from sbm.settings.endpoints import DatabaseAddress, ServiceAddress
from sbm.store.postgres.database import Database
from sbm.web.api import build
from sbm.web.http.passwords import Passwords

reactor: Any = global_reactor

Mount = Callable[[Database, Passwords], Console]

SCHEDULER_TOKEN = "scheduler-token"
IDENTITY = "6fb30d6b-ba06-4964-825e-20f93388b9fe"


@frozen(kw_only=True)
class Answer:
    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    def header(self, name: str) -> str | None:
        values = self.headers.getRawHeaders(name)
        return values[0] if values else None


@define(eq=False)
class Api:
    """A client of a running API."""

    base: str
    database: Database
    client: HTTPClient
    port: int
    media_root: Path
    token: str = ""
    user_token: str = ""
    wakes: list[str] = field(factory=list)

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
    ) -> Answer:
        """Send a request with a token; a body that is no text or bytes goes as JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token != "":
            sent.setdefault("Authorization", f"Token {token or self.token}")
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        return await self.send(method, path, body, sent)

    async def send(
        self, method: str, path: str, body: str | bytes | None, headers: dict[str, str]
    ) -> Answer:
        """Send just this."""
        response = await self.client.request(
            method,
            self.base + path,
            headers=Headers({name: [value] for name, value in headers.items()}),
            data=body.encode("utf-8") if isinstance(body, str) else body,
            allow_redirects=False,
        )
        content = await response.content()
        text = content.decode("utf-8", "surrogateescape")
        return Answer(status=response.code, headers=response.headers, text=text)

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.call("POST", path, body, **options)

    async def made(self, path: str, **fields: Any) -> Any:
        """Make a row and return it as it was answered."""
        answer = await self.post(f"/api/v1/{path}/", fields)
        assert answer.status == 201, answer.text
        return answer.json

    async def subscription(self, **fields: Any) -> Any:
        """A subscription to a new message set, unless one is named."""
        if "messageset" not in fields:
            schedule = fields.setdefault("schedule", (await self.made("schedule"))["id"])
            count = (await self.get("/api/v1/messageset/")).json["count"]
            messageset = await self.made(
                "messageset", short_name=f"set{count}", default_schedule=schedule
            )
            fields["messageset"] = messageset["id"]
        return await self.made("subscriptions", **{"identity": IDENTITY, "lang": "eng"} | fields)


def a_scheduling(mode: Mode = "subscription") -> SchedulingSettings:
    return SchedulingSettings(
        mode=mode,
        public_url="http://sbm.example.org",
        scheduler=ServiceAddress(url="http://scheduler.example.org/api/v1", token="t"),
        inbound_token=SCHEDULER_TOKEN,
    )


@define(eq=False, slots=False, kw_only=True)
class RecordedWakeup(Wakeup):
    """Notes its kind in a list, each time that it is called."""

    kind: str
    wakes: list[str]

    def wake(self) -> None:
        self.wakes.append(self.kind)
        super().wake()


def recorded_wakeups(wakes: list[str]) -> Wakeups:
    """Those that note in the list who was woken."""
    kinds = (kind.name for kind in fields(Wakeups))
    return Wakeups(
        **{kind: RecordedWakeup(reactor=reactor, kind=kind, wakes=wakes) for kind in kinds}
    )


@asynccontextmanager
async def served(database_uri: str, media_root: Path, **options: Any) -> AsyncIterator[Api]:
    """A running API, with the tokens of an administrator and of an ordinary user.

    ``options`` are those of ``build``; its ``address`` may be another way to the database.
    ``mount`` makes the console over the same database.
    """
    address = options.pop("address", None) or DatabaseAddress.parse(database_uri)
    database = Database(reactor=reactor, address=address, size=4)
    wakes: list[str] = []
    mount: Mount | None = options.pop("mount", None)
    if mount is not None:
        passwords = Passwords(database=database, reactor=reactor)
        mounted = mount(database, passwords)
        options |= {
            "passwords": passwords,
            "console": mounted.resource(),
            "upload_places": mounted.upload_places,
        }
    site = build(
        database=database,
        scheduling=options.pop("scheduling", None) or a_scheduling(),
        version="1.2.3",
        wakeups=recorded_wakeups(wakes),
        media_root=media_root,
        **options,
    )
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    number = port.getHost().port
    pool = HTTPConnectionPool(reactor, persistent=False)
    agent: Any = Agent(reactor, pool=pool)
    api = Api(
        base=f"http://127.0.0.1:{number}",
        database=database,
        client=HTTPClient(agent),
        port=number,
        media_root=media_root,
        wakes=wakes,
    )
    api.token = await database.transact(users.create_token, email="admin@example.org", admin=True)
    api.user_token = await database.transact(
        users.create_token, email="user@example.org", admin=False
    )
    try:
        yield api
    finally:
        await port.stopListening()
        database.stopService()


@pytest_twisted.async_yield_fixture
async def api(database_uri: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The API as it is."""
    async with served(database_uri, tmp_path) as api:
        yield api
