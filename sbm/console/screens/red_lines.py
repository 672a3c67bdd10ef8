"""What is wrong now, each with what to do: for the person who is on call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import frozen

from sbm.console.visit import Visit
from sbm.model.hold import HeldTick
from sbm.model.living_daemon import LivingDaemon
from sbm.model.pause import Pause
from sbm.store import daemons, database_state, gauges, ledger_balance, pauses, watched_ticks
from sbm.store.database_state import DatabaseState
from sbm.store.gauges import LiveSends, OwedSchedulerCalls
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry

# As the alarms in docs/monitoring.rst have them, in seconds.
LONG_UNKNOWN = 3600.0
LONG_OWED = 3600.0
LONG_TRANSACTION = 300.0

# A claim steps over so many dead rows of `sends` in a tenth of a second.
MANY_DEAD = 200_000

# So many lines are shown of the same kind.
_MOST = 10

SERVICES: Mapping[str, str] = {
    "identity_store": "Identity Store",
    "message_sender": "Message Sender",
    "scheduler": "Scheduler",
    "metrics_api": "Metrics API",
}


@frozen(kw_only=True)
class RedLine:
    """A sentence about something that is wrong, and the topic of the help that says what to do."""

    sentence: str
    topic: str


@frozen(kw_only=True)
class Situation:
    """What all daemons and the database say of themselves, at ``now`` of the database's clock."""

    now: datetime
    daemons: Sequence[LivingDaemon]
    queue: Sequence[LiveSends]
    calls: OwedSchedulerCalls
    doubles: int
    unbalanced: int
    daemon_pauses: Sequence[Pause]
    held: Sequence[HeldTick]
    database: DatabaseState


async def read_situation(transaction: Transaction) -> Situation:
    """Read it: short statements, and one pass over the live sends."""
    queue = await gauges.measure_sends(transaction)
    unbalanced, now = await ledger_balance.count_unbalanced(transaction)
    return Situation(
        now=now,
        daemons=await daemons.list_all(transaction),
        queue=sorted(queue, key=lambda one: (one.lane, one.state, one.hold or "")),
        calls=await gauges.measure_scheduler_calls(transaction),
        doubles=await gauges.count_doubles(transaction),
        unbalanced=unbalanced,
        daemon_pauses=await pauses.list_all(transaction),
        held=await watched_ticks.list_held(transaction),
        database=await database_state.read(transaction),
    )


def red_lines(visit: Visit, found: Situation, telemetry: Telemetry) -> list[RedLine]:
    """What is wrong, the worst first; ``telemetry`` is that of this process."""
    return [
        *_of_daemons(visit, found),
        *_of_services(visit, found),
        *_of_sends(visit, found),
        *_of_ticks(visit, found, telemetry),
        *_of_scheduler(visit, found),
        *_of_process(visit, telemetry),
        *_of_database(visit, found.database),
    ]


def _of_daemons(visit: Visit, found: Situation) -> Iterator[RedLine]:
    if not any(one.is_sending for one in found.daemons):
        yield RedLine(
            sentence=visit._("No daemon sends: none lives, or all are paused."), topic="daemons"
        )
    for one in found.daemons[:_MOST]:
        if one.is_silent:
            told = visit._("The daemon %(pid)s on %(host)s has been silent for more than a minute.")
            yield RedLine(sentence=told % {"pid": one.pid, "host": one.host}, topic="daemons")
    for pause in found.daemon_pauses[:_MOST]:
        told = visit._("Daemons do no work by themselves: %(reason)s")
        yield RedLine(sentence=told % {"reason": pause.reason}, topic="paused")


def away(found: Situation) -> dict[str, list[Mapping[str, Any]]]:
    """What the living daemons say of each service that is away for them."""
    told: dict[str, list[Mapping[str, Any]]] = {}
    for one in found.daemons:
        for name, service in one.services.items():
            if service["is_away"] and not one.is_silent:
                told.setdefault(name, []).append(service)
    return told


def _of_services(visit: Visit, found: Situation) -> Iterator[RedLine]:
    for name, told in away(found).items():
        sentence = visit.counted(
            "%(service)s is away for %(num)s daemon: %(reason)s",
            "%(service)s is away for %(num)s daemons: %(reason)s",
            len(told),
            service=SERVICES.get(name, name),
            reason=told[0]["reason"],
        )
        yield RedLine(sentence=sentence, topic="away")


def _of_sends(visit: Visit, found: Situation) -> Iterator[RedLine]:
    unknown = [one for one in found.queue if one.state == "unknown"]
    oldest = max((one.unknown_seconds or 0.0 for one in unknown), default=0.0)
    if oldest > LONG_UNKNOWN:
        told = visit.counted(
            "The outcome of %(num)s send is unknown, the oldest for more than an hour.",
            "The outcomes of %(num)s sends are unknown, the oldest for more than an hour.",
            sum(one.count for one in unknown),
        )
        yield RedLine(sentence=told, topic="unknown")
    owed = [
        one
        for one in found.queue
        if one.state == "owed" and one.hold is None and one.owed_seconds > LONG_OWED
    ]
    if owed:
        told = visit._("Messages have been owed for more than an hour, and nothing holds them.")
        yield RedLine(sentence=told, topic="queue")
    if found.doubles:
        told = visit.counted(
            "%(num)s message was sent twice.", "%(num)s messages were sent twice.", found.doubles
        )
        yield RedLine(sentence=told, topic="doubles")


def _of_ticks(visit: Visit, found: Situation, telemetry: Telemetry) -> Iterator[RedLine]:
    for tick in found.held[:_MOST]:
        if tick.hold == "braked":
            told = visit._(
                "Tick %(tick)s of schedule %(schedule)s was stopped by its brake: %(failed)s of"
                " %(posted)s messages were refused or failed."
            )
        else:
            told = visit._(
                "Tick %(tick)s of schedule %(schedule)s waits for a person after its first"
                " %(posted)s messages."
            )
        values = {
            "tick": tick.tick_id,
            "schedule": tick.schedule_id,
            "failed": tick.failed,
            "posted": tick.posted,
        }
        yield RedLine(sentence=told % values, topic="held")
    missing = telemetry.ticks
    for schedule_id in list(missing.overdue if missing is not None else ())[:_MOST]:
        told = visit._("Schedule %(schedule)s waits for a tick that is overdue.")
        yield RedLine(sentence=told % {"schedule": schedule_id}, topic="ticks")
    calls = None if missing is None else missing.calls
    if calls is not None and calls.are_too_few:
        told = visit._("Only %(came)s of %(expected)s calls of the Scheduler came in the last day.")
        values = {"came": calls.came, "expected": calls.expected}
        yield RedLine(sentence=told % values, topic="ticks")
    if found.unbalanced:
        told = visit.counted(
            "%(num)s tick is unbalanced: not every trigger is accounted for.",
            "%(num)s ticks are unbalanced: not every trigger is accounted for.",
            found.unbalanced,
        )
        yield RedLine(sentence=told, topic="ledger")


def _of_scheduler(visit: Visit, found: Situation) -> Iterator[RedLine]:
    if found.calls.refused:
        told = visit.counted(
            "The Scheduler has refused %(num)s call.",
            "The Scheduler has refused %(num)s calls.",
            found.calls.refused,
        )
        yield RedLine(sentence=told, topic="scheduler")
    if (found.calls.owed_seconds or 0.0) > LONG_OWED:
        told = visit._("Calls have been owed to the Scheduler for more than an hour.")
        yield RedLine(sentence=told, topic="scheduler")


def _of_process(visit: Visit, telemetry: Telemetry) -> Iterator[RedLine]:
    if telemetry.measured("clock.doubted_seconds"):
        told = visit._("The database’s clock was set, and is not trusted yet.")
        yield RedLine(sentence=told, topic="clock")
    if telemetry.server_warning:
        yield RedLine(sentence=telemetry.server_warning, topic="servers")


def _of_database(visit: Visit, state: DatabaseState) -> Iterator[RedLine]:
    longest = state.longest
    if longest is not None and longest.seconds > LONG_TRANSACTION:
        told = visit.counted(
            "A transaction has been open for %(num)s minute: process %(pid)s of %(username)s.",
            "A transaction has been open for %(num)s minutes: process %(pid)s of %(username)s.",
            int(timedelta(seconds=longest.seconds).total_seconds() // 60),
            pid=longest.pid,
            username=longest.username,
        )
        yield RedLine(sentence=told, topic="database")
    for table in state.tables:
        if table.name == "sends" and table.dead_rows > MANY_DEAD:
            told = visit._("The table of live sends has many dead rows: claims become slow.")
            yield RedLine(sentence=told, topic="database")
    for month in state.months:
        if not month.has_this_month or not month.has_next_month or month.has_strays:
            told = visit._("The table “%(table)s” lacks a partition of this month or the next.")
            yield RedLine(sentence=told % {"table": month.name}, topic="partitions")
    if state.pending or state.unknown:
        told = visit._("The schema is not that of this release.")
        yield RedLine(sentence=told, topic="migrations")
