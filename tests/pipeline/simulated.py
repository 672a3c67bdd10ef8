"""Two daemons over one real database, in a time that the test makes.

The database's own clock is simulated, too: all that its statements and triggers know of the time
moves only when the test says so, to the microsecond with the clocks of the daemons. Ids are
counted, not drawn, so that what was found once is found again.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

from attrs import define, field
from greenlet import greenlet
from pytest_twisted import blockon
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure

from sbm.clients.message_sender import Found
from sbm.clients.outcomes import CannotBeAsked, Unavailable
from sbm.model.backoff import CAP
from sbm.model.durations import LeaseTime, RequestTimeout, SettleTime, StopGrace
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.database_clock import DatabaseClock
from sbm.pipeline.sends.address_lookup import AddressLookup
from sbm.pipeline.sends.blame import Blame
from sbm.pipeline.sends.claimer import Claimer
from sbm.pipeline.sends.completer import Completer
from sbm.pipeline.sends.delivery import Blames, Delivery
from sbm.pipeline.sends.in_flight import InFlight
from sbm.pipeline.sends.priority_slots import PrioritySlots
from sbm.pipeline.sends.reconciler import Reconciler
from sbm.pipeline.sends.retries import Retries
from sbm.runtime.wakeups import Wakeup
from sbm.store import ticks
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import CommitUnknown, DatabaseUnavailable
from sbm.telemetry import Telemetry
from tests.arrange import Arranged
from tests.pipeline.fakes import no_pace
from tests.pipeline.receiver import SETTLE, TIMEOUT, Question, Receiver, Request
from tests.simulated_time import simulate_time

reactor: Any = _reactor

LEASE = LeaseTime(timedelta(seconds=60))
GRACE = StopGrace(timedelta(seconds=20))
QUESTION_LEASE = LeaseTime(timedelta(seconds=150))
CONCURRENCY = 2
RESERVED = 1
# So that it takes several passes to expand a tick.
CHUNK = 2

_BEGINNING = datetime(2026, 1, 5, tzinfo=timezone.utc)

# Ids of sends of a tick are derived from that of the installation.
_IDS = """
CREATE SEQUENCE simulated.ids;
CREATE FUNCTION simulated.gen_random_uuid() RETURNS uuid LANGUAGE sql VOLATILE
    AS $$SELECT lpad(to_hex(nextval('simulated.ids')), 32, '0')::uuid$$;
ALTER TABLE sends ALTER id SET DEFAULT simulated.gen_random_uuid();
ALTER TABLE subscriptions ALTER id SET DEFAULT simulated.gen_random_uuid();
UPDATE installation SET id = lpad('1', 32, '0')::uuid;
"""
_ANEW = """
DELETE FROM sends; DELETE FROM ledger; DELETE FROM failed_tasks; DELETE FROM resend_requests;
DELETE FROM doubles; DELETE FROM ticks; DELETE FROM subscriptions;
DELETE FROM clock_jumps; DELETE FROM clock_readings;
SELECT setval('simulated.ids', 1);
"""


async def apart(work: Callable[[], object]) -> None:
    """Do work that blocks on Deferreds, beside the reactor."""
    done: Deferred[None] = Deferred()

    def run() -> None:
        try:
            work()
        except Exception:
            reactor.callLater(0, done.errback, Failure())
        else:
            reactor.callLater(0, done.callback, None)  # so that the rest is done over there

    greenlet(run).switch()
    await done


@define(eq=False, slots=False)
class Traffic:
    """Counts what is under way in the real database, and waits for its end."""

    _busy: int = 0
    _quiet: Deferred[None] | None = None

    @contextmanager
    def under_way(self) -> Iterator[None]:
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            if not self._busy:
                # The next transaction may follow from the answer.
                reactor.callLater(0, self._tell)

    def wait(self) -> None:
        """Block until nothing is under way."""
        if self._busy:
            self._quiet = Deferred()
            blockon(self._quiet)

    def _tell(self) -> None:
        quiet = self._quiet
        if not self._busy and quiet is not None:
            self._quiet = None
            quiet.callback(None)


@define(eq=False, slots=False)
class SimulatedConnection:
    """A daemon's connection to the database, which may be cut, or lose the answer to a COMMIT.

    ``stops_next``: its daemon is stopped when the next transaction is committed.
    """

    daemon: Daemon
    _database: Database
    _traffic: Traffic
    is_cut: bool = False
    loses_commit: bool = False
    loses_answer: bool = False
    stops_next: bool = False

    async def transact(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        if self.is_cut:
            raise DatabaseUnavailable("cut")
        if self.loses_commit:
            self.loses_commit = False
            raise CommitUnknown("cut before COMMIT")
        loses_answer, self.loses_answer = self.loses_answer, False
        with self._traffic.under_way():
            result = await self._database.transact(work, *args, **kwargs)
            if self.stops_next:
                self.stops_next = False
                self.daemon.stop()
        await self.daemon.turn()
        if loses_answer:
            raise CommitUnknown("cut after COMMIT")
        return result


@define(eq=False, slots=False)
class SimulatedServices:
    """Both services, as one daemon calls them."""

    daemon: Daemon
    world: SimulatedWorld
    has_list: bool = True

    async def address_of(self, identity: str) -> str:
        if self.world.has_no_addresses:
            raise Unavailable("the Identity Store is away")
        return "+27820001001"

    async def post(self, outbound: bytes, *, begin: Callable[[], bool]) -> str:
        request = Request(self.daemon, self.world.receiver, json.loads(outbound), begin)
        self.world.receiver.requests.append(request)
        return await request.wait()

    async def is_well(self, *, but: str = "") -> bool | None:
        return True if self.has_list else None

    def questions(self, identities: Sequence[str], *, after: datetime) -> list[tuple[str, ...]]:
        """Two identities fit into one question."""
        each = list(dict.fromkeys(identities))
        return [tuple(each[start : start + 2]) for start in range(0, len(each), 2)]

    async def find(self, identities: Sequence[str], *, keys: Any, after: datetime) -> Found:
        receiver, about = self.world.receiver, frozenset(identities)
        then = receiver.complete_list(about, after)
        question = Question(self.daemon, receiver, about, after, then)
        receiver.questions.append(question)
        try:
            found: Found = await question.wait()
        except CannotBeAsked:
            self.has_list = False
            raise
        self.has_list = True
        return found


@define(eq=False, slots=False)
class Daemon:
    """The pipeline of one daemon, which may be stopped and wake, or die.

    While it is stopped, it hears nothing, and its timers stand still; but its leases go on.
    """

    world: SimulatedWorld
    is_stopped: bool = False
    is_dead: bool = False
    _overslept: float = 0.0
    _unheard: list[Callable[[], object]] = field(factory=list)
    _passes: set[str] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        world = self.world
        self.clock = Clock()
        self.way = SimulatedConnection(self, world.database, world.traffic)
        self.in_flight = InFlight(
            owner=uuid4(),
            capacity=2 * CONCURRENCY,
            spare=RESERVED,
            lease_time=LEASE,
            emptied=Wakeup(reactor=self.clock),
            uptime=lambda: world.seconds,
        )
        self.wakeup = Wakeup(reactor=self.clock)
        self._assemble(Telemetry(), SimulatedServices(self, world))
        self._start: dict[str, Callable[[], Awaitable[int]]] = {
            "expand": self._expand,
            "claim": self._claimer.claim,
            "renew": self._claimer.renew,
            "expire": self._claimer.expire,
            "reconcile": self._reconciler.one_pass,
        }
        for service in (self.completer, self.delivery):
            service.startService()

    def _assemble(self, telemetry: Telemetry, client: Any) -> None:
        way: Any = self.way
        seconds = self.clock.seconds
        identity_store, message_sender = (
            Breaker(service=name, seconds=seconds, draw=lambda: 1.0) for name in ("is", "ms")
        )
        retries = Retries(max_faults=3, cap=CAP, draw=lambda: 1.0)
        observer: Any = self._read_log
        log = Logger("simulated", observer=observer)
        self.completer = Completer(
            reactor=self.clock,
            database=way,
            in_flight=self.in_flight,
            telemetry=telemetry,
            listeners=[],
            claims=self.wakeup,
            grace=GRACE,
            log=log,
        )
        address_lookup = AddressLookup(
            identity_store=client, breaker=identity_store, retries=retries, seconds=seconds
        )
        blames = Blames(
            identity_store=address_lookup.blame,
            message_sender=Blame(breaker=message_sender, seconds=seconds, is_well=client.is_well),
        )
        self.delivery = Delivery(
            reactor=self.clock,
            in_flight=self.in_flight,
            completer=self.completer,
            address_lookup=address_lookup,
            message_sender=client,
            blames=blames,
            retries=retries,
            media_url="http://media",
            dry_runs=frozenset(),
            request_timeout=RequestTimeout(TIMEOUT),
            slots=PrioritySlots(places=CONCURRENCY),
            pacer=no_pace(self.clock),
            grace=GRACE,
            log=log,
        )
        database_clock = DatabaseClock(
            hold=LEASE + SETTLE,
            telemetry=telemetry,
            uptime=lambda: self.world.seconds,
            wall_clock=lambda: self.world.wall_time,
            machine="the one machine",
            log=log,
        )
        self._claimer = Claimer(
            reactor=self.clock,
            database=way,
            gated=way,
            in_flight=self.in_flight,
            delivery=self.delivery,
            blames=blames,
            wakeup=self.wakeup,
            clock=database_clock,
        )
        self._reconciler = Reconciler(
            reactor=self.clock,
            database=way,
            message_sender=client,
            breaker=message_sender,
            telemetry=telemetry,
            settle=SettleTime(SETTLE),
            lease=QUESTION_LEASE,
            uncertain=self.world.uncertain,
            retries=retries,
            owed=self.wakeup.wake,
            clock=database_clock,
        )

    def _read_log(self, event: Any) -> None:
        if "log_failure" in event and not self.is_dead:
            self.world.broken.append(event["log_failure"].getTraceback())

    async def _expand(self) -> int:
        way: Any = self.way
        chunk = await way.transact(ticks.expand, limit=CHUNK)
        self.wakeup.wake()
        return 0 if chunk is None else chunk.triggers

    @property
    def is_idle(self) -> bool:
        return not self.in_flight.held and not self._passes

    def makes(self, name: str) -> None:
        """Make a pass, unless the last one is still under way."""
        if not self.is_stopped and name not in self._passes:
            self._passes.add(name)
            Deferred.fromCoroutine(self._pass(name))
            self.world.traffic.wait()

    async def _pass(self, name: str) -> None:
        try:
            await self._start[name]()
        except DatabaseUnavailable:
            pass  # as a loop does
        except Exception:
            if not self.is_dead:
                self.world.broken.append(Failure().getTraceback())
        finally:
            self._passes.discard(name)

    def hears(self, event: Callable[[], object]) -> None:
        """Deliver an event from outside."""
        if self.is_stopped:
            self._unheard.append(event)
        elif not self.is_dead:
            event()

    async def turn(self) -> None:
        """Wait for the daemon to run; for ever, when it is dead."""
        if self.is_stopped or self.is_dead:
            heard: Deferred[None] = Deferred()
            self._unheard.append(lambda: heard.callback(None))
            await heard

    def advance(self, seconds: float) -> None:
        if self.is_stopped:
            self._overslept += seconds
        else:
            self.clock.advance(seconds)

    def stop(self) -> None:
        self.is_stopped = True

    def wake(self, *, timers_first: bool) -> None:
        """Go on with the delayed events and with the timers that are due, in either order."""
        self.is_stopped = False
        overslept, self._overslept = self._overslept, 0.0
        unheard, self._unheard = self._unheard, []
        if timers_first:
            self.clock.advance(overslept)
        for event in unheard:
            self.hears(event)
        if not timers_first:
            self.clock.advance(overslept)

    def die(self) -> None:
        self.is_dead = True
        for question in list(self.world.receiver.questions):
            if question.daemon is self:
                self.world.receiver.over(question)


@define(eq=False, slots=False)
class SimulatedWorld:
    """Two daemons, their database and services, and the time."""

    database: Database
    direct: Arranged
    begun: Callable[[Request], None] = lambda request: None
    uncertain: Any = "at-most-once"
    has_no_addresses: bool = False
    seconds: float = 0.0
    # By how much the database's clock is wrong.
    wrong_by: float = 0.0
    # By how much the clocks of the daemons' machines are.
    wall_is_wrong_by: float = 0.0
    traffic: Traffic = field(factory=Traffic)
    broken: list[str] = field(factory=list)
    # Dead daemons are kept until the end, so that they are not garbage-collected in a step.
    _graves: list[Daemon] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.direct.rows(_ANEW)
        self.set_at = self.now
        self.receiver = Receiver(lambda: self.time, self.begun)
        self.daemons = [Daemon(self), Daemon(self)]
        self._set_clock()

    def close(self) -> None:
        for daemon in self.daemons:
            daemon.die()

    @staticmethod
    def prepare(direct: Arranged) -> None:
        """Make a database live in this time."""
        simulate_time(
            direct,
            schema="simulated",
            column="at timestamptz NOT NULL",
            value="pg_catalog.now()",
            time="at",
        )
        direct.rows(_IDS)

    @property
    def time(self) -> datetime:
        """The real time."""
        return _BEGINNING + timedelta(seconds=self.seconds)

    @property
    def now(self) -> datetime:
        """The time by the database's clock."""
        return self.time + timedelta(seconds=self.wrong_by)

    @property
    def wall_time(self) -> datetime:
        """The time by the clocks of the daemons' machines."""
        return self.time + timedelta(seconds=self.wall_is_wrong_by)

    def does(self, work: Any, **kwargs: Any) -> Any:
        """A request of a client or an operator, in a transaction of its own."""
        return blockon(Deferred.fromCoroutine(self.database.transact(work, **kwargs)))

    def passes(self, seconds: float) -> None:
        """Time passes, for everybody."""
        self.seconds += seconds
        self._set_clock()
        self.receiver.forget(self.seconds)
        for daemon in self.daemons:
            daemon.advance(seconds)
        self.traffic.wait()

    def sets_clock(self, wrong_by: float, *, everywhere: bool = False) -> None:
        """The database's clock jumps, to be wrong by so many seconds; or that of all machines."""
        self.wall_is_wrong_by = wrong_by if everywhere else 0.0
        if wrong_by != self.wrong_by:
            self.wrong_by = wrong_by
            self.set_at = self.now
            self._set_clock()

    def replace(self, which: int) -> None:
        """A daemon dies at once, and another one is started."""
        daemon = self.daemons[which]
        daemon.die()
        self._graves.append(daemon)
        self.daemons[which] = Daemon(self)

    def shut_down(self, which: int) -> None:
        """A daemon is stopped as it should be, and another one is started."""
        daemon = self.daemons[which]
        for service in (daemon.delivery, daemon.completer):
            service.stopService()
            self.traffic.wait()
            self.passes(GRACE.total_seconds())
        self.replace(which)

    def _set_clock(self) -> None:
        self.direct.rows("UPDATE simulated.clock SET at = %s", self.now)
