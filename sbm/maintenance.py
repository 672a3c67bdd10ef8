"""The services that keep the database in order, and that notice what is not."""

from __future__ import annotations

import random
from collections.abc import Iterable
from importlib.metadata import version

from twisted.application.service import IService

from sbm.clients.message_sender import MessageSender
from sbm.clients.service_client import ServiceClient
from sbm.model import scheduler_callback
from sbm.model.role import Role
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.upkeep.delivery_reader import PAGE_SECONDS, SPARE, DeliveryReader
from sbm.pipeline.upkeep.heartbeat import Heartbeat
from sbm.pipeline.upkeep.housekeeping import CallbackHousekeeping, Housekeeping
from sbm.pipeline.upkeep.ledger_balance import LedgerBalance
from sbm.pipeline.upkeep.tick_watch import TickWatch
from sbm.pipeline.upkeep.token_upkeep import TokenUpkeep
from sbm.runtime.loop import Loop
from sbm.runtime.token_uses import TokenUses
from sbm.sending import SharedParts
from sbm.store.postgres.database import Database

HOUSEKEEPING_SECONDS = 3600.0
CALLBACKS_SECONDS = 60.0
BALANCE_SECONDS = 15.0
TICK_WATCH_SECONDS = 30.0


def heartbeat(shared: SharedParts, role: Role) -> IService:
    """Writes the row of this daemon."""
    return Heartbeat(
        reactor=shared.reactor,
        database=shared.database,
        telemetry=shared.telemetry,
        daemon=shared.daemon,
        role=role,
        version=version("sbm"),
        commit=shared.config.commit,
    )


def tokens(shared: SharedParts, uses: TokenUses) -> IService:
    """It stops after the requests, so that the last of them is still stored."""
    return TokenUpkeep(
        reactor=shared.reactor,
        database=shared.database,
        uses=uses,
        scheduler_tokens=shared.config.scheduling.inbound_tokens,
    )


def tick_watch(shared: SharedParts) -> IService:
    """In each role, because the health tells of it."""
    config = shared.config
    watch = TickWatch(
        reactor=shared.reactor,
        database=shared.database,
        telemetry=shared.telemetry,
        by=config.expectations,
    )
    return Loop(
        reactor=shared.reactor,
        name="look for missing ticks",
        one_pass=watch.one_pass,
        rest=TICK_WATCH_SECONDS,
        may_be_cut=True,
    )


def housekeeping(shared: SharedParts) -> Iterable[IService]:
    """Makes partitions ahead of time, and deletes old data."""
    housekeeping = Housekeeping(
        database=shared.database,
        ledger_months=shared.config.ledger_months,
        audit_months=shared.config.audit_months,
        intake_months=shared.config.intake_months,
        clock=shared.clock,
    )
    yield Loop(
        reactor=shared.reactor,
        name="housekeeping",
        one_pass=housekeeping.one_pass,
        rest=HOUSEKEEPING_SECONDS,
    )
    callbacks = CallbackHousekeeping(
        database=shared.database,
        kept=scheduler_callback.kept(shared.config.scheduling.join_window),
        clock=shared.clock,
    )
    yield Loop(
        reactor=shared.reactor,
        name="delete old calls",
        one_pass=callbacks.one_pass,
        rest=CALLBACKS_SECONDS,
    )


def ledger_balance(shared: SharedParts) -> Iterable[IService]:
    """Has a connection of its own, because counting a tick of a million takes seconds."""
    database = Database(
        reactor=shared.reactor, address=shared.config.database, size=1, watch=shared.watch
    )
    balance = LedgerBalance(database=database, telemetry=shared.telemetry, clock=shared.clock)
    yield database
    yield Loop(
        reactor=shared.reactor,
        name="check the ledger balance",
        one_pass=balance.one_pass,
        rest=BALANCE_SECONDS,
        may_be_cut=True,
    )


def deliveries(shared: SharedParts) -> Iterable[IService]:
    """Reads whether messages were delivered; its failures do not hold up what is being sent."""
    config = shared.config
    if not config.delivery_delays:
        return
    client = ServiceClient(
        reactor=shared.reactor,
        address=config.message_sender,
        timeout=config.request_timeout,
        connections=1,
        refused=shared.refused("Message Sender"),
        took=shared.took("Message Sender"),
    )
    reader = DeliveryReader(
        database=shared.gated,
        message_sender=MessageSender(client=client),
        breaker=Breaker(
            service="the list of the Message Sender",
            seconds=shared.reactor.seconds,
            draw=random.random,
            cap=config.backoff_max,
            is_told_once=True,
        ),
        delays=config.delivery_delays,
        telemetry=shared.telemetry,
        lease=config.request_timeout + SPARE,
    )
    yield client
    yield Loop(
        reactor=shared.reactor,
        name="read deliveries",
        one_pass=reader.one_pass,
        rest=PAGE_SECONDS,
        may_be_cut=True,
        gate=shared.gate,
    )
