"""Due moments that passed while the Scheduler held no enabled schedule to call for them."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from uuid import UUID
from zoneinfo import ZoneInfo

from attrs import define, field
from twisted.logger import Logger

from sbm.model.cron import Cron, CronError
from sbm.model.durations import TickGrace
from sbm.model.scheduler_call import SchedulerCall, SilentTime
from sbm.model.scheduler_callback import RecordedCall, Target, kept
from sbm.operations.due_moments import latest_first
from sbm.pipeline.database_clock import ClockReading
from sbm.store import scheduler_callbacks, sends, ticks
from sbm.store.postgres.transaction import Transaction


@define(eq=False, slots=False, kw_only=True)
class MissedMoments:
    """Ticks once for the moments that came due while a schedule was being replaced.

    The moments are those of the new cron, read in the time zone of the Scheduler. They lie between
    the disabling of the old schedule and the making of the new one: earlier moments belonged to the
    old schedule, and later ones belong to the new one. The latest is ticked, unless it was longer
    ago than ``grace``. The others are recorded as missed, like those of the built-in clock.
    """

    _time_zone: ZoneInfo
    _grace: TickGrace
    _log: Logger = field(factory=Logger)

    async def lock(self, transaction: Transaction, *, call: SchedulerCall) -> None:
        """Wait for a call for the same target, before anything else is locked, as a call does."""
        target = _target(call)
        if target is not None:
            await scheduler_callbacks.lock_target(transaction, target=target)

    async def make_up_for(
        self,
        transaction: Transaction,
        *,
        call: SchedulerCall,
        silence: SilentTime,
        reading: ClockReading,
    ) -> None:
        """Tick for the latest moment in a time of silence, in the transaction that ends it.

        While the database's clock is in doubt, the end of the silence is used as the time of now.
        """
        if call.wanted is None or call.schedule_id is None:
            return
        moments = await self._moments(transaction, call.wanted, silence)
        if not moments:
            return
        now = silence.until if reading.is_doubted else silence.now
        is_in_time = now - moments[0] <= self._grace
        if is_in_time:
            await self._tick(transaction, call, call.schedule_id, moments.pop(0))
        if moments:
            await ticks.record_missed(transaction, schedule_id=call.schedule_id, moments=moments)
            self._log.warn(
                "{call}: {count} moments were missed while its schedule at the Scheduler was"
                " replaced, of {first} to {last}",
                call=str(call),
                count=len(moments),
                first=moments[-1].isoformat(),
                last=moments[0].isoformat(),
            )

    async def _tick(
        self, transaction: Transaction, call: SchedulerCall, schedule_id: int, moment: datetime
    ) -> None:
        """Tick once, and record it like a call, so that a late call for this moment joins it."""
        target = _target(call)
        assert target is not None
        calls = await scheduler_callbacks.list_recent(
            transaction, target=target, kept=kept(self._grace)
        )
        dated = partial(
            RecordedCall.dated, definition=call.wanted, zone=self._time_zone, back=self._grace
        )
        if any(dated(call).moment == moment for call in calls):
            return
        if call.kind == "subscription":
            await sends.owe(transaction, subscription_id=UUID(call.target))
        else:
            await ticks.open_clock_tick(transaction, schedule_id=schedule_id, due_at=moment)
        status, body = _ANSWERS[target.kind]
        await scheduler_callbacks.record(
            transaction, target=target, moment=moment, status=status, body=body
        )
        self._log.info(
            "{call}: ticked for {moment}, which came while its schedule at the Scheduler was"
            " replaced",
            call=str(call),
            moment=moment.isoformat(),
        )

    async def _moments(
        self, transaction: Transaction, definition: str, silence: SilentTime
    ) -> list[datetime]:
        """The moments in the time of silence, the latest first."""
        try:
            cron = Cron.from_definition(definition)
        except CronError:
            return []
        return await latest_first(
            transaction,
            cron,
            after=silence.since,
            until=silence.until,
            time_zone=self._time_zone,
        )


def _target(call: SchedulerCall) -> Target | None:
    if call.kind == "subscription":
        return Target(kind="subscription", id=UUID(call.target))
    if call.kind == "schedule":
        return Target(kind="schedule", id=int(call.target))
    return None


# The answer to a late call for a moment that was made up for.
_ANSWERS = {
    "subscription": (200, b'{"accepted":false,"reason":"this moment was made up for already"}'),
    "schedule": (202, b"{}"),
}
