"""Notices ticks that did not come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from attrs import define, field
from twisted.logger import Logger

from sbm.model.tick_times import CallsOfDay, Expectations, ScheduleTimes
from sbm.operations.tick_times import calls_of_day
from sbm.store import tick_times
from sbm.store.postgres.database import Database, Transaction
from sbm.telemetry import Telemetry, TickState

# The calls for subscriptions are counted less often: there is a row for each subscription.
CALLS_SECONDS = 300.0


@define(eq=False, slots=False, kw_only=True)
class TickWatch:
    """Measures when each schedule ticked last and should tick next, and tells if one is overdue.

    A schedule is overdue if a tick is missing for longer than the grace. In the mode
    ``subscription``, it tells if fewer than half of the calls of the last day came.
    """

    _reactor: Any
    _database: Database
    _telemetry: Telemetry
    _by: Expectations
    _log: Logger = field(factory=Logger)
    _calls: CallsOfDay | None = field(default=None, init=False)
    _counted_at: float = field(default=float("-inf"), init=False)
    _told: str = field(default="", init=False)

    async def one_pass(self) -> int:
        """Measure once."""
        schedules = await self._database.transact(self._measure)
        now = self._reactor.seconds()
        if now >= self._counted_at + CALLS_SECONDS:
            self._calls = await self._database.transact(calls_of_day, self._by)
            self._counted_at = now
        overdue = {
            one.schedule_id: since
            for one in schedules
            if (since := one.overdue_since(self._by)) is not None
        }
        self._show(schedules)
        reason = _reason(overdue, self._calls)
        self._telemetry.ticks = TickState(reason=reason, overdue=overdue, calls=self._calls)
        if reason and reason != self._told:
            self._log.error("{reason}", reason=reason)
        elif self._told and not reason:
            self._log.info("no tick is missing any more")
        self._told = reason
        return 0

    async def _measure(self, transaction: Transaction) -> Sequence[ScheduleTimes]:
        of_day = await tick_times.count_of_day(transaction)
        for kind in ("opened", "late", "missed"):
            self._telemetry.gauge("ticks.of_day", getattr(of_day, kind), kind=kind)
        return await tick_times.list_schedules(transaction)

    def _show(self, schedules: Sequence[ScheduleTimes]) -> None:
        self._telemetry.gauge_each(
            "schedule.last_tick_at",
            "schedule",
            _stamps({s.schedule_id: s.last_tick_at for s in schedules}),
        )
        self._telemetry.gauge_each(
            "schedule.next_tick_at",
            "schedule",
            _stamps({s.schedule_id: s.expected(self._by) for s in schedules}),
        )
        self._telemetry.gauge_each(
            "schedule.overdue",
            "schedule",
            {str(s.schedule_id): float(s.overdue_since(self._by) is not None) for s in schedules},
        )
        if self._calls is not None:
            self._telemetry.gauge("scheduler_callbacks.expected_of_day", self._calls.expected)
            self._telemetry.gauge("scheduler_callbacks.came_of_day", self._calls.came)


def _stamps(moments: dict[int, datetime | None]) -> dict[str, float]:
    return {str(key): one.timestamp() for key, one in moments.items() if one is not None}


def _reason(overdue: dict[int, datetime], calls: CallsOfDay | None) -> str:
    told = [
        f"schedule {schedule_id} did not tick for {since.isoformat()}"
        for schedule_id, since in list(overdue.items())[:10]
    ]
    if len(overdue) > len(told):
        told.append(f"and {len(overdue) - len(told)} more schedules are overdue")
    if calls is not None and calls.are_too_few:
        told.append(
            f"only {calls.came} of {calls.expected} calls of the Scheduler came in the last day"
        )
    return "; ".join(told)
