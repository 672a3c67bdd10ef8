"""The daemon: the only module that constructs, and the order in which things start and stop."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from importlib.metadata import version
from typing import Any

from attrs import frozen
from twisted.application.service import IService

from sbm.addresses import ServiceAddress
from sbm.clients.exchange import Exchanges
from sbm.clients.identity_store import IdentityStore
from sbm.clients.message_sender import MessageSender
from sbm.config import Config
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.claim import Claiming
from sbm.pipeline.deliver import Breakers, Delivery
from sbm.pipeline.hand import Hand
from sbm.pipeline.housekeeping import Housekeeping
from sbm.pipeline.law import Law
from sbm.pipeline.look_up import LookUp
from sbm.pipeline.loop import Bell, Loop
from sbm.pipeline.reconcile import Reconciling
from sbm.pipeline.retries import Retries
from sbm.pipeline.settle import Settling
from sbm.pipeline.tasks import Tasks
from sbm.pipeline.ticks import Clock, Expansion
from sbm.pipeline.turns import Turns
from sbm.services import Port, Row, Stack
from sbm.store.database import Database
from sbm.store.notifications import Notifications
from sbm.telemetry import Telemetry
from sbm.web import api
from sbm.web.request import Answers

POLL_SECONDS = 1.0
PIPELINE_CONNECTIONS = 4

# One in so many of SBM_CONCURRENCY is what single sends have to themselves.
RESERVED_OF = 5

# What stopping may take beyond the grace for work in hand: to settle it, and to hang up.
SETTLING = timedelta(seconds=2)
EXPIRY_SECONDS = 5.0
HOUSEKEEPING_SECONDS = 3600.0
LAW_SECONDS = 15.0


def assemble(
    config: Config,
    reactor: Any,
    *,
    listen: Sequence[str],
    telemetry: Telemetry | None = None,
) -> Stack:
    """Build the whole daemon, not started; ``listen`` are Twisted endpoint descriptions.

    To stop, it stops listening and claiming; then it lets what is under way come to its end, sends
    and requests alike, for as long as the grace lasts; then it settles, and hangs up.
    """
    served = Database(reactor, config.database, config.database_connections)
    # However many requests wait for each other's locks, results are settled and leases renewed.
    database = Database(reactor, config.database, PIPELINE_CONNECTIONS)
    claim_bell, tick_bell, task_bell = Bell(reactor), Bell(reactor), Bell(reactor)
    telemetry = telemetry or Telemetry()

    sending = _sending(config, reactor, database, telemetry, claim_bell)

    def wake() -> None:
        tick_bell.ring()
        sending.look_for_single()
        claim_bell.ring()
        task_bell.ring()

    site = api.build(
        database=served,
        scheduler_token=config.scheduler_inbound_token,
        version=version("sbm"),
        wake=wake,
        media_root=config.media_root,
        max_upload_bytes=config.max_upload_bytes,
        trusted_proxies=config.trusted_proxies,
        telemetry=telemetry,
    )
    beginning = Row(*sending.claims, *(Port(reactor, description, site) for description in listen))
    under_way = Row(
        *sending.under_way,
        *_ticking(config, reactor, database, tick_bell, claim_bell),
        *_housekeeping(config, reactor, database),
        *_law(config, reactor, telemetry),
        Tasks(reactor, database, config.timezone, uuid.uuid4(), claim_bell.ring, task_bell),
        Notifications(reactor, config.database, wake),
        Answers(site),
    )
    work = Stack(reactor, config.stop_grace, services=(*sending.leases, under_way, beginning))
    return Stack(
        reactor,
        config.stop_grace + SETTLING,
        rush=SETTLING,
        services=(served, database, *sending.ground, work),
    )


@frozen(kw_only=True)
class _Sending:
    """From owed to settled, from the ground up: what stops first comes last."""

    ground: Sequence[IService]
    leases: Sequence[IService]
    under_way: Sequence[IService]
    claims: Sequence[IService]
    look_for_single: Callable[[], None]


def _sending(
    config: Config, reactor: Any, database: Database, telemetry: Telemetry, claim_bell: Bell
) -> _Sending:
    # Places beside those of SBM_CONCURRENCY, that no tick can fill: however slow the services are,
    # a single send finds one, and the tick has no fewer for it.
    reserved = config.concurrency // RESERVED_OF
    connections = config.concurrency + reserved
    exchanges = {
        name: Exchanges(reactor, address, config.request_timeout, connections)
        for name, address in _services(config).items()
    }
    identity_store, message_sender = (
        Breaker(name, reactor.seconds, random.random, config.backoff_max) for name in exchanges
    )
    breakers = Breakers(identity_store=identity_store, message_sender=message_sender)
    retries = Retries(max_faults=config.max_faults, cap=config.backoff_max, draw=random.random)
    hand = Hand(
        owner=uuid.uuid4(),
        # Twice what is under way, so that nobody waits for the next claim, and no more than that,
        # so that a crash leaves little to ask about.
        capacity=2 * config.concurrency,
        spare=reserved,
        lease=config.lease,
        emptied=Bell(reactor),
    )
    settling = Settling(reactor, database, hand, telemetry, claim_bell.ring, config.stop_grace)
    sender = MessageSender(exchanges["Message Sender"])
    delivery = Delivery(
        reactor,
        hand,
        settling,
        LookUp(
            IdentityStore(exchanges["Identity Store"]),
            breakers.identity_store,
            retries,
            reactor.seconds,
        ),
        sender,
        breakers,
        retries,
        config.media_url,
        config.dry_run_messagesets,
        config.request_timeout,
        Turns(config.concurrency, reserved),
        config.stop_grace,
    )
    claiming = Claiming(database, hand, delivery, breakers)
    reconciling = Reconciling(
        reactor,
        database,
        sender,
        breakers.message_sender,
        telemetry,
        config.settle,
        # A few pages at their slowest; a question that takes longer is asked by somebody else, too.
        max(config.lease, 5 * config.request_timeout),
        config.uncertain,
        claim_bell.ring,
    )
    renewing = Loop("renew leases", claiming.renew, _renewal_seconds(config), Bell(reactor))
    expiring = Loop("expire leases", claiming.expire, EXPIRY_SECONDS, Bell(reactor))
    return _Sending(
        ground=[*exchanges.values(), settling],
        leases=[renewing],
        under_way=[delivery, expiring],
        claims=[
            Loop("claim", claiming.claim, POLL_SECONDS, claim_bell),
            Loop("reconcile", reconciling.one_pass, POLL_SECONDS, Bell(reactor), may_be_cut=True),
        ],
        look_for_single=claiming.look_for_single,
    )


def _renewal_seconds(config: Config) -> float:
    """Often enough for a lease to cover a POST that waits for its turn; see Hand.outlasts."""
    spare = config.lease - config.request_timeout - timedelta(seconds=1)
    return min(config.lease / 3, spare / 2).total_seconds()


def _services(config: Config) -> dict[str, ServiceAddress]:
    return {"Identity Store": config.identity_store, "Message Sender": config.message_sender}


def _ticking(
    config: Config, reactor: Any, database: Database, tick_bell: Bell, claim_bell: Bell
) -> Iterable[IService]:
    """Who is owed a send: by POST-back, or by the clock where there is no Scheduler."""
    expansion = Expansion(database, claim_bell.ring)
    yield Loop("expand ticks", expansion.one_pass, POLL_SECONDS, tick_bell)
    if config.scheduler is None:
        clock = Clock(database, config.timezone, tick_bell.ring)
        yield Loop("clock", clock.one_pass, POLL_SECONDS, Bell(reactor))


def _housekeeping(config: Config, reactor: Any, database: Database) -> Iterable[IService]:
    housekeeping = Housekeeping(database, config.ledger_months)
    yield Loop("housekeeping", housekeeping.one_pass, HOUSEKEEPING_SECONDS, Bell(reactor))


def _law(config: Config, reactor: Any, telemetry: Telemetry) -> Iterable[IService]:
    """Counting a tick of a million takes seconds, in which nobody waits for its connection."""
    database = Database(reactor, config.database, 1)
    law = Law(database, telemetry)
    yield database
    yield Loop("check the law", law.one_pass, LAW_SECONDS, Bell(reactor), may_be_cut=True)
