"""Claims as many due sends as there are free places, and renews their leases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any
from uuid import UUID

from attrs import define, field
from twisted.logger import Logger

from sbm.model.send import CONTENT_SETTLE, Send
from sbm.pipeline.database_clock import ClockReading, DatabaseClock
from sbm.pipeline.dividing import whole_or_divided
from sbm.pipeline.sends.delivery import Blames, Delivery
from sbm.pipeline.sends.in_flight import ClaimedSend, InFlight
from sbm.runtime.time_slices import TimeSlice
from sbm.runtime.wakeups import Wakeup
from sbm.store import clock, send_pauses, sends, unreadable
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import CommitUnknown, may_be_of_a_row
from sbm.store.postgres.gated import Transactions
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry

EXPIRY_BATCH = 1000
LOOK_SECONDS = 1.0

# So many can begin in the turn of the reactor in which they were read: it takes about 1 ms.
A_FEW = 20


@define(eq=False, slots=False, kw_only=True)
class Claimer:
    """The passes that claim, renew and expire.

    A batch that cannot be claimed is divided until each send that cannot be read is alone. Those
    end as failed, and the others are claimed.

    All that claims passes the gate of ``gated``; leases are renewed and expire in any case.
    ``content_settle``: how long content must not have changed before subscriptions whose next
    number is beyond its end complete.
    """

    _reactor: Any
    _database: Database
    _gated: Transactions
    _in_flight: InFlight
    _delivery: Delivery
    _blames: Blames
    _wakeup: Wakeup
    _content_settle: timedelta = CONTENT_SETTLE
    _clock: DatabaseClock = field(factory=DatabaseClock)
    _telemetry: Telemetry = field(factory=Telemetry)
    _log: Logger = field(factory=Logger)
    _may_have_strays: bool = field(default=False, init=False)
    # Whether to look for single sends before half of the places are free.
    _is_asked: bool = field(default=True, init=False)
    # How many calls of the wake-up were taken into account.
    _heeded: int = field(default=0, init=False)
    # Whether the last look may have left due sends, because there were too few places.
    _may_be_more: bool = field(default=True, init=False)
    _looked_at: float = field(default=0.0, init=False)
    _ended: int = field(default=0, init=False)

    async def claim(self) -> int:
        """Claim once half of the places are free, so that each statement claims a large batch.

        Single sends do not wait for that: they are looked for when the wake-up was called, and once
        a second, because another daemon may have got the request. If the last look found less than
        there was room for, the next look waits for one of these, too.

        While a service that every send needs is away, nothing is claimed. Then one send, the probe,
        shows whether the service is back. It is the send of a person whose last call did not fail,
        if such a send is due.
        """
        limit, of_ticks = self._wanted()
        if limit < 1:
            return 0
        await self._clock.begin(self._database)
        if self._may_have_strays:
            await self._gated.transact(
                sends.give_back_strays, owner=self._in_flight.owner, known=set(self._in_flight.held)
            )
            self._may_have_strays = False
        self._ended = 0
        asked_at = self._looked_at = self._in_flight.uptime()
        self._is_asked, self._may_be_more = False, True
        failed = self._failed
        claimed = await self._take(limit, of_ticks, but=failed)
        if failed and not claimed:
            claimed = await self._take(limit, of_ticks)  # no other send is due
        for send in claimed if self._is_probing else ():
            self._name_the_probe(send)
        of_tick = sum(send.lane == "tick" for send in claimed)
        is_full = len(claimed) + self._ended >= limit
        self._may_be_more = is_full or of_tick >= of_ticks
        if len(claimed) == limit and not of_tick:
            self._is_asked = True  # more single sends may be due: they get the next free places
        await self._begin([self._in_flight.take(send, asked_at=asked_at) for send in claimed])
        return len(claimed) + self._ended

    async def _begin(self, claimed: Sequence[ClaimedSend]) -> None:
        """Begin their deliveries, in slices: those that have a slot make a request at once.

        Single sends begin first. Many of a tick begin in the next turn of the reactor, because to
        read them has taken most of this one.
        """
        single = [held for held in claimed if held.send.lane != "tick"]
        of_ticks = [held for held in claimed if held.send.lane == "tick"]
        waiting = iter([*single, *of_ticks])
        slices = TimeSlice(reactor=self._reactor)
        try:
            await self._begin_each(islice(waiting, len(single)), slices)
            if len(of_ticks) > A_FEW:
                await slices.next_turn()
            await self._begin_each(waiting, slices)
        finally:
            # The claimer is stopping. Whoever is in flight has a delivery, which gives it back.
            for held in waiting:
                self._delivery.begin(held)

    async def _begin_each(self, waiting: Iterable[ClaimedSend], slices: TimeSlice) -> None:
        for held in waiting:
            self._delivery.begin(held)
            if slices.is_over:
                await slices.next_turn()

    async def _take(self, limit: int, of_ticks: int, *, but: Sequence[str] = ()) -> list[Send]:
        had_strays = self._may_have_strays

        async def due() -> list[UUID]:
            self._may_have_strays = True  # until all parts are claimed
            return await self._gated.transact(
                unreadable.list_due_sends,
                owner=self._in_flight.owner,
                limit=limit,
                of_ticks=of_ticks,
                but=but,
            )

        parts = await whole_or_divided(
            "sends that are due",
            partial(self._claimed, limit, of_ticks, but=but),
            due=due,
            part=self._take_only,
            alone=self._fail,
        )
        self._may_have_strays = had_strays
        return [send for part in parts for send in part]

    async def _take_only(self, ids: Sequence[UUID]) -> list[Send]:
        return await self._claimed(max(1, len(ids)), len(ids), only=ids)

    async def _claimed(self, limit: int, of_ticks: int, **options: Any) -> list[Send]:
        try:
            return await self._gated.transact(
                sends.claim,
                owner=self._in_flight.owner,
                limit=limit,
                of_ticks=of_ticks,
                lease=self._in_flight.lease_time,
                content_settle=self._content_settle,
                **options,
            )
        except CommitUnknown:
            self._may_have_strays = True
            raise

    async def _fail(self, send_id: UUID, error: Exception) -> None:
        """End a send that cannot be read as failed, without reading it."""
        reason = unreadable.reason(error)
        try:
            is_failed = await self._gated.transact(
                unreadable.fail_due_send, send_id=send_id, reason=reason
            )
        except Exception as another:
            if not may_be_of_a_row(another):
                raise
            # It stays due. Each batch that contains it has to be divided.
            self._log.failure("send {id} cannot be read, and cannot be ended", id=send_id)
            return
        if is_failed:
            self._ended += 1
            self._telemetry.count("sends.failed")
            self._log.error("send {id} has failed: {reason}", id=send_id, reason=reason)

    @property
    def _is_probing(self) -> bool:
        return any(blame.breaker.is_probing for blame in self._blames)

    @property
    def _failed(self) -> list[str]:
        """The people whose sends should not be the probe."""
        return [
            identity
            for blame in self._blames
            if blame.breaker.is_probing
            for identity in blame.failed
        ]

    def _name_the_probe(self, send: Send) -> None:
        for blame in self._blames:
            if blame.breaker.is_probing:
                blame.breaker.probe = f"the send of subscription {send.subscription_id}"

    def _wanted(self) -> tuple[int, int]:
        """How many sends to claim, and how many of them may be of a tick."""
        room = self._in_flight.room
        if self._wakeup.calls > self._heeded:
            self._heeded, self._is_asked = self._wakeup.calls, True
        if any(breaker.is_open for breaker in self._blames.breakers):
            return 0, 0
        if self._is_probing:
            probes = 0 if self._in_flight.held else 1
            return probes, probes
        is_half_free = room >= self._in_flight.capacity // 2
        if (
            self._is_asked
            or (is_half_free and self._may_be_more)
            or self._in_flight.uptime() >= self._looked_at + LOOK_SECONDS
        ):
            return room + self._in_flight.spare, room if is_half_free else 0
        return 0, 0

    async def renew(self) -> int:
        """Renew the leases of the sends in flight."""
        ids = set(self._in_flight.held)
        if ids:
            asked_at = self._in_flight.uptime()
            renewed = await self._database.transact(
                sends.renew, owner=self._in_flight.owner, ids=ids, lease=self._in_flight.lease_time
            )
            self._in_flight.renew(renewed, asked_about=ids, asked_at=asked_at)
        return 0

    async def expire(self) -> int:
        """Mark the claims whose lease ended as unknown, and end the pauses whose time is over.

        First, times that the database's clock wrote while it was wrong are corrected. While the
        clock may be wrong, no lease is considered ended.
        """
        repaired, expired = await self._clock.transact(self._database, self._expire, keeps=True)
        for what, count in repaired.items():
            if count:
                self._log.warn(
                    "the database's clock was wrong when {count} {what} were written: they are"
                    " corrected",
                    count=count,
                    what=what,
                )
        return expired + sum(repaired.values())

    async def _expire(
        self, transaction: Transaction, reading: ClockReading
    ) -> tuple[dict[str, int], int]:
        repaired: dict[str, int] = {}
        if reading.is_settled:
            repaired = await clock.repair(
                transaction,
                most=self._clock.most,
                lease=self._in_flight.lease_time,
                limit=EXPIRY_BATCH,
            )
        if reading.is_doubted:
            return repaired, 0
        await send_pauses.end_due(transaction)
        return repaired, await sends.expire(transaction, limit=EXPIRY_BATCH)
