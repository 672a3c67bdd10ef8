"""Chores: the Seed Scheduler is told whom to call back for, and for whom no longer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from sbm.clients.outcomes import Faulty, NotKnown, Rejected, Unavailable, Unknown
from sbm.clients.scheduler import Scheduler
from sbm.model.backoff import backoff
from sbm.model.chore import (
    CallBack,
    Chore,
    Doubt,
    Gone,
    Nothing,
    PutOff,
    Refused,
    Remote,
    Result,
    Scheduling,
    Told,
    endpoint,
)
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.database_clock import DatabaseClock, Reading
from sbm.pipeline.hand import uptime
from sbm.pipeline.reconcile import CLOCK_MARGIN
from sbm.store import chores, ticks
from sbm.store.database import Database, Transaction
from sbm.telemetry import Telemetry

AT_A_TIME = 10
MEMBERS_AT_A_TIME = 1000
EXPIRY_BATCH = 1000
FIRST_DELAY = timedelta(seconds=1)


@define(eq=False, slots=False)
class Chores:
    """Claims chores, does them, and writes down what the Scheduler holds then.

    A chore tells how things stand, not what has changed, so it may be done twice. What may not is
    having a schedule made: when the answer to that is lost, the schedule is looked for, and only
    one that was not there when the settle time was over is made anew.
    """

    _database: Database
    _scheduler: Scheduler
    _breaker: Breaker
    _telemetry: Telemetry
    _public_url: str
    _auth_token: str = field(repr=False)
    _request_timeout: timedelta
    _lease: timedelta
    _settle: timedelta
    _max_faults: int
    _cap: timedelta
    _draw: Callable[[], float]
    _uptime: Callable[[], float] = uptime
    _log: Logger = field(factory=Logger)
    _clock: DatabaseClock = field(factory=DatabaseClock, kw_only=True)

    async def one_pass(self) -> int:
        """Do some of the chores that are due; returns how many there were."""
        if self._breaker.wait:
            return 0
        asked_at = self._uptime()
        claimed = await self._clock.transact(self._database, self._claim)
        lease_end = asked_at + self._lease.total_seconds()
        work: list[Any] = [
            Deferred.fromCoroutine(self._do_and_settle(chore, lease_end)) for chore in claimed
        ]
        for succeeded, failure in await DeferredList(work, consumeErrors=True):
            if not succeeded:
                failure.raiseException()
        return len(claimed)

    async def expire(self) -> int:
        """Owe again what was claimed by a daemon that fell silent."""
        return await self._clock.transact(self._database, self._expire)

    async def _claim(self, transaction: Transaction, reading: Reading) -> list[Chore]:
        """While the database's clock is in doubt, no settle time is taken for over."""
        claimed = await chores.claim(
            transaction,
            limit=1 if self._breaker.is_probing else AT_A_TIME,
            lease=self._lease,
            settle=self._settle,
        )
        return [
            evolve(
                chore,
                is_late=chore.is_late and not (reading.is_doubted and chore.is_doubtful),
                # It was not owed in the future, whatever a wrong clock has written.
                owed_at=min(chore.owed_at, reading.now),
            )
            for chore in claimed
        ]

    async def _expire(self, transaction: Transaction, reading: Reading) -> int:
        if reading.is_doubted:
            return 0
        return await chores.expire(transaction, limit=EXPIRY_BATCH)

    async def _do_and_settle(self, chore: Chore, lease_end: float) -> None:
        if chore.kind == "members":
            await self._look_at_members(chore)
            return
        result = await self._do(chore, lease_end)
        await self._database.transact(chores.settle, chore=chore, result=result)
        self._telemetry.count(f"chores.{type(result).__name__.lower()}")
        if isinstance(result, Refused):
            self._log.error(
                "the Scheduler refuses what it is told of {kind} {target}: {reason}",
                kind=chore.kind,
                target=chore.target,
                reason=result.reason,
            )

    async def _look_at_members(self, chore: Chore) -> None:
        count = MEMBERS_AT_A_TIME
        while count == MEMBERS_AT_A_TIME:
            count = await self._database.transact(
                chores.look_at_members, chore=chore, limit=MEMBERS_AT_A_TIME, lease=self._lease
            )

    async def _do(self, chore: Chore, lease_end: float) -> Result:
        """Tell what there is to tell, and say how it went."""
        try:
            result = await self._tell(chore, lease_end)
        except NotKnown:
            self._breaker.succeed()
            return Gone()
        except Rejected as error:
            self._breaker.succeed()
            return Refused(reason=str(error))
        except Faulty as error:
            self._breaker.fail(error)
            return self._fault(chore, str(error))
        except Unavailable as error:
            self._breaker.fail(error)
            return self._put_off(chore, str(error), doubt=_doubt(chore))
        except Unknown as error:
            self._breaker.fail(error)
            return self._put_off(chore, str(error), doubt="begun")
        if not isinstance(result, PutOff | Nothing):
            self._breaker.succeed()
        return result

    async def _tell(self, chore: Chore, lease_end: float) -> Result:
        remote = chore.remote
        if remote is None and chore.is_doubtful:
            remote = await self._look_for(chore)
            if remote is None and not chore.is_late:
                return self._put_off(chore, "its schedule is still looked for", doubt="kept")
            if remote is None and chore.cron_definition is not None:
                # It was surely not made: that is written down before another one is.
                return PutOff(reason="", delay=timedelta(0), doubt="none")
        if chore.cron_definition is None:
            return await self._disable(remote)
        call_back = CallBack(
            cron_definition=chore.cron_definition,
            endpoint=endpoint(self._public_url, chore.kind, chore.target),
            auth_token=self._auth_token,
        )
        if remote is None:
            remote_id = await self._scheduler.create(
                call_back, begin=lambda: self._outlasts(lease_end)
            )
        else:
            remote_id = remote.id
            changes = call_back.payload() if remote.cron_definition != chore.cron_definition else {}
            if not remote.enabled:
                changes["enabled"] = True
            if changes:
                await self._scheduler.change(remote_id, changes)
        told = Remote(id=remote_id, cron_definition=chore.cron_definition, enabled=True)
        return Told(remote=told)

    async def _disable(self, remote: Remote | None) -> Result:
        if remote is None:
            return Nothing()
        if remote.enabled is not False:
            await self._scheduler.change(remote.id, {"enabled": False})
        return Told(
            remote=Remote(id=remote.id, cron_definition=remote.cron_definition, enabled=False)
        )

    async def _look_for(self, chore: Chore) -> Remote | None:
        """What a POST without an answer may have made; of several, the others are disabled."""
        found = await self._scheduler.find(
            endpoint(self._public_url, chore.kind, chore.target), since=chore.owed_at - CLOCK_MARGIN
        )
        for surplus in found[1:]:
            if surplus.enabled:
                await self._scheduler.change(surplus.id, {"enabled": False})
        if not found:
            return None
        oldest = found[0]
        return Remote(id=oldest.id, cron_definition=oldest.cron_definition, enabled=oldest.enabled)

    def _outlasts(self, lease_end: float) -> bool:
        """Whether a POST that begins now is over, one way or the other, before the lease."""
        return self._uptime() + self._request_timeout.total_seconds() + 1 <= lease_end

    def _fault(self, chore: Chore, reason: str) -> Result:
        faults = chore.faults + 1
        if faults >= self._max_faults:
            return Refused(reason=f"{reason} (tried {faults} times)")
        delay = backoff(faults, self._draw, cap=self._cap)
        return PutOff(reason=reason, delay=delay, doubt=_doubt(chore), is_fault=True)

    def _put_off(self, chore: Chore, reason: str, *, doubt: Doubt) -> PutOff:
        delay = self._breaker.wait + backoff(max(chore.attempt, 1), self._draw, cap=self._cap)
        return PutOff(reason=reason, delay=max(delay, FIRST_DELAY), doubt=doubt)


@define(eq=False, slots=False)
class Announcement:
    """Tells the database how this daemon schedules, for sessions that are not a daemon's."""

    _database: Database
    _mode: Scheduling
    _is_made: bool = False
    _log: Logger = field(factory=Logger)

    async def one_pass(self) -> int:
        """Say so, once."""
        if not self._is_made:
            is_new = await self._database.transact(self._say)
            self._is_made = True
            if is_new:
                self._log.warn(
                    "SBM_SCHEDULING is {mode} now: `sbm scheduler sync` brings the Scheduler in"
                    " line",
                    mode=self._mode,
                )
        return 0

    async def _say(self, transaction: Transaction) -> bool:
        is_new = await chores.set_scheduling(transaction, mode=self._mode)
        if is_new:
            await ticks.unwind(transaction)
        return is_new


def _doubt(chore: Chore) -> Doubt:
    """After a call that surely had nothing made: what was doubtful before still is."""
    return "kept" if chore.is_doubtful else "none"
