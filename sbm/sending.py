"""The part of the daemon that sends: from owed to settled, constructed for ``sbm.daemon``."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import frozen
from twisted.application.service import IService

from sbm.clients.identity_store import IdentityStore
from sbm.clients.message_sender import MessageSender
from sbm.clients.service_client import ServiceClient
from sbm.model.durations import LeaseTime
from sbm.model.metrics import of_failure
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.continuity import Continuity
from sbm.pipeline.database_clock import DatabaseClock
from sbm.pipeline.mark_file import MarkFile
from sbm.pipeline.pause_watch import DatabaseBeat, PauseWatch, hold_nothing
from sbm.pipeline.sends.address_lookup import AddressLookup
from sbm.pipeline.sends.blame import Blame
from sbm.pipeline.sends.claimer import Claimer
from sbm.pipeline.sends.completer import Completer, Listener
from sbm.pipeline.sends.delivery import Blames, Delivery
from sbm.pipeline.sends.in_flight import InFlight
from sbm.pipeline.sends.pacer import Pacer
from sbm.pipeline.sends.priority_slots import PrioritySlots
from sbm.pipeline.sends.reconciler import Reconciler
from sbm.pipeline.sends.retries import Retries
from sbm.runtime.lease import SPARE
from sbm.runtime.loop import Loop
from sbm.runtime.wakeups import Wakeup, Wakeups
from sbm.runtime.work_gate import WorkGate
from sbm.settings.config import Config
from sbm.settings.endpoints import ServiceAddress
from sbm.store.postgres.database import Database
from sbm.store.postgres.gated import GatedDatabase
from sbm.store.postgres.host_watch import HostWatch
from sbm.telemetry import ANSWERS_REFUSED, PendingMetrics, Telemetry

POLL_SECONDS = 1.0
EXPIRY_SECONDS = 5.0
BEAT_SECONDS = 5.0

# One in so many places of SBM_CONCURRENCY is reserved for single sends.
RESERVED_OF = 10


@frozen(kw_only=True)
class SharedParts:
    """The objects that all parts of a daemon share; ``clock`` watches the database's clock.

    ``daemon`` is the id of this process, for its claims and for its row of ``daemons``.
    Work that the daemon begins by itself passes the ``gate``; ``gated`` is the database for it.
    """

    config: Config
    reactor: Any
    database: Database
    watch: HostWatch
    telemetry: Telemetry
    wakeups: Wakeups
    clock: DatabaseClock
    gate: WorkGate
    daemon: uuid.UUID

    @property
    def gated(self) -> GatedDatabase:
        """The database for work that waits while the gate is closed."""
        return GatedDatabase(database=self.database, gate=self.gate)

    @property
    def gated_for_ticks(self) -> GatedDatabase:
        """The database for ticks, for which the gate opens earlier."""
        return GatedDatabase(database=self.database, gate=self.gate.ticks)

    def breaker(self, service: str, *, is_told_once: bool = False) -> Breaker:
        """A new breaker for a service that the daemon calls; telemetry shows it."""
        breaker = Breaker(
            service=service,
            seconds=self.reactor.seconds,
            draw=random.random,
            cap=self.config.backoff_max,
            is_told_once=is_told_once,
        )
        self.telemetry.services[_label(service)] = breaker
        return breaker

    def refused(self, service: str) -> Callable[[str], None]:
        """Counts answers of a service that were refused, by the limit that they exceed."""

        def count(limit: str) -> None:
            self.telemetry.count(ANSWERS_REFUSED, service=_label(service), limit=limit)

        return count

    def took(self, service: str) -> Callable[[float], None]:
        """Notes how long the answers of a service take."""
        return self.telemetry.latency_of(_label(service)).note


def _label(service: str) -> str:
    """The name of a service in metrics."""
    return service.lower().replace(" ", "_")


@frozen(kw_only=True)
class Sending:
    """The services from owed to settled; those that stop first come last."""

    ground: Sequence[IService]
    leases: Sequence[IService]
    under_way: Sequence[IService]
    claims: Sequence[IService]


def sending_services(shared: SharedParts, listeners: Sequence[Listener]) -> Sending:
    """The services that claim, deliver, settle and reconcile, not started."""
    config, reactor, database = shared.config, shared.reactor, shared.database
    telemetry, wakeup = shared.telemetry, shared.wakeups.sends
    # Places that no tick can fill, so that a single send is claimed at once.
    reserved = config.concurrency // RESERVED_OF
    identity_client = _client(
        shared, config.identity_store, service="Identity Store", counted="GET"
    )
    sender_client = _client(shared, config.message_sender, service="Message Sender", counted="POST")
    identity_breaker = shared.breaker("Identity Store")
    sender_breaker = shared.breaker("Message Sender")
    retries = Retries(max_faults=config.max_faults, cap=config.backoff_max, draw=random.random)
    # Four times as many as are in progress, so that slots do not wait for the next claim, and
    # results can wait for a large batch. Not more than that, so that a crash leaves few sends of
    # unknown outcome. And not more than may leave in two seconds.
    capacity = 4 * config.concurrency - reserved
    if config.simulation.max_rate is not None:
        capacity = min(capacity, 2 * config.simulation.max_rate)
    in_flight = InFlight(
        owner=shared.daemon,
        capacity=capacity,
        spare=reserved,
        lease_time=config.lease,
        emptied=Wakeup(reactor=reactor),
    )
    shared.watch.listeners.append(in_flight.doubt)
    completer = Completer(
        reactor=reactor,
        database=database,
        in_flight=in_flight,
        telemetry=telemetry,
        listeners=[telemetry.settled, *listeners],
        claims=wakeup,
        grace=config.stop_grace,
    )
    message_sender = MessageSender(client=sender_client)
    address_lookup = AddressLookup(
        identity_store=IdentityStore(client=identity_client),
        breaker=identity_breaker,
        retries=retries,
        seconds=reactor.seconds,
    )
    blames = Blames(
        identity_store=address_lookup.blame,
        message_sender=Blame(
            breaker=sender_breaker,
            seconds=reactor.seconds,
            is_well=message_sender.is_well,
        ),
    )
    pacer = Pacer(reactor=reactor, database=database, overall_rate=config.simulation.max_rate)
    delivery = Delivery(
        reactor=reactor,
        in_flight=in_flight,
        completer=completer,
        address_lookup=address_lookup,
        message_sender=message_sender,
        blames=blames,
        retries=retries,
        media_url=config.media_url,
        dry_runs=config.simulation.rules.dry_runs,
        request_timeout=config.request_timeout,
        slots=PrioritySlots(places=config.concurrency),
        pacer=pacer,
        grace=config.stop_grace,
        max_text_length=config.simulation.rules.max_text_length,
    )
    claimer = Claimer(
        reactor=reactor,
        database=database,
        gated=shared.gated,
        in_flight=in_flight,
        delivery=delivery,
        blames=blames,
        wakeup=wakeup,
        clock=shared.clock,
        content_settle=config.simulation.rules.content_settle,
        telemetry=telemetry,
    )
    reconciler = Reconciler(
        reactor=reactor,
        database=database,
        message_sender=message_sender,
        breaker=sender_breaker,
        telemetry=telemetry,
        settle=config.settle,
        lease=question_lease(config),
        uncertain=config.uncertain,
        retries=retries,
        owed=wakeup.wake,
        clock=shared.clock,
    )
    return Sending(
        ground=[identity_client, sender_client, completer],
        leases=[
            Loop(
                reactor=reactor,
                name="renew leases",
                one_pass=claimer.renew,
                rest=_renewal_seconds(config),
            )
        ],
        under_way=[
            delivery,
            pacer,
            *_pauses(shared, message_sender, in_flight),
            Loop(
                reactor=reactor,
                name="expire leases",
                one_pass=claimer.expire,
                rest=EXPIRY_SECONDS,
            ),
        ],
        claims=[
            Loop(
                reactor=reactor,
                name="claim",
                one_pass=claimer.claim,
                rest=POLL_SECONDS,
                wakeup=wakeup,
                gate=shared.gate,
            ),
            Loop(
                reactor=reactor,
                name="reconcile",
                one_pass=reconciler.one_pass,
                rest=POLL_SECONDS,
                may_be_cut=True,
            ),
        ],
    )


def _pauses(
    shared: SharedParts, message_sender: MessageSender, in_flight: InFlight
) -> Iterable[IService]:
    """Opens the gate in front of all work, once the database was judged, and closes it."""
    mark_file = MarkFile(
        reactor=shared.reactor,
        folder=shared.config.state_dir,
        database=shared.config.database.title,
    )
    continuity = Continuity(
        database=shared.database,
        message_sender=message_sender,
        held=lambda: [one.send for one in in_flight.held.values()],
        gate=shared.gate,
        mark_file=mark_file,
        lease=shared.config.lease,
        telemetry=shared.telemetry,
    )
    yield pause_watch(shared, continuity, in_flight)
    beat = DatabaseBeat(database=shared.gated, continuity=continuity, mark_file=mark_file)
    yield Loop(
        reactor=shared.reactor,
        name="keep the mark",
        one_pass=beat.one_pass,
        rest=BEAT_SECONDS,
        wakeup=Wakeup(reactor=shared.reactor),
        gate=shared.gate,
    )


def pause_watch(
    shared: SharedParts, continuity: Continuity | None = None, in_flight: InFlight | None = None
) -> PauseWatch:
    """Looks for pauses; a daemon that sends also has the database judged, and withholds sends."""
    return PauseWatch(
        reactor=shared.reactor,
        database=shared.database,
        gate=shared.gate,
        continuity=continuity,
        wakeup=shared.wakeups.pauses,
        daemon=shared.daemon,
        is_paused=shared.config.is_paused,
        opened=shared.wakeups.look_again,
        telemetry=shared.telemetry,
        withhold=hold_nothing if in_flight is None else in_flight.withhold,
    )


def _client(
    shared: SharedParts, address: ServiceAddress, *, service: str, counted: str
) -> ServiceClient:
    """The client for a service that every send needs; counts the failures of one method."""
    return ServiceClient(
        reactor=shared.reactor,
        address=address,
        timeout=shared.config.request_timeout,
        connections=shared.config.concurrency,
        failed=_count_failures(shared.telemetry.pending_metrics, counted),
        refused=shared.refused(service),
        took=shared.took(service),
    )


def _count_failures(pending_metrics: PendingMetrics, method: str) -> Callable[[str, str], None]:
    """Count failures of the one method that a send uses to call the service."""

    def failed(tried: str, failure: str) -> None:
        if tried == method:
            pending_metrics.add(of_failure(failure))

    return failed


def _renewal_seconds(config: Config) -> float:
    """Often enough that a lease covers a POST that waits for a slot; see ``Lease``."""
    spare = config.lease - config.request_timeout - SPARE
    return min(config.lease / 3, spare / 2).total_seconds()


def question_lease(config: Config) -> LeaseTime:
    """Long enough for a few slow pages; after that, another daemon may ask the question, too."""
    return LeaseTime(max(config.lease, 5 * config.request_timeout))
