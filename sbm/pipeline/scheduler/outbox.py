"""Chores: the Seed Scheduler is told whom to call back for, and for whom no longer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from sbm.clients.outcomes import Faulty, HeldBack, NotKnown, Rejected, Unavailable, Unknown
from sbm.clients.scheduler import Entry, FaultyUnknown, Scheduler
from sbm.model.backoff import backoff
from sbm.model.durations import LeaseTime, LongestDelay, RequestTimeout, SettleTime
from sbm.model.scheduler_call import (
    CallBack,
    Doubt,
    Gone,
    Nothing,
    PutOff,
    Refused,
    Remote,
    Result,
    SchedulerCall,
    Told,
    endpoint,
)
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.database_clock import ClockReading, DatabaseClock
from sbm.pipeline.dividing import whole_or_divided
from sbm.pipeline.scheduler.missed_moments import MissedMoments
from sbm.runtime.lease import CLOCK_MARGIN, Lease, uptime
from sbm.store import scheduler_calls, unreadable
from sbm.store.postgres.database import Database, Transaction
from sbm.telemetry import Telemetry

AT_A_TIME = 10
MEMBERS_AT_A_TIME = 1000
EXPIRY_BATCH = 1000
FIRST_DELAY = timedelta(seconds=1)

# So many chores are looked at, once all had to wait for the first POST with their cron: those of a
# large schedule may stand before a chore that need not wait.
LOOKED_THROUGH = 1000


@define(eq=False, slots=False, kw_only=True)
class SchedulerOutbox:
    """Claims chores, does the next step of each, and writes down what the Scheduler holds then.

    A chore tells how things stand, not what has changed, so it may be done twice. What may not is
    having a schedule made: when the answer to that is lost, the schedule is looked for, and only
    one that was not there when the settle time was over is made anew.

    The Scheduler fixes when a schedule fires at the moment when it is made. For another cron the
    old schedule is disabled, which is written down, and then another one is made. What came due
    in between is made up for.
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
        """Do a step of some of the chores that are due; returns how many there were."""
        if self._breaker.wait:
            return 0
        asked_at = self._uptime()
        claim = await self._claim()
        all_wait = claim.held_back and not claim.claimed
        self._window = LOOKED_THROUGH if all_wait else AT_A_TIME
        lease = Lease.asked_for(self._lease, at=asked_at)
        looks = [chore for chore in claim.claimed if chore.step == "look"]
        work: list[Any] = [
            Deferred.fromCoroutine(self._do_and_settle(chore, lease))
            for chore in claim.claimed
            if chore.step != "look"
        ]
        if looks:
            work.append(Deferred.fromCoroutine(self._look_and_settle(looks)))
        for succeeded, failure in await DeferredList(work, consumeErrors=True):
            if not succeeded:
                failure.raiseException()
        return len(claim.claimed) + claim.held_back

    async def expire(self) -> int:
        """Owe again what was claimed by a daemon that fell silent."""
        return await self._clock.transact(self._database, self._expire)

    async def _claim(self) -> scheduler_calls.Claim:
        """Those that are due; a batch that cannot be claimed is divided."""
        limit = 1 if self._breaker.is_probing else AT_A_TIME
        claim = partial(self._clock.transact, self._database)
        parts = await whole_or_divided(
            "chores",
            partial(claim, partial(self._claimed, limit=limit, window=max(limit, self._window))),
            due=partial(self._database.transact, unreadable.list_due_chores, limit=limit),
            part=lambda ids: claim(partial(self._claimed, limit=limit, window=limit, only=ids)),
            alone=self._refuse,
        )
        return scheduler_calls.Claim(
            claimed=[chore for part in parts for chore in part.claimed],
            held_back=sum(part.held_back for part in parts),
        )

    async def _claimed(
        self, transaction: Transaction, reading: ClockReading, **which: Any
    ) -> scheduler_calls.Claim:
        """While the database's clock is in doubt, no settle time is taken for over."""
        takes_over = not reading.is_doubted
        claim = await scheduler_calls.claim(
            transaction, lease=self._lease, settle=self._settle, takes_over=takes_over, **which
        )
        claimed = [
            evolve(
                chore,
                is_late=chore.is_late and not reading.is_doubted,
                # It was not owed in the future, whatever a wrong clock has written.
                owed_at=min(chore.owed_at, reading.now),
            )
            for chore in claim.claimed
        ]
        return evolve(claim, claimed=claimed)

    async def _refuse(self, chore_id: int, error: Exception) -> None:
        reason = unreadable.reason(error)
        await self._database.transact(unreadable.refuse_due_chore, chore_id=chore_id, reason=reason)
        self._log.error(
            "chore {id} waits until something changes: {reason}", id=chore_id, reason=reason
        )

    async def _expire(self, transaction: Transaction, reading: ClockReading) -> int:
        if reading.is_doubted:
            return 0
        return await scheduler_calls.expire(transaction, limit=EXPIRY_BATCH)

    async def _do_and_settle(self, chore: SchedulerCall, lease: Lease) -> None:
        if chore.step == "members":
            await self._look_at_members(chore)
        else:
            await self._settle_step(chore, await self._do(chore, lease))

    async def _settle_step(self, chore: SchedulerCall, result: Result) -> None:
        await self._clock.transact(self._database, partial(self._write_down, chore, result))
        self._telemetry.count(f"chores.{type(result).__name__.lower()}")
        if isinstance(result, Refused):
            self._log.error(
                "the Scheduler refuses what it is told of {chore}: {reason}",
                chore=str(chore),
                reason=result.reason,
            )
        elif isinstance(result, PutOff) and result.is_fault:
            self._log.warn(
                "the Scheduler fails at what it is told of {chore}, {faults} of {most} times:"
                " {reason}",
                chore=str(chore),
                faults=chore.faults + 1,
                most=self._max_faults,
                reason=result.reason,
            )

    async def _write_down(
        self, chore: SchedulerCall, result: Result, transaction: Transaction, reading: ClockReading
    ) -> None:
        if isinstance(result, Told):
            await self._missed.lock(transaction, chore=chore)
        silence = await scheduler_calls.settle(transaction, chore=chore, result=result)
        if silence is not None:
            await self._missed.make_up_for(
                transaction, chore=chore, silence=silence, reading=reading
            )

    async def _look_at_members(self, chore: SchedulerCall) -> None:
        count = MEMBERS_AT_A_TIME
        while count == MEMBERS_AT_A_TIME:
            count = await self._database.transact(
                scheduler_calls.look_at_members,
                chore=chore,
                limit=MEMBERS_AT_A_TIME,
                lease=self._lease,
            )

    async def _do(self, chore: SchedulerCall, lease: Lease) -> Result:
        """Do the next step, and say how it went."""
        if chore.step == "none" or (chore.remote is None and chore.step != "create"):
            return Nothing()
        try:
            return await self._call(chore, lease)
        except (Rejected, Faulty, FaultyUnknown) as error:
            self._breaker.succeed()  # it answers others
            return self._blamed(chore, error)
        except HeldBack as error:
            return self._put_off(chore, str(error), doubt="none")
        except Unavailable as error:
            self._breaker.fail(error)
            return self._put_off(chore, str(error), doubt="none")
        except Unknown as error:
            self._breaker.fail(error)
            return self._put_off(chore, str(error), doubt="begun")

    def _blamed(self, chore: SchedulerCall, error: Exception) -> Result:
        """What an answer means that is due to the one call alone."""
        if isinstance(error, NotKnown):
            return Gone()
        if isinstance(error, Rejected):
            return Refused(reason=str(error))
        is_unknown = isinstance(error, FaultyUnknown)
        return self._fault(chore, str(error), doubt="begun" if is_unknown else "none")

    async def _call(self, chore: SchedulerCall, lease: Lease) -> Result:
        if chore.step == "create":
            return await self._create(chore, lease)
        if chore.step == "replace":
            return await self._disable(chore, is_replaced=True)
        if chore.step == "disable":
            return await self._disable(chore, is_replaced=False)
        return await self._change(chore)

    async def _create(self, chore: SchedulerCall, lease: Lease) -> Result:
        call_back = self._call_back(chore)
        made = await self._scheduler.create(call_back, begin=lambda: self._outlasts(lease))
        self._breaker.succeed()
        cron = call_back.cron_definition
        return Told(
            remote=Remote(id=made.id, cron_definition=cron, made_with=cron, enabled=True),
            at=made.created_at,
            replaces=chore.remote.id if chore.remote else None,
        )

    async def _disable(self, chore: SchedulerCall, *, is_replaced: bool) -> Result:
        """Disable a schedule; the next step makes the one that takes its place."""
        remote, at = _known(chore), None
        if chore.attempt > 1 and is_replaced:
            # It may have been disabled by an earlier attempt: since then nothing was called.
            entry = await self._scheduler.read(remote.id)
            if not entry.enabled:
                # Of one that was not known to be enabled, it may have been disabled long ago.
                at = entry.updated_at if remote.enabled else None
                remote = evolve(remote, enabled=False)
        if remote.enabled is not False:
            at = await self._patch(remote.id, {"enabled": False})
        return Told(
            remote=evolve(remote, enabled=False),
            at=at,
            goes_on=is_replaced,
            is_silent=is_replaced,
        )

    async def _change(self, chore: SchedulerCall) -> Result:
        """Enable a schedule with the right cron, and have it call us, if it is not so."""
        remote, at = _known(chore), None
        changes: dict[str, Any] = {}
        if not remote.is_addressed:
            call_back = self._call_back(chore)
            changes = {"endpoint": call_back.endpoint, "auth_token": call_back.auth_token}
        if not remote.enabled:
            changes["enabled"] = True
        if changes:
            at = await self._patch(remote.id, changes)
        return Told(remote=evolve(remote, enabled=True, is_addressed=True), at=at)

    async def _patch(self, remote_id: str, changes: dict[str, Any]) -> datetime | None:
        changed_at = await self._scheduler.change(remote_id, changes)
        self._breaker.succeed()
        return changed_at

    async def _look_and_settle(self, looks: Sequence[SchedulerCall]) -> None:
        """Look for what POSTs without an answer may have made: the list is read once for all."""
        endpoints = {chore.id: self._endpoint(chore) for chore in looks}
        since = min(chore.owed_at for chore in looks) - CLOCK_MARGIN
        try:
            found = await self._scheduler.find(set(endpoints.values()), since=since)
        except Unavailable as error:
            # A list that cannot be read hinders nobody but those who have to read it.
            if not isinstance(error, Faulty):
                self._breaker.fail(error)
            for chore in looks:
                await self._settle_step(chore, self._put_off(chore, str(error), doubt="kept"))
            return
        self._breaker.succeed()
        for chore in looks:
            await self._settle_step(chore, self._found(chore, found[endpoints[chore.id]]))

    def _found(self, chore: SchedulerCall, entries: Sequence[Entry]) -> Result:
        """What was found is adopted, the one that fires as it should first; others are disabled.

        Those that are disabled are of earlier times: what a POST makes is enabled.
        """
        enabled = sorted(
            (entry for entry in entries if entry.enabled),
            key=lambda entry: (entry.made_with != chore.wanted, entry.created_at),
        )
        if enabled:
            adopted, *surplus = enabled
            return Told(
                remote=Remote(
                    id=adopted.id,
                    cron_definition=adopted.cron_definition,
                    made_with=adopted.made_with,
                    enabled=True,
                    is_addressed=adopted.auth_token in (None, self._auth_token),
                ),
                at=adopted.created_at,
                replaces=chore.remote.id if chore.remote else None,
                goes_on=True,
                surplus=tuple(entry.id for entry in surplus),
            )
        if not chore.is_late:
            reason = "its schedule is still looked for"
            if chore.fault:
                reason = f"{reason}; before that: {chore.fault}"
            return self._put_off(chore, reason, doubt="kept")
        if chore.wanted is not None and chore.faults >= self._max_faults:
            return Refused(reason=f"{chore.fault} (tried {chore.faults} times)")
        # It was surely not made: that is written down before anything else is done.
        return PutOff(reason=chore.fault, delay=timedelta(0), doubt="none")

    def _call_back(self, chore: SchedulerCall) -> CallBack:
        assert chore.wanted is not None
        return CallBack(
            cron_definition=chore.wanted,
            endpoint=self._endpoint(chore),
            auth_token=self._auth_token,
        )

    def _endpoint(self, chore: SchedulerCall) -> str:
        return endpoint(self._public_url, chore.kind, chore.target)

    def _outlasts(self, lease: Lease) -> bool:
        """Whether a POST that begins now is over, one way or the other, before the lease."""
        return lease.outlasts(self._request_timeout, now=self._uptime())

    def _fault(self, chore: SchedulerCall, reason: str, *, doubt: Doubt) -> Result:
        """It counts; the last one ends the chore, unless it may have had a schedule made."""
        faults = chore.faults + 1
        if faults >= self._max_faults and doubt == "none":
            return Refused(reason=f"{reason} (tried {faults} times)")
        delay = backoff(faults, self._draw, cap=self._cap)
        return PutOff(reason=reason, delay=delay, doubt=doubt, is_fault=True)

    def _put_off(self, chore: SchedulerCall, reason: str, *, doubt: Doubt) -> PutOff:
        delay = self._breaker.wait + backoff(max(chore.attempt, 1), self._draw, cap=self._cap)
        return PutOff(reason=reason, delay=max(delay, FIRST_DELAY), doubt=doubt)


def _known(chore: SchedulerCall) -> Remote:
    assert chore.remote is not None
    return chore.remote
