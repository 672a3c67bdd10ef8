"""Notices ticks that did not come, and that no daemon sends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from attrs import define, field
from twisted.logger import Logger

from sbm.model.living_daemon import LivingDaemon
from sbm.model.tick_times import CallsOfDay, Expectations
from sbm.operations.tick_times import ScheduleState, calls_of_day, list_schedules
from sbm.store import daemons, ledger_balance, tick_times
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import MissingTicks, Telemetry

# The calls for subscriptions are counted less often: there is a row for each subscription.
CALLS_SECONDS = 300.0

# A reason names so many schedules or daemons, however many there are.
NAMED = 10


@define(eq=False, slots=False, kw_only=True)
class TickWatch:
    """Looks at all schedules and daemons, for the health of this one.

    A schedule is overdue if a tick is missing for longer than the grace. In the mode
    ``subscription``, fewer than half of the calls of the last day are too few. What it finds is in
    ``Telemetry.reasons``. The first pass leaves the daemons out: they may just be starting.
    """

    _reactor: Any
    _database: Database
    _telemetry: Telemetry
    _by: Expectations
    _log: Logger = field(factory=Logger)
    _calls: CallsOfDay | None = field(default=None, init=False)
    _counted_at: float = field(default=float("-inf"), init=False)
    _told: object = field(default=None, init=False)
    _is_first: bool = field(default=True, init=False)

    async def one_pass(self) -> int:
        """Look once."""
        now = self._reactor.seconds()
        if now >= self._counted_at + CALLS_SECONDS:
            self._calls = await self._database.transact(calls_of_day, self._by)
            self._counted_at = now
        self._show(await self._database.transact(self._measure))
        if not self._is_first:
            await self._look_at_daemons()
        self._is_first = False
        return 0

    async def _measure(self, transaction: Transaction) -> Sequence[ScheduleState]:
        of_day = await tick_times.count_of_day(transaction)
        for kind in ("opened", "late", "missed"):
            self._telemetry.gauge("ticks.of_day", getattr(of_day, kind), kind=kind)
        return await list_schedules(transaction, self._by)

    async def _look_at_daemons(self) -> None:
        living = await self._database.transact(daemons.list_all)
        self._telemetry.reasons["daemons"] = _of_daemons(living)
        unbalanced, _ = await self._database.transact(ledger_balance.count_unbalanced)
        self._telemetry.reasons["ledger"] = (
            f"{unbalanced} ticks are unbalanced" if unbalanced else ""
        )

    def _show(self, schedules: Sequence[ScheduleState]) -> None:
        overdue = {
            one.schedule_id: one.overdue_since for one in schedules if one.overdue_since is not None
        }
        telemetry = self._telemetry
        telemetry.gauge_each(
            "schedule.last_tick_at", "schedule", _stamps((s.schedule_id, s.last) for s in schedules)
        )
        telemetry.gauge_each(
            "schedule.next_tick_at", "schedule", _stamps((s.schedule_id, s.next) for s in schedules)
        )
        watched = [one for one in schedules if one.is_watched]
        telemetry.gauge_each(
            "schedule.overdue",
            "schedule",
            {str(one.schedule_id): float(one.schedule_id in overdue) for one in watched},
        )
        if self._calls is not None:
            telemetry.gauge("scheduler_callbacks.expected_of_day", self._calls.expected)
            telemetry.gauge("scheduler_callbacks.came_of_day", self._calls.came)
        reason = _of_ticks(overdue, self._calls)
        telemetry.reasons["ticks"] = reason
        telemetry.ticks = MissingTicks(
            overdue=overdue, calls=self._calls, unwatched=len(schedules) - len(watched)
        )
        found = (frozenset(overdue), self._calls is not None and self._calls.are_too_few)
        if reason and found != self._told:
            self._log.error("{reason}", reason=reason)
        elif not reason and self._told not in (None, found):
            self._log.info("no tick is missing any more")
        self._told = found


def _stamps(moments: Iterable[tuple[int, datetime | None]]) -> dict[str, float]:
    return {str(key): moment.timestamp() for key, moment in moments if moment is not None}


def _of_ticks(overdue: dict[int, datetime], calls: CallsOfDay | None) -> str:
    told = [
        f"schedule {schedule_id} has not ticked since {since.isoformat(' ', 'minutes')}, when it"
        " was due"
        for schedule_id, since in list(overdue.items())[:NAMED]
    ]
    if len(overdue) > NAMED:
        told.append(f"{len(overdue) - NAMED} more schedules are overdue")
    if calls is not None and calls.are_too_few:
        told.append(
            f"only {calls.came} of {calls.expected} calls of the Scheduler came in the last day"
        )
    return "; ".join(told)


def _of_daemons(living: Sequence[LivingDaemon]) -> str:
    """Why the daemons do not send, as far as they say it."""
    told = []
    if not any(one.is_sending for one in living):
        told.append("no daemon sends: none lives, or all are paused")
    away = sorted(
        {
            name.replace("_", " ")
            for one in living
            if not one.is_silent
            for name, service in one.services.items()
            if service["is_away"]
        }
    )
    if away:
        told.append(f"away for a daemon: {', '.join(away)}")
    return "; ".join(told)
