"""Makes the scheduler calls: which schedules the Seed Scheduler shall hold and call us for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from sbm.clients.outcomes import Faulty, HeldBack, NotKnown, OutcomeUnknown, Rejected, Unavailable
from sbm.clients.scheduler import Entry, FaultyUnknown, Scheduler
from sbm.model.backoff import backoff
from sbm.model.durations import LeaseTime, LongestDelay, RequestTimeout, SettleTime
from sbm.model.scheduler_call import (
    CallBack,
    CallRefused,
    CallResult,
    Doubt,
    NothingToDo,
    Postponed,
    RemoteSchedule,
    ScheduleGone,
    SchedulerCall,
    StepDone,
    endpoint,
)
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.database_clock import ClockReading, DatabaseClock
from sbm.pipeline.dividing import whole_or_divided
from sbm.pipeline.scheduler.missed_moments import MissedMoments
from sbm.runtime.lease import Lease, uptime
from sbm.store import scheduler_calls, unreadable
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry

AT_A_TIME = 10
MEMBERS_AT_A_TIME = 1000
EXPIRY_BATCH = 1000
FIRST_DELAY = timedelta(seconds=1)

# How many scheduler calls are looked at if all of a pass had to wait for the first POST with their
# cron. The calls of a large schedule may come before one that does not have to wait.
LOOKED_THROUGH = 1000


@define(eq=False, slots=False, kw_only=True)
class SchedulerOutbox:
    """Claims scheduler calls, does the next step of each, and records what the Scheduler holds.

    A scheduler call says what the Scheduler shall hold, not what has changed, so it may be done
    twice. Only the making of a schedule may not: if the answer is lost, the daemon looks for the
    schedule, and makes it again only if it is still absent after the settle time.

    The Scheduler decides when a schedule fires at the moment when it is made. So for another cron
    the old schedule is disabled, that is recorded, and then a new schedule is made. The moments
    that came due in between are made up for.
    """

    _database: Database
    _scheduler: Scheduler
    _breaker: Breaker
    _telemetry: Telemetry
    _missed: MissedMoments
    _public_url: str
    _auth_token: str = field(repr=False)
    _request_timeout: RequestTimeout
    _lease: LeaseTime
    _settle: SettleTime
    _max_faults: int
    _cap: LongestDelay
    _draw: Callable[[], float]
    _uptime: Callable[[], float] = uptime
    _window: int = field(default=AT_A_TIME, init=False)
    _log: Logger = field(factory=Logger)
    _clock: DatabaseClock = field(factory=DatabaseClock, kw_only=True)

    async def one_pass(self) -> int:
        """Do a step of some of the calls that are due; returns how many there were."""
        if self._breaker.is_open:
            return 0
        asked_at = self._uptime()
        claim = await self._claim()
        all_wait = claim.held_back and not claim.claimed
        self._window = LOOKED_THROUGH if all_wait else AT_A_TIME
        lease = Lease.asked_for(self._lease, at=asked_at)
        looks = [call for call in claim.claimed if call.step == "look"]
        work: list[Any] = [
            Deferred.fromCoroutine(self._do_and_settle(call, lease))
            for call in claim.claimed
            if call.step != "look"
        ]
        if looks:
            work.append(Deferred.fromCoroutine(self._look_and_settle(looks)))
        for succeeded, failure in await DeferredList(work, consumeErrors=True):
            if not succeeded:
                failure.raiseException()
        return len(claim.claimed) + claim.held_back

    async def expire(self) -> int:
        """Owe again the calls whose lease expired: their daemon stopped renewing it."""
        return await self._clock.transact(self._database, self._expire)

    async def _claim(self) -> scheduler_calls.Claim:
        """Claim the calls that are due; a batch that cannot be claimed is divided."""
        limit = 1 if self._breaker.is_probing else AT_A_TIME
        claim = partial(self._clock.transact, self._database)
        parts = await whole_or_divided(
            "calls to the Scheduler",
            partial(claim, partial(self._claimed, limit=limit, window=max(limit, self._window))),
            due=partial(self._database.transact, unreadable.list_due_scheduler_calls, limit=limit),
            part=lambda ids: claim(partial(self._claimed, limit=limit, window=limit, only=ids)),
            alone=self._refuse,
        )
        return scheduler_calls.Claim(
            claimed=[call for part in parts for call in part.claimed],
            held_back=sum(part.held_back for part in parts),
        )

    async def _claimed(
        self, transaction: Transaction, reading: ClockReading, **which: Any
    ) -> scheduler_calls.Claim:
        """Claim; while the database's clock is in doubt, no settle time is considered over."""
        takes_over = not reading.is_doubted
        claim = await scheduler_calls.claim(
            transaction, lease=self._lease, settle=self._settle, takes_over=takes_over, **which
        )
        claimed = [
            evolve(
                call,
                is_late=call.is_late and not reading.is_doubted,
                # It was not owed in the future, even if a wrong clock has written so.
                owed_at=reading.earliest(min(call.owed_at, reading.now)),
            )
            for call in claim.claimed
        ]
        return evolve(claim, claimed=claimed)

    async def _refuse(self, call_id: int, error: Exception) -> None:
        reason = unreadable.reason(error)
        await self._database.transact(
            unreadable.refuse_due_scheduler_call, call_id=call_id, reason=reason
        )
        self._log.error(
            "call {id} to the Scheduler waits until something changes: {reason}",
            id=call_id,
            reason=reason,
        )

    async def _expire(self, transaction: Transaction, reading: ClockReading) -> int:
        if reading.is_doubted:
            return 0
        return await scheduler_calls.expire(transaction, limit=EXPIRY_BATCH)

    async def _do_and_settle(self, call: SchedulerCall, lease: Lease) -> None:
        if call.step == "members":
            await self._look_at_members(call)
        else:
            await self._settle_step(call, await self._do(call, lease))

    async def _settle_step(self, call: SchedulerCall, result: CallResult) -> None:
        await self._clock.transact(self._database, partial(self._write_down, call, result))
        self._telemetry.count(f"scheduler_calls.{type(result).__name__.lower()}")
        if isinstance(result, CallRefused):
            self._log.error(
                "the Scheduler refuses the call for {call}: {reason}",
                call=str(call),
                reason=result.reason,
            )
        elif isinstance(result, Postponed) and result.is_fault:
            self._log.warn(
                "the Scheduler fails at the call for {call}, {faults} of {most} times: {reason}",
                call=str(call),
                faults=call.faults + 1,
                most=self._max_faults,
                reason=result.reason,
            )

    async def _write_down(
        self,
        call: SchedulerCall,
        result: CallResult,
        transaction: Transaction,
        reading: ClockReading,
    ) -> None:
        if isinstance(result, StepDone):
            await self._missed.lock(transaction, call=call)
        silence = await scheduler_calls.settle(transaction, call=call, result=result)
        if silence is not None:
            await self._missed.make_up_for(transaction, call=call, silence=silence, reading=reading)

    async def _look_at_members(self, call: SchedulerCall) -> None:
        count = MEMBERS_AT_A_TIME
        while count == MEMBERS_AT_A_TIME:
            count = await self._database.transact(
                scheduler_calls.look_at_members,
                call=call,
                limit=MEMBERS_AT_A_TIME,
                lease=self._lease,
            )

    async def _do(self, call: SchedulerCall, lease: Lease) -> CallResult:
        """Do the next step, and say how it went."""
        if call.step == "none" or (call.remote is None and call.step != "create"):
            return NothingToDo()
        try:
            return await self._call(call, lease)
        except (Rejected, Faulty, FaultyUnknown) as error:
            self._breaker.succeed()  # it answers others
            return self._blamed(call, error)
        except HeldBack as error:
            return self._put_off(call, str(error), doubt="none")
        except Unavailable as error:
            self._breaker.fail(error)
            return self._put_off(call, str(error), doubt="none")
        except OutcomeUnknown as error:
            self._breaker.fail(error)
            return self._put_off(call, str(error), doubt="begun")

    def _blamed(self, call: SchedulerCall, error: Exception) -> CallResult:
        """The result of an answer that concerns this one call alone."""
        if isinstance(error, NotKnown):
            return ScheduleGone()
        if isinstance(error, Rejected):
            return CallRefused(reason=str(error))
        is_unknown = isinstance(error, FaultyUnknown)
        return self._fault(call, str(error), doubt="begun" if is_unknown else "none")

    async def _call(self, call: SchedulerCall, lease: Lease) -> CallResult:
        if call.step == "create":
            return await self._create(call, lease)
        if call.step == "replace":
            return await self._disable(call, is_replaced=True)
        if call.step == "disable":
            return await self._disable(call, is_replaced=False)
        return await self._change(call)

    async def _create(self, call: SchedulerCall, lease: Lease) -> CallResult:
        call_back = self._call_back(call)
        made = await self._scheduler.create(call_back, begin=lambda: self._outlasts(lease))
        self._breaker.succeed()
        cron = call_back.cron_definition
        return StepDone(
            remote=RemoteSchedule(id=made.id, cron_definition=cron, made_with=cron, enabled=True),
            at=made.created_at,
            replaces=call.remote.id if call.remote else None,
        )

    async def _disable(self, call: SchedulerCall, *, is_replaced: bool) -> CallResult:
        """Disable a schedule; the next step makes the one that takes its place."""
        remote, at = _known(call), None
        if call.attempt > 1 and is_replaced:
            # An earlier attempt may have disabled it: the Scheduler made no calls since then.
            entry = await self._scheduler.read(remote.id)
            if not entry.enabled:
                # If it was not known to be enabled, it may have been disabled long ago.
                at = entry.updated_at if remote.enabled else None
                remote = evolve(remote, enabled=False)
        if remote.enabled is not False:
            at = await self._patch(remote.id, {"enabled": False})
        return StepDone(
            remote=evolve(remote, enabled=False),
            at=at,
            goes_on=is_replaced,
            is_silent=is_replaced,
        )

    async def _change(self, call: SchedulerCall) -> CallResult:
        """Enable a schedule that has the right cron, and let it call us, if it does not yet."""
        remote, at = _known(call), None
        changes: dict[str, Any] = {}
        if not remote.is_addressed:
            call_back = self._call_back(call)
            changes = {"endpoint": call_back.endpoint, "auth_token": call_back.auth_token}
        if not remote.enabled:
            changes["enabled"] = True
        if changes:
            at = await self._patch(remote.id, changes)
        return StepDone(remote=evolve(remote, enabled=True, is_addressed=True), at=at)

    async def _patch(self, remote_id: str, changes: dict[str, Any]) -> datetime | None:
        changed_at = await self._scheduler.change(remote_id, changes)
        self._breaker.succeed()
        return changed_at

    async def _look_and_settle(self, looks: Sequence[SchedulerCall]) -> None:
        """Look for schedules that POSTs without an answer may have made; read the list once."""
        endpoints = {call.id: self._endpoint(call) for call in looks}
        since = min(call.owed_at for call in looks)
        try:
            found = await self._scheduler.find(set(endpoints.values()), since=since)
        except Unavailable as error:
            # If only the list cannot be read, all other calls can still be made.
            if not isinstance(error, Faulty):
                self._breaker.fail(error)
            for call in looks:
                await self._settle_step(call, self._put_off(call, str(error), doubt="kept"))
            return
        self._breaker.succeed()
        for call in looks:
            await self._settle_step(call, self._found(call, found[endpoints[call.id]]))

    def _found(self, call: SchedulerCall, entries: Sequence[Entry]) -> CallResult:
        """Adopt a schedule that was found, preferably one with the right cron; disable others.

        Schedules that are disabled are older, and are ignored: a POST makes an enabled one.
        """
        enabled = sorted(
            (entry for entry in entries if entry.enabled),
            key=lambda entry: (entry.made_with != call.wanted, entry.created_at),
        )
        if enabled:
            adopted, *surplus = enabled
            return StepDone(
                remote=RemoteSchedule(
                    id=adopted.id,
                    cron_definition=adopted.cron_definition,
                    made_with=adopted.made_with,
                    enabled=True,
                    is_addressed=adopted.auth_token in (None, self._auth_token),
                ),
                at=adopted.created_at,
                replaces=call.remote.id if call.remote else None,
                goes_on=True,
                surplus=tuple(entry.id for entry in surplus),
            )
        if not call.is_late:
            reason = "its schedule is still looked for"
            if call.fault:
                reason = f"{reason}; before that: {call.fault}"
            return self._put_off(call, reason, doubt="kept")
        if call.wanted is not None and call.faults >= self._max_faults:
            return CallRefused(reason=f"{call.fault} (tried {call.faults} times)")
        # It was surely not made: that is recorded before the next step.
        return Postponed(reason=call.fault, delay=timedelta(0), doubt="none")

    def _call_back(self, call: SchedulerCall) -> CallBack:
        assert call.wanted is not None
        return CallBack(
            cron_definition=call.wanted,
            endpoint=self._endpoint(call),
            auth_token=self._auth_token,
        )

    def _endpoint(self, call: SchedulerCall) -> str:
        return endpoint(self._public_url, call.kind, call.target)

    def _outlasts(self, lease: Lease) -> bool:
        """Whether a POST that begins now ends before the lease does, with or without an answer."""
        return lease.outlasts(self._request_timeout, now=self._uptime())

    def _fault(self, call: SchedulerCall, reason: str, *, doubt: Doubt) -> CallResult:
        """Count a fault; the last one ends the call, unless a schedule may have been made."""
        faults = call.faults + 1
        if faults >= self._max_faults and doubt == "none":
            return CallRefused(reason=f"{reason} (tried {faults} times)")
        delay = backoff(faults, self._draw, cap=self._cap)
        return Postponed(reason=reason, delay=delay, doubt=doubt, is_fault=True)

    def _put_off(self, call: SchedulerCall, reason: str, *, doubt: Doubt) -> Postponed:
        delay = self._breaker.wait + backoff(max(call.attempt, 1), self._draw, cap=self._cap)
        return Postponed(reason=reason, delay=max(delay, FIRST_DELAY), doubt=doubt)


def _known(call: SchedulerCall) -> RemoteSchedule:
    assert call.remote is not None
    return call.remote
