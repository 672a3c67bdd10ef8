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
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.database_clock import DatabaseClock
from sbm.pipeline.scheduler.missed_moments import MissedMoments
from sbm.pipeline.scheduler.outbox import AT_A_TIME, SchedulerOutbox, SchedulingMode
from sbm.pipeline.sends.completer import Listener
from sbm.pipeline.tasks.audio import AudioCopies
from sbm.pipeline.tasks.requests import Tasks
from sbm.pipeline.ticks import Clock, Expansion
from sbm.pipeline.upkeep.housekeeping import CallbackHousekeeping, Housekeeping
from sbm.pipeline.upkeep.ledger_balance import LedgerBalance
from sbm.pipeline.upkeep.metrics_reporter import MetricsReporter
from sbm.runtime.loop import Loop
from sbm.runtime.services import Parallel, Port, Sequential
from sbm.runtime.wakeups import Wakeups
from sbm.sending import EXPIRY_SECONDS, POLL_SECONDS, question_lease, sending_services
from sbm.settings.config import Config
from sbm.store.postgres.database import Database
from sbm.store.postgres.notifications import Notifications
from sbm.telemetry import Telemetry
from sbm.web import api
from sbm.web.http.request import RequestDrain

PIPELINE_CONNECTIONS = 4

# What stopping may take beyond the grace for work under way: to settle it, and to hang up.
SETTLING = timedelta(seconds=2)
# What a service may ask for at most, and what the settings allow for leases and delays.
LONGEST_DELAY = timedelta(hours=1)
HOUSEKEEPING_SECONDS = 3600.0
CALLBACKS_SECONDS = 60.0
LAW_SECONDS = 15.0

# It answers from its memory, and nothing waits for it.
METRICS_TIMEOUT = RequestTimeout(timedelta(seconds=5))
# The lease of a task covers several steps at the vendor's, one after the other.
VENDOR_TIMEOUT = timedelta(seconds=30)


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
    # However many requests wait for each other's locks, results are settled and leases renewed.
    database = Database(reactor, config.database, PIPELINE_CONNECTIONS, mode)
    wakeups = Wakeups.of(reactor)
    telemetry = telemetry or Telemetry()
    clock = _database_clock(config, telemetry)

    sending = sending_services(
        config, reactor, database, telemetry, wakeups.sends, clock, listeners
    )
    site = api.build(
        database=served,
        scheduling=config.scheduling,
        version=version("sbm"),
        wakeups=wakeups,
        media_root=config.media_root,
        max_upload_bytes=config.max_upload_bytes,
        duplicate_window=config.duplicate_window,
        trusted_proxies=config.trusted_proxies,
        telemetry=telemetry,
        timezone=config.timezone,
        max_text_length=config.max_text_length,
    )
    beginning = Parallel(
        *sending.claims,
        *(Port(reactor=reactor, description=description, factory=site) for description in listen),
    )
    under_way = Parallel(
        *sending.under_way,
        *_ticking(config, reactor, database, wakeups, clock),
        *_housekeeping(config, reactor, database, clock),
        *_law(config, reactor, telemetry, clock),
        *_scheduling(config, reactor, database, telemetry, wakeups, clock),
        Tasks(
            reactor=reactor,
            database=database,
            time_zone=config.timezone,
            owner=uuid.uuid4(),
            owed=wakeups.sends.wake,
            wakeup=wakeups.tasks,
            tally=telemetry.tally,
            clock=clock,
        ),
        _audio(config, reactor, database, wakeups, clock),
        Notifications(reactor=reactor, address=config.database, heard=wakeups.by_channel()),
        RequestDrain(site),
    )
    work = Sequential(
        reactor=reactor,
        patience=config.stop_grace,
        services=(*sending.leases, under_way, beginning),
    )
    return Sequential(
        reactor=reactor,
        patience=config.stop_grace + SETTLING,
        rush=SETTLING,
        services=(
            served,
            database,
            *_metrics(config, reactor, telemetry),
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


def _metrics(config: Config, reactor: Any, telemetry: Telemetry) -> Iterable[IService]:
    """Below the sends and requests, so that the last of them is counted before it stops."""
    if config.metrics is None:
        return
    telemetry.tally.is_kept = True
    timeout = min(config.request_timeout, METRICS_TIMEOUT)
    client = ServiceClient(reactor=reactor, address=config.metrics, timeout=timeout, connections=1)
    breaker = Breaker(
        service="Metrics API",
        seconds=reactor.seconds,
        draw=random.random,
        cap=config.backoff_max,
        is_told_once=True,
    )
    telemetry.services["metrics_api"] = breaker
    yield client
    yield MetricsReporter(
        reactor=reactor,
        metrics=MetricsApi(client=client),
        telemetry=telemetry,
        breaker=breaker,
        every=config.metrics_every,
    )


def _ticking(
    config: Config,
    reactor: Any,
    database: Database,
    wakeups: Wakeups,
    database_clock: DatabaseClock,
) -> Iterable[IService]:
    """Who is owed a send: by POST-back, or by the clock where there is no Scheduler."""
    expansion = Expansion(database=database, owed=wakeups.sends.wake)
    yield Loop(
        reactor=reactor,
        name="expand ticks",
        one_pass=expansion.one_pass,
        rest=POLL_SECONDS,
        wakeup=wakeups.ticks,
    )
    if config.scheduling.mode == "builtin":
        clock = Clock(
            database=database,
            time_zone=config.timezone,
            grace=config.tick_grace,
            ticked=wakeups.ticks.wake,
            clock=database_clock,
        )
        announcement = SchedulingMode(database=database, mode=config.scheduling.mode)

        async def tick() -> int:
            # What it was wound to before it was others' turn has to be forgotten first.
            await announcement.one_pass()
            return await clock.one_pass()

        yield Loop(reactor=reactor, name="clock", one_pass=tick, rest=POLL_SECONDS)


def _scheduling(
    config: Config,
    reactor: Any,
    database: Database,
    telemetry: Telemetry,
    wakeups: Wakeups,
    clock: DatabaseClock,
) -> Iterable[IService]:
    """Telling the Scheduler whom to call back for, where there is one."""
    scheduling = config.scheduling
    announcement = SchedulingMode(database=database, mode=scheduling.mode)
    yield Loop(
        reactor=reactor,
        name="announce",
        one_pass=announcement.one_pass,
        rest=HOUSEKEEPING_SECONDS,
    )
    if scheduling.scheduler is None or scheduling.complaint:
        return
    client = ServiceClient(
        reactor=reactor,
        address=scheduling.scheduler,
        timeout=config.request_timeout,
        connections=AT_A_TIME,
    )
    breaker = Breaker(
        service="Scheduler", seconds=reactor.seconds, draw=random.random, cap=config.backoff_max
    )
    telemetry.services["scheduler"] = breaker
    chores = SchedulerOutbox(
        database=database,
        scheduler=Scheduler(client=client),
        breaker=breaker,
        telemetry=telemetry,
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
        clock=clock,
    )
    yield client
    yield Loop(
        reactor=reactor,
        name="do chores",
        one_pass=chores.one_pass,
        rest=POLL_SECONDS,
        wakeup=wakeups.scheduler_calls,
    )
    yield Loop(
        reactor=reactor,
        name="expire chores",
        one_pass=chores.expire,
        rest=EXPIRY_SECONDS,
    )


def _housekeeping(
    config: Config, reactor: Any, database: Database, clock: DatabaseClock
) -> Iterable[IService]:
    housekeeping = Housekeeping(database=database, months_kept=config.ledger_months, clock=clock)
    yield Loop(
        reactor=reactor,
        name="housekeeping",
        one_pass=housekeeping.one_pass,
        rest=HOUSEKEEPING_SECONDS,
    )
    callbacks = CallbackHousekeeping(
        database=database,
        kept=scheduler_callback.kept(config.scheduling.join_window),
        clock=clock,
    )
    yield Loop(
        reactor=reactor,
        name="delete old calls",
        one_pass=callbacks.one_pass,
        rest=CALLBACKS_SECONDS,
    )


def _audio(
    config: Config, reactor: Any, database: Database, wakeups: Wakeups, clock: DatabaseClock
) -> IService:
    """Files for the voice vendor; without one, whoever asks for them is told so."""
    vendor = None
    if config.voice_vendor is not None:
        timeout = min(config.request_timeout, VENDOR_TIMEOUT)
        vendor = VoiceVendor(reactor=reactor, address=config.voice_vendor, timeout=timeout)
    copies: IService = AudioCopies(
        reactor=reactor,
        database=database,
        vendor=vendor,
        media_root=config.media_root,
        owner=uuid.uuid4(),
        draw=random.random,
        backoff_max=config.backoff_max,
        wakeup=wakeups.audio_copies,
        clock=clock,
    )
    return copies


def _law(
    config: Config, reactor: Any, telemetry: Telemetry, clock: DatabaseClock
) -> Iterable[IService]:
    """Counting a tick of a million takes seconds, in which nobody waits for its connection."""
    database = Database(reactor, config.database, 1)
    law = LedgerBalance(database=database, telemetry=telemetry, clock=clock)
    yield database
    yield Loop(
        reactor=reactor,
        name="check the law",
        one_pass=law.one_pass,
        rest=LAW_SECONDS,
        may_be_cut=True,
    )
