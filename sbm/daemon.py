"""The daemon: what it is made of, and the order in which things start and stop."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Sequence
from datetime import timedelta
from importlib.metadata import version
from typing import Any

from twisted.application.service import IService

from sbm.clients.metrics import MetricsApi
from sbm.clients.scheduler import Scheduler
from sbm.clients.service_client import ServiceClient
from sbm.clients.voice_vendor.sftp import VoiceVendor
from sbm.model import scheduler_callback
from sbm.model.durations import LeaseTime, RequestTimeout
from sbm.pipeline.database_clock import DatabaseClock
from sbm.pipeline.scheduler.missed_moments import MissedMoments
from sbm.pipeline.scheduler.outbox import AT_A_TIME, SchedulerOutbox
from sbm.pipeline.scheduling_mode import SchedulingMode
from sbm.pipeline.sends.completer import Listener
from sbm.pipeline.tasks.audio import AudioCopies
from sbm.pipeline.tasks.requests import TaskRequests
from sbm.pipeline.ticks import Clock, Expansion
from sbm.pipeline.upkeep.housekeeping import CallbackHousekeeping, Housekeeping
from sbm.pipeline.upkeep.ledger_balance import LedgerBalance
from sbm.pipeline.upkeep.metrics_reporter import MetricsReporter
from sbm.runtime.loop import Loop
from sbm.runtime.services import Parallel, Port, Sequential
from sbm.runtime.wakeups import Wakeups
from sbm.sending import EXPIRY_SECONDS, POLL_SECONDS, Shared, question_lease, sending_services
from sbm.settings.config import Config
from sbm.store.postgres.database import Database
from sbm.store.postgres.notifications import Notifications
from sbm.telemetry import Telemetry
from sbm.web import api
from sbm.web.http.request import BoundedSite, RequestDrain

PIPELINE_CONNECTIONS = 4

# What stopping may take beyond the grace for work under way: to settle it, and to hang up.
SETTLING = timedelta(seconds=2)
# What a service may ask for at most, and what the settings allow for leases and delays.
LONGEST_DELAY = timedelta(hours=1)
HOUSEKEEPING_SECONDS = 3600.0
CALLBACKS_SECONDS = 60.0
BALANCE_SECONDS = 15.0

# It answers from its memory, and nothing waits for it.
METRICS_TIMEOUT = RequestTimeout(timedelta(seconds=5))
# The lease of a task covers several steps at the vendor's, one after the other.
VENDOR_TIMEOUT = RequestTimeout(timedelta(seconds=30))


def assemble(
    config: Config,
    reactor: Any,
    *,
    listen: Sequence[str],
    telemetry: Telemetry | None = None,
    listeners: Sequence[Listener] = (),
) -> Sequential:
    """Build the whole daemon, not started; ``listen`` are Twisted endpoint descriptions.

    ``listeners`` are told of each result that is committed, once it was counted.

    To stop, it stops listening and claiming; then it lets what is under way come to its end, sends
    and requests alike, for as long as the grace lasts; then it settles, and hangs up.
    """
    mode = config.scheduling.mode
    served = Database(reactor, config.database, config.database_connections, mode)
    telemetry = telemetry or Telemetry()
    shared = Shared(
        config=config,
        reactor=reactor,
        # However many requests wait for each other's locks, results are settled and leases renewed.
        database=Database(reactor, config.database, PIPELINE_CONNECTIONS, mode),
        telemetry=telemetry,
        wakeups=Wakeups.of(reactor),
        clock=_database_clock(config, telemetry),
    )
    sending = sending_services(shared, listeners)
    site = _site(shared, served)
    ports = [Port(reactor=reactor, description=one, factory=site) for one in listen]
    under_way = Parallel(
        *sending.under_way,
        *_ticks(shared),
        *_housekeeping(shared),
        *_ledger_balance(shared),
        *_scheduler_calls(shared),
        _tasks(shared),
        _audio_copies(shared),
        Notifications(reactor=reactor, address=config.database, heard=shared.wakeups.by_channel()),
        RequestDrain(site),
    )
    work = Sequential(
        reactor=reactor,
        patience=config.stop_grace,
        services=(*sending.leases, under_way, Parallel(*sending.claims, *ports)),
    )
    return Sequential(
        reactor=reactor,
        patience=config.stop_grace + SETTLING,
        rush=SETTLING,
        services=(
            served,
            shared.database,
            *_metrics(shared),
            *sending.ground,
            work,
        ),
    )


def _database_clock(config: Config, telemetry: Telemetry) -> DatabaseClock:
    """One for all that conclude, so that each knows what the others have seen."""
    return DatabaseClock(
        hold=config.lease + config.settle,
        most=max(LONGEST_DELAY, config.settle, question_lease(config)),
        telemetry=telemetry,
    )


def _site(shared: Shared, database: Database) -> BoundedSite:
    """The API, on connections of its own."""
    config = shared.config
    return api.build(
        database=database,
        scheduling=config.scheduling,
        version=version("sbm"),
        wakeups=shared.wakeups,
        media_root=config.media_root,
        max_upload_bytes=config.max_upload_bytes,
        duplicate_window=config.duplicate_window,
        trusted_proxies=config.trusted_proxies,
        telemetry=shared.telemetry,
        timezone=config.timezone,
        max_text_length=config.max_text_length,
    )


def _metrics(shared: Shared) -> Iterable[IService]:
    """Below the sends and requests, so that the last of them is counted before it stops."""
    config = shared.config
    if config.metrics is None:
        return
    shared.telemetry.tally.is_kept = True
    client = ServiceClient(
        reactor=shared.reactor,
        address=config.metrics,
        timeout=min(config.request_timeout, METRICS_TIMEOUT),
        connections=1,
    )
    yield client
    yield MetricsReporter(
        reactor=shared.reactor,
        metrics=MetricsApi(client=client),
        telemetry=shared.telemetry,
        breaker=shared.breaker("Metrics API", is_told_once=True),
        every=config.metrics_every,
    )


def _ticks(shared: Shared) -> Iterable[IService]:
    """Who is owed a send: by POST-back, or by the clock where there is no Scheduler."""
    config, wakeups = shared.config, shared.wakeups
    mode = SchedulingMode(database=shared.database, mode=config.scheduling.mode)
    yield Loop(
        reactor=shared.reactor,
        name="announce",
        one_pass=mode.one_pass,
        rest=HOUSEKEEPING_SECONDS,
    )
    expansion = Expansion(database=shared.database, owed=wakeups.sends.wake)
    yield Loop(
        reactor=shared.reactor,
        name="expand ticks",
        one_pass=expansion.one_pass,
        rest=POLL_SECONDS,
        wakeup=wakeups.ticks,
    )
    if config.scheduling.mode == "builtin":
        clock = Clock(
            database=shared.database,
            mode=mode,
            time_zone=config.timezone,
            grace=config.tick_grace,
            ticked=wakeups.ticks.wake,
            clock=shared.clock,
        )
        yield Loop(reactor=shared.reactor, name="clock", one_pass=clock.one_pass, rest=POLL_SECONDS)


def _scheduler_calls(shared: Shared) -> Iterable[IService]:
    """Telling the Scheduler whom to call back for, where there is one."""
    config, scheduling = shared.config, shared.config.scheduling
    if scheduling.scheduler is None or scheduling.complaint:
        return
    client = ServiceClient(
        reactor=shared.reactor,
        address=scheduling.scheduler,
        timeout=config.request_timeout,
        connections=AT_A_TIME,
    )
    outbox = SchedulerOutbox(
        database=shared.database,
        scheduler=Scheduler(client=client),
        breaker=shared.breaker("Scheduler"),
        telemetry=shared.telemetry,
        missed=MissedMoments(time_zone=scheduling.timezone, grace=config.tick_grace),
        public_url=scheduling.public_url,
        auth_token=scheduling.inbound_token or "",
        request_timeout=config.request_timeout,
        # To look for one that may have been made, and to make it, at their slowest.
        lease=LeaseTime(max(config.lease, 5 * config.request_timeout)),
        settle=config.settle,
        max_faults=config.max_faults,
        cap=config.backoff_max,
        draw=random.random,
        clock=shared.clock,
    )
    yield client
    yield Loop(
        reactor=shared.reactor,
        name="call the Scheduler",
        one_pass=outbox.one_pass,
        rest=POLL_SECONDS,
        wakeup=shared.wakeups.scheduler_calls,
    )
    yield Loop(
        reactor=shared.reactor,
        name="expire calls to the Scheduler",
        one_pass=outbox.expire,
        rest=EXPIRY_SECONDS,
    )


def _tasks(shared: Shared) -> IService:
    """Work that clients ask for and do not wait for."""
    tasks: IService = TaskRequests(
        reactor=shared.reactor,
        database=shared.database,
        time_zone=shared.config.timezone,
        owner=uuid.uuid4(),
        owed=shared.wakeups.sends.wake,
        wakeup=shared.wakeups.tasks,
        tally=shared.telemetry.tally,
        clock=shared.clock,
    )
    return tasks


def _audio_copies(shared: Shared) -> IService:
    """Files for the voice vendor; without one, whoever asks for them is told so."""
    config, vendor = shared.config, None
    if config.voice_vendor is not None:
        vendor = VoiceVendor(
            reactor=shared.reactor,
            address=config.voice_vendor,
            timeout=min(config.request_timeout, VENDOR_TIMEOUT),
        )
    copies: IService = AudioCopies(
        reactor=shared.reactor,
        database=shared.database,
        vendor=vendor,
        media_root=config.media_root,
        owner=uuid.uuid4(),
        draw=random.random,
        backoff_max=config.backoff_max,
        wakeup=shared.wakeups.audio_copies,
        clock=shared.clock,
    )
    return copies


def _housekeeping(shared: Shared) -> Iterable[IService]:
    """What is made ahead of time, and what is deleted when it is old."""
    housekeeping = Housekeeping(
        database=shared.database, months_kept=shared.config.ledger_months, clock=shared.clock
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


def _ledger_balance(shared: Shared) -> Iterable[IService]:
    """Counting a tick of a million takes seconds, in which nobody waits for its connection."""
    database = Database(shared.reactor, shared.config.database, 1)
    balance = LedgerBalance(database=database, telemetry=shared.telemetry, clock=shared.clock)
    yield database
    yield Loop(
        reactor=shared.reactor,
        name="check the ledger balance",
        one_pass=balance.one_pass,
        rest=BALANCE_SECONDS,
        may_be_cut=True,
    )
