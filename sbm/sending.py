"""The part of the daemon that sends: from owed to settled, constructed for ``sbm.daemon``."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from attrs import frozen
from twisted.application.service import IService

from sbm.clients.identity_store import IdentityStore
from sbm.clients.message_sender import MessageSender
from sbm.clients.service_client import ServiceClient
from sbm.model.metrics import of_failure
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
from sbm.runtime.loop import Loop, Wakeup
from sbm.settings.config import Config
from sbm.store.postgres.database import Database
from sbm.telemetry import Tally, Telemetry

POLL_SECONDS = 1.0
EXPIRY_SECONDS = 5.0

# One in so many of SBM_CONCURRENCY is what single sends have to themselves.
RESERVED_OF = 10


@frozen(kw_only=True)
class Sending:
    """From owed to settled, from the ground up: what stops first comes last."""

    ground: Sequence[IService]
    leases: Sequence[IService]
    under_way: Sequence[IService]
    claims: Sequence[IService]
    look_for_single: Callable[[], None]


def sending_services(
    config: Config,
    reactor: Any,
    database: Database,
    telemetry: Telemetry,
    claim_bell: Wakeup,
    clock: DatabaseClock,
) -> Sending:
    """The services that claim, deliver, settle and ask, not started."""
    # Places in hand that no tick can fill, so that a single send is claimed at once.
    reserved = config.concurrency // RESERVED_OF
    exchanges = {
        name: ServiceClient(
            *(reactor, address, config.request_timeout, config.concurrency),
            _count_failures(telemetry.tally, method),
        )
        for name, method, address in (
            ("Identity Store", "GET", config.identity_store),
            ("Message Sender", "POST", config.message_sender),
        )
    }
    identity_store, message_sender = (
        Breaker(name, reactor.seconds, random.random, config.backoff_max) for name in exchanges
    )
    telemetry.services |= {"identity_store": identity_store, "message_sender": message_sender}
    retries = Retries(max_faults=config.max_faults, cap=config.backoff_max, draw=random.random)
    hand = InFlight(
        owner=uuid.uuid4(),
        # Twice what is under way, so that nobody waits for the next claim, and no more than that,
        # so that a crash leaves little to ask about.
        capacity=2 * config.concurrency - reserved,
        spare=reserved,
        lease=config.lease,
        emptied=Wakeup(reactor),
    )
    settling = Completer(reactor, database, hand, telemetry, claim_bell.ring, config.stop_grace)
    sender = MessageSender(exchanges["Message Sender"])
    look_up = AddressLookup(
        IdentityStore(exchanges["Identity Store"]),
        identity_store,
        retries,
        reactor.seconds,
    )
    blames = Blames(
        identity_store=look_up.blame,
        message_sender=Blame(
            breaker=message_sender,
            seconds=reactor.seconds,
            is_well=sender.is_well,
        ),
    )
    delivery = Delivery(
        reactor,
        hand,
        settling,
        look_up,
        sender,
        blames,
        retries,
        config.media_url,
        config.dry_run_messagesets,
        config.request_timeout,
        PrioritySlots(config.concurrency),
        config.stop_grace,
        config.max_text_length,
    )
    claiming = Claimer(
        database,
        hand,
        delivery,
        blames,
        clock=clock,
        content_settle=config.content_settle,
        telemetry=telemetry,
    )
    reconciling = Reconciler(
        reactor,
        database,
        sender,
        message_sender,
        telemetry,
        config.settle,
        question_lease(config),
        config.uncertain,
        retries,
        claim_bell.ring,
        clock=clock,
    )
    renewing = Loop("renew leases", claiming.renew, _renewal_seconds(config), Wakeup(reactor))
    expiring = Loop("expire leases", claiming.expire, EXPIRY_SECONDS, Wakeup(reactor))
    return Sending(
        ground=[*exchanges.values(), settling],
        leases=[renewing],
        under_way=[delivery, expiring],
        claims=[
            Loop("claim", claiming.claim, POLL_SECONDS, claim_bell),
            Loop("reconcile", reconciling.one_pass, POLL_SECONDS, Wakeup(reactor), may_be_cut=True),
        ],
        look_for_single=claiming.look_for_single,
    )


def _renewal_seconds(config: Config) -> float:
    """Often enough for a lease to cover a POST that waits for its turn; see ``outlasts``."""
    spare = config.lease - config.request_timeout - timedelta(seconds=1)
    return min(config.lease / 3, spare / 2).total_seconds()


def _count_failures(tally: Tally, method: str) -> Callable[[str, str], None]:
    """Count those of the one method by which a service is called in the course of a send."""

    def failed(tried: str, failure: str) -> None:
        if tried == method:
            tally.tell(of_failure(failure))

    return failed


def question_lease(config: Config) -> timedelta:
    """A few pages at their slowest; a question that takes longer is asked by others, too."""
    return max(config.lease, 5 * config.request_timeout)
