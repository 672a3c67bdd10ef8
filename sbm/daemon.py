"""The daemon: its parts, and the order in which they start and stop."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from twisted.application.service import IService

from sbm import maintenance, serving
from sbm.clients.metrics import MetricsApi
from sbm.clients.scheduler import Scheduler
from sbm.clients.service_client import ServiceClient
from sbm.model.durations import LeaseTime, RequestTimeout
from sbm.model.role import Role
from sbm.pipeline.database_clock import DatabaseClock
from sbm.pipeline.scheduler.missed_moments import MissedMoments
from sbm.pipeline.scheduler.outbox import AT_A_TIME, SchedulerOutbox
from sbm.pipeline.scheduling_mode import SchedulingMode
from sbm.pipeline.sends.completer import Listener
from sbm.pipeline.tasks.audio import AudioCopies
from sbm.pipeline.tasks.requests import TaskRequests
from sbm.pipeline.ticks import Clock, Expansion
from sbm.pipeline.upkeep.metrics_reporter import MetricsReporter
from sbm.runtime.listening import Port
from sbm.runtime.loop import Loop
from sbm.runtime.services import Parallel, Sequential
from sbm.runtime.token_uses import TokenUses
from sbm.runtime.wakeups import Wakeups
from sbm.runtime.work_gate import WorkGate
from sbm.sending import (
    EXPIRY_SECONDS,
    POLL_SECONDS,
    Sending,
    SharedParts,
    pause_watch,
    question_lease,
    sending_services,
)
from sbm.settings.config import Config
from sbm.store.postgres.database import Database
from sbm.store.postgres.host_watch import HostWatch
from sbm.store.postgres.notifications import Notifications
from sbm.telemetry import Telemetry
from sbm.web.http.request import RequestDrain

PIPELINE_CONNECTIONS = 4
PROMPT_CONNECTIONS = 3

# How long stopping may take after the grace for work under way: to settle it, and to disconnect.
SETTLING = timedelta(seconds=2)
# The longest delay that a service may ask for, or that the settings allow for leases and delays.
LONGEST_DELAY = timedelta(hours=1)

# The Metrics API answers at once, and no part of the daemon waits for it.
METRICS_TIMEOUT = RequestTimeout(timedelta(seconds=5))
# The lease of a task covers several requests to the vendor, one after the other.
VENDOR_TIMEOUT = RequestTimeout(timedelta(seconds=30))


def assemble(
    config: Config,
    reactor: Any,
    *,
    listen: Sequence[str],
    role: Role = "all",
    telemetry: Telemetry | None = None,
    listeners: Sequence[Listener] = (),
) -> Sequential:
    """Build the whole daemon, not started; ``listen`` are Twisted endpoint descriptions.

    With the role ``api``, it answers requests and does no work by itself; with ``pipeline``, it
    only works, and answers only the requests about itself. ``listeners`` are called with each
    result that is committed, after it was counted.

    To stop, the daemon first stops listening and claiming. Then it lets the sends and requests that
    are under way end, for as long as the grace lasts. Then it settles the results and disconnects.
    """
    mode = config.scheduling.mode
    telemetry = telemetry or Telemetry()
    watch = HostWatch(
        reactor=reactor, address=config.database, telemetry=telemetry, folder=config.state_dir
    )
    served = Database(
        reactor=reactor,
        address=config.database,
        size=config.database_connections,
        scheduling=mode,
        watch=watch,
    )
    # Health and the calls that begin to send do not wait for lists and registrations.
    prompt = Database(
        reactor=reactor,
        address=config.database,
        size=PROMPT_CONNECTIONS,
        scheduling=mode,
        watch=watch,
    )
    shared = SharedParts(
        config=config,
        reactor=reactor,
        # Even if many requests wait for locks, results are settled and leases are renewed.
        database=Database(
            reactor=reactor,
            address=config.database,
            size=PIPELINE_CONNECTIONS,
            scheduling=mode,
            watch=watch,
        ),
        watch=watch,
        telemetry=telemetry,
        wakeups=Wakeups.of(reactor),
        clock=_database_clock(config, telemetry),
        gate=WorkGate(is_judged=role == "api"),
        daemon=uuid.uuid4(),
    )
    telemetry.gate = shared.gate
    token_uses = TokenUses(reactor=reactor)
    sending = _no_sending(shared) if role == "api" else sending_services(shared, listeners)
    people = None if role == "pipeline" else serving.asking_for_people(shared)
    site, live = (
        (serving.probes_alone(shared), [])
        if people is None
        else serving.site(shared, served, prompt, role, token_uses, people)
    )
    ports = [Port(reactor=reactor, description=one, factory=site) for one in listen]
    under_way = Parallel(
        *sending.under_way,
        *(() if role == "api" else _background(shared)),
        maintenance.heartbeat(shared, role),
        maintenance.tick_watch(shared),
        Notifications(
            reactor=reactor,
            address=config.database,
            heard=shared.wakeups.by_channel(*(["pauses"] if role == "api" else [])),
            watch=watch,
        ),
        *live,
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
            watch,
            served,
            prompt,
            shared.database,
            *_metrics(shared),
            *([] if people is None else [people]),
            *([] if role == "pipeline" else [maintenance.tokens(shared, token_uses)]),
            *sending.ground,
            work,
        ),
    )


def _no_sending(shared: SharedParts) -> Sending:
    """A daemon that only answers requests shows the pauses, but nothing in it is paused."""
    return Sending(ground=[], leases=[], under_way=[pause_watch(shared)], claims=[])


def _background(shared: SharedParts) -> Iterable[IService]:
    """All work besides the sends that nobody waits for."""
    yield from _ticks(shared)
    yield from maintenance.housekeeping(shared)
    yield from maintenance.ledger_balance(shared)
    yield from maintenance.deliveries(shared)
    yield from _scheduler_calls(shared)
    yield _tasks(shared)
    yield _audio_copies(shared)


def _database_clock(config: Config, telemetry: Telemetry) -> DatabaseClock:
    """One clock for all parts, so that each respects a jump that another part has seen."""
    return DatabaseClock(
        hold=config.lease + config.settle,
        most=max(LONGEST_DELAY, config.settle, question_lease(config)),
        telemetry=telemetry,
    )


def _metrics(shared: SharedParts) -> Iterable[IService]:
    """It stops after the sends and requests, so that the last of them is still counted."""
    config = shared.config
    if config.metrics is None:
        return
    shared.telemetry.pending_metrics.is_kept = True
    client = ServiceClient(
        reactor=shared.reactor,
        address=config.metrics,
        timeout=min(config.request_timeout, METRICS_TIMEOUT),
        connections=1,
        refused=shared.refused("Metrics API"),
        took=shared.took("Metrics API"),
    )
    yield client
    yield MetricsReporter(
        reactor=shared.reactor,
        metrics=MetricsApi(client=client),
        telemetry=shared.telemetry,
        breaker=shared.breaker("Metrics API", is_told_once=True),
        every=config.metrics_every,
    )


def _ticks(shared: SharedParts) -> Iterable[IService]:
    """Opens and expands the ticks: by POST-back, or by the clock if there is no Scheduler."""
    config, wakeups = shared.config, shared.wakeups
    mode = SchedulingMode(
        database=shared.database,
        mode=config.scheduling.mode,
        zones=config.time_zones,
    )
    yield Loop(
        reactor=shared.reactor,
        name="announce",
        one_pass=mode.one_pass,
        rest=maintenance.HOUSEKEEPING_SECONDS,
    )
    expansion = Expansion(database=shared.gated_for_ticks, owed=wakeups.sends.wake)
    yield Loop(
        reactor=shared.reactor,
        name="expand ticks",
        one_pass=expansion.one_pass,
        rest=POLL_SECONDS,
        wakeup=wakeups.ticks,
        gate=shared.gate.ticks,
    )
    if config.scheduling.mode == "builtin":
        clock = Clock(
            database=shared.gated_for_ticks,
            mode=mode,
            time_zones=config.time_zones,
            grace=config.tick_grace,
            ticked=wakeups.ticks.wake,
            clock=shared.clock,
        )
        yield Loop(
            reactor=shared.reactor,
            name="clock",
            one_pass=clock.one_pass,
            rest=POLL_SECONDS,
            gate=shared.gate.ticks,
        )


def _scheduler_calls(shared: SharedParts) -> Iterable[IService]:
    """Keeps the schedules at the Scheduler up to date, if there is a Scheduler."""
    config, scheduling = shared.config, shared.config.scheduling
    if scheduling.scheduler is None or scheduling.problem:
        return
    client = ServiceClient(
        reactor=shared.reactor,
        address=scheduling.scheduler,
        timeout=config.request_timeout,
        connections=AT_A_TIME,
        refused=shared.refused("Scheduler"),
        took=shared.took("Scheduler"),
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
        # Long enough to look for a schedule and to make it, at their slowest.
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
        gate=shared.gate,
    )
    yield Loop(
        reactor=shared.reactor,
        name="expire calls to the Scheduler",
        one_pass=outbox.expire,
        rest=EXPIRY_SECONDS,
    )


def _tasks(shared: SharedParts) -> IService:
    """Work that clients ask for and do not wait for."""
    tasks: IService = TaskRequests(
        reactor=shared.reactor,
        database=shared.database,
        time_zones=shared.config.time_zones,
        owner=uuid.uuid4(),
        owed=shared.wakeups.sends.wake,
        wakeup=shared.wakeups.tasks,
        gate=shared.gate,
        pending_metrics=shared.telemetry.pending_metrics,
        clock=shared.clock,
    )
    return tasks


def _audio_copies(shared: SharedParts) -> IService:
    """Copies files to the voice vendor; without a vendor, such tasks fail with that reason."""
    config, vendor = shared.config, None
    if config.voice_vendor is not None:
        # Most daemons have none, and need no SSH.
        from sbm.clients.voice_vendor.sftp import VoiceVendor

        vendor = VoiceVendor(
            reactor=shared.reactor,
            address=config.voice_vendor,
            timeout=min(config.request_timeout, VENDOR_TIMEOUT),
            refused=shared.refused("voice vendor"),
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
        gate=shared.gate,
        clock=shared.clock,
    )
    return copies
