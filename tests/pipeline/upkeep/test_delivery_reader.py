"""The reader of deliveries: what the Message Sender says later is noted, once, by one daemon."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_twisted
from attrs import define, evolve, field
from twisted.internet import reactor as global_reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

from sbm.clients.message_sender import MessageSender
from sbm.clients.service_client import ServiceClient
from sbm.model.delivery import DeliveryLook
from sbm.model.durations import RequestTimeout
from sbm.model.paging import PageRequest
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.upkeep import delivery_reader
from sbm.pipeline.upkeep.delivery_reader import PAGES, SPARE, DeliveryReader
from sbm.sandbox.stand_ins.message_sender import MessageSender as Store
from sbm.sandbox.stand_ins.message_sender import MessageSenderApp, NewOutbound
from sbm.settings.endpoints import ServiceAddress
from sbm.store import deliveries
from sbm.store.postgres.database import Database
from sbm.telemetry import Telemetry
from tests.arrange import Arranged

reactor: Any = global_reactor

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DELAYS: dict[DeliveryLook, timedelta] = {"first": HOUR, "last": DAY}


@define(eq=False)
class World:
    """A Message Sender, with outbounds of any age, and the ledger that names them."""

    database: Database
    direct: Arranged
    store: Store
    port: int
    asked: list[str]
    clients: list[ServiceClient] = field(factory=list)

    def send(
        self, person: str, age: timedelta, *, is_known: bool = True, lang: str = "eng", **said: Any
    ) -> str:
        """A message that was sent so long ago; the id of its outbound."""
        now = self.direct.value("SELECT now() AS now")
        send_id = uuid4()
        self.store.clock = lambda: now - age
        metadata = {
            "sbm_send_id": str(send_id),
            "sbm_installation_id": str(uuid4()),
            "sbm_subscription_id": str(uuid4()),
        }
        outbound = self.store.store(
            NewOutbound(to_identity=person, content="Hi", metadata=metadata)
        )
        if said:
            self.store.report(outbound.id, **said)
        if is_known:
            self.direct.rows(
                "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, subscription_id,"
                " identity, messageset_id, sequence_number, lang, outbound_id, settled_at)"
                " VALUES (%s, 1, 'next', 'sent', 'post', %s, %s, 1, 1, %s, %s, %s)",
                *(send_id, uuid4(), person, lang, outbound.id, now - age),
            )
        return str(outbound.id)

    def begin(self, ago: timedelta = 3 * DAY) -> None:
        """Whatever was sent since then is looked at."""
        self.direct.rows("UPDATE delivery_places SET place = now() - %s", ago)

    def again(self) -> None:
        """The rest is over."""
        self.direct.rows("UPDATE delivery_places SET lease_until = '-infinity'")

    def reader(self, delays: dict[DeliveryLook, timedelta] | None = None) -> DeliveryReader:
        address = ServiceAddress(url=f"http://127.0.0.1:{self.port}", token="t")
        client = ServiceClient(
            reactor=reactor,
            address=address,
            timeout=RequestTimeout(timedelta(minutes=10)),
        )
        self.clients.append(client)
        return DeliveryReader(
            database=self.database,
            message_sender=MessageSender(client=client),
            breaker=Breaker(service="x", seconds=reactor.seconds, draw=lambda: 0.5),
            delays=DELAYS if delays is None else delays,
            telemetry=Telemetry(),
            lease=SPARE,
        )

    async def read(self, reader: DeliveryReader | None = None) -> None:
        """All that can be read now."""
        reader = reader or self.reader()
        for _ in range(100):
            before = len(self.asked)
            for _look in DELAYS:
                await reader.one_pass()
            if len(self.asked) == before:
                return
        raise AssertionError("it goes on asking")

    def noted(self) -> list[Any]:
        rows = self.direct.rows(
            "SELECT identity, delivered, d.attempts, nack_reason, is_final FROM deliveries d"
            " JOIN ledger l ON l.settled_at = d.settled_at AND l.id = ledger_id ORDER BY l.id"
        )
        return [tuple(row.values()) for row in rows]

    def in_row(self) -> dict[str, int]:
        rows = self.direct.rows("SELECT identity, in_row FROM undelivered_people")
        return {row["identity"]: row["in_row"] for row in rows}


@pytest_twisted.async_yield_fixture
async def world(database: Database, direct: Arranged) -> AsyncIterator[World]:
    store, asked = Store(), []
    app = MessageSenderApp(sender=store, page_size=5)

    class Asked(Site):
        def getResourceFor(self, request: Any) -> Any:
            asked.append(request.uri.decode())
            return super().getResourceFor(request)  # type: ignore[no-untyped-call]

    site: Any = Asked
    port = reactor.listenTCP(0, site(app.resource()), interface="127.0.0.1")
    world = World(database, direct, store, port.getHost().port, asked)
    yield world
    for client in world.clients:
        await client.stopService()
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_what_was_delivered_is_noted_after_an_hour_and_for_good_after_a_day(
    world: World,
) -> None:
    world.begin()
    world.send("new", timedelta(minutes=30), delivered=True)
    first = world.send("a", 2 * HOUR, delivered=False, attempts=2, nack_reason="absent")
    world.send("b", 30 * HOUR, delivered=True)

    await world.read()

    assert world.noted() == [("a", False, 2, "absent", False), ("b", True, 1, None, True)]
    assert world.in_row() == {}

    # A day later it has arrived.
    world.store.report(first, delivered=True, attempts=3)
    later = {look: delay - DAY if look == "last" else delay for look, delay in DELAYS.items()}
    world.again()
    await world.read(world.reader({"last": later["last"] + timedelta(seconds=1)}))

    assert world.noted()[1:] == [("a", True, 3, "absent", True), ("b", True, 1, None, True)]


@pytest_twisted.ensureDeferred
async def test_counts_are_by_day_set_and_language_and_a_second_look_counts_once(
    world: World,
) -> None:
    world.begin()
    for number in range(7):
        world.send(f"p{number}", 30 * HOUR, delivered=number % 2 == 0)
    world.send("z", 30 * HOUR, lang="zul", delivered=False)

    for _ in range(2):
        await world.read()
        world.again()
        world.begin()

    page = await world.database.transact(deliveries.list_counts, page=PageRequest(limit=10))
    told = {(row.lang, row.seen, row.delivered, row.final) for row in page.rows}
    assert told == {("eng", 7, 4, 7), ("zul", 1, 0, 1)}
    assert world.in_row() == {"p1": 1, "p3": 1, "p5": 1, "z": 1}


@pytest_twisted.ensureDeferred
async def test_messages_that_a_person_did_not_get_are_counted_in_a_row(world: World) -> None:
    world.begin(10 * DAY)
    for days in (6, 5, 4):
        world.send("never", days * DAY, delivered=False)
        world.send("first only", days * DAY, delivered=days == 6)
        world.send("last only", days * DAY, delivered=days == 4)

    await world.read()
    assert world.in_row() == {"never": 3, "first only": 2}

    world.send("never", 3 * DAY, delivered=False)
    world.send("first only", 3 * DAY, delivered=True)
    world.send("last only", 3 * DAY, delivered=False)
    world.again()
    await world.read()
    assert world.in_row() == {"never": 4, "last only": 1}


@pytest_twisted.ensureDeferred
async def test_outbounds_of_others_are_left_out(world: World) -> None:
    world.begin()
    world.send("a", 30 * HOUR, is_known=False, delivered=True)
    now = world.direct.value("SELECT now() AS now")
    world.store.clock = lambda: now - 30 * HOUR
    world.store.store(NewOutbound(to_identity="a", content="Hi", metadata=["no", "object"]))
    world.send("a", 29 * HOUR, delivered=True)

    await world.read()

    assert len(world.noted()) == 1


@pytest_twisted.ensureDeferred
async def test_a_pass_asks_for_one_page_at_most(world: World) -> None:
    world.begin()
    for number in range(23):
        world.send(f"p{number}", 30 * HOUR + timedelta(minutes=number), delivered=True)
    reader = world.reader()
    for count in range(1, 8):
        await reader.one_pass()
        assert len(world.asked) <= count
    await world.read(reader)
    assert len(world.noted()) == 23


@pytest_twisted.ensureDeferred
async def test_another_daemon_goes_on_where_the_first_one_stopped(world: World) -> None:
    world.begin()
    for number in range(23):
        world.send(f"p{number}", 30 * HOUR - timedelta(minutes=number), delivered=True)
    first, second = world.reader({"last": DAY}), world.reader({"last": DAY})
    for _ in range(3):
        await first.one_pass()
    assert len(world.noted()) == 15

    before = len(world.asked)
    await second.one_pass()
    assert len(world.asked) == before  # the first one has the lease

    world.again()  # the lease of the first one ends
    await second.one_pass()
    assert len(world.noted()) > 15
    assert len(world.asked) == before + 1
    await first.one_pass()  # it reads a page, and notes nothing of it
    world.again()
    for _ in range(5):
        await second.one_pass()
    assert len(world.noted()) == 23


@pytest_twisted.ensureDeferred
async def test_when_all_was_read_it_rests(world: World) -> None:
    world.begin()
    world.send("a", 30 * HOUR, delivered=True)
    await world.read()
    asked = len(world.asked)
    await world.read(world.reader())
    assert len(world.asked) == asked


@pytest_twisted.ensureDeferred
async def test_what_was_sent_before_the_first_start_is_left(world: World) -> None:
    world.send("a", 30 * HOUR, delivered=True)
    await world.read()
    assert world.noted() == []


@pytest.mark.parametrize("status", [200, 401, 404, 500, 503])
@pytest_twisted.ensureDeferred
async def test_a_fault_of_the_service_ends_nothing(
    world: World, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.begin()
    world.send("a", 30 * HOUR, delivered=True)
    reader = world.reader({"last": DAY})
    get = reader._message_sender._client.get

    async def wrong(*args: Any, **options: Any) -> Any:
        answer = await get(*args, **options)
        return evolve(answer, status=status, body=b'{"next": 1}')

    monkeypatch.setattr(reader._message_sender._client, "get", wrong)
    await reader.one_pass()
    assert world.noted() == []

    monkeypatch.undo()
    world.again()
    reader._breaker = Breaker(service="x", seconds=reactor.seconds, draw=lambda: 0.5)
    await world.read(reader)
    assert len(world.noted()) == 1


@pytest_twisted.ensureDeferred
async def test_the_place_of_a_wrong_clock_is_left(world: World) -> None:
    world.begin(-400 * DAY)
    world.send("a", 30 * HOUR, delivered=True)
    await world.read()
    assert world.direct.value("SELECT bool_and(place < now()) FROM delivery_places")


@pytest_twisted.ensureDeferred
async def test_the_metric_goes_on_if_nothing_was_sent_but_the_place_stays(world: World) -> None:
    """The clock of the Message Sender may be behind, so an older outbound may still come."""
    world.begin()
    place = world.direct.value("SELECT max(place) FROM delivery_places")
    reader = world.reader()
    await world.read(reader)
    now = world.direct.value("SELECT now() AS now")
    for look, delay in DELAYS.items():
        told = reader._telemetry.measured("deliveries.read_until", look=look)
        assert told is not None
        assert 0 <= (now - delay).timestamp() - told < HOUR.total_seconds()
    assert world.direct.value("SELECT max(place) FROM delivery_places") == place


class TestIgnorant:
    """A Message Sender that ignores what it was asked for."""

    @pytest.fixture(params=["ordering", "before"])
    def ignored(self, request: Any, world: World, monkeypatch: pytest.MonkeyPatch) -> str:
        original = ServiceClient.get

        async def get(self: Any, *path: Any, query: Any, **options: Any) -> Any:
            left = tuple(pair for pair in query if pair[0] != request.param)
            return await original(self, *path, query=left, **options)

        monkeypatch.setattr(ServiceClient, "get", get)
        return str(request.param)

    @pytest_twisted.ensureDeferred
    async def test_nothing_is_left_out_after_a_restart_and_nothing_is_looked_at_too_early(
        self, world: World, ignored: str
    ) -> None:
        world.begin()
        for number in range(12):
            world.send(f"p{number}", 30 * HOUR - timedelta(minutes=number), delivered=True)
        world.send("new", HOUR, delivered=False)
        first = world.reader({"last": DAY})
        for _ in range(2):
            await first.one_pass()
        world.again()
        second = world.reader({"last": DAY})
        for _ in range(6):
            await second.one_pass()
        assert [row[0] for row in world.noted()] == [f"p{number}" for number in range(12)]


class Endless(Resource):
    """A list whose pages lead to others for ever; each has these rows."""

    isLeaf = True

    def __init__(self, *rows: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows = rows
        self.count = 0

    def render_GET(self, _request: Any) -> bytes:
        self.count += 1
        page = {"next": f"http://x/?cursor={self.count}", "results": self.rows}
        return json.dumps(page).encode()


@pytest_twisted.ensureDeferred
async def test_a_list_that_does_not_go_on_is_left_for_an_hour(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_reader, "PAGES", evolve(PAGES, pages=20))
    world.begin()
    endless = Endless()
    port = reactor.listenTCP(0, Site(endless), interface="127.0.0.1")
    world.port = port.getHost().port
    reader = world.reader({"first": HOUR})
    try:
        for _ in range(50):
            await reader.one_pass()
        assert endless.count == 20
        left = world.direct.value(
            "SELECT lease_until - now() FROM delivery_places WHERE look = 'first'"
        )
        assert timedelta(minutes=59) < left < timedelta(minutes=61)
    finally:
        await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_time_in_the_future_does_not_make_it_pass_over_messages(world: World) -> None:
    world.begin()
    endless = Endless({"id": "1", "created_at": "2199-01-01T00:00:00Z"})
    port = reactor.listenTCP(0, Site(endless), interface="127.0.0.1")
    world.port = port.getHost().port
    reader = world.reader({"first": HOUR})
    try:
        await reader.one_pass()
        ago = world.direct.value("SELECT now() - place FROM delivery_places WHERE look = 'first'")
        assert ago >= HOUR
    finally:
        await port.stopListening()
