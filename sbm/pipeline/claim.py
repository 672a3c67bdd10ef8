"""Claiming: take as many due sends as there are hands for, and keep their leases alive."""

from __future__ import annotations

from attrs import define

from sbm.pipeline.breaker import Breaker
from sbm.pipeline.deliver import Delivery
from sbm.pipeline.hand import Hand
from sbm.store import sends
from sbm.store.database import Database
from sbm.store.errors import CommitUnknown

EXPIRY_BATCH = 1000


@define(eq=False, slots=False)
class Claiming:
    """The passes that claim, renew and expire."""

    _database: Database
    _hand: Hand
    _delivery: Delivery
    _breakers: tuple[Breaker, ...]
    _may_have_strays: bool = False

    async def claim(self) -> int:
        """Claim once half of the hand is free, so that batches stay worth their statement.

        Nothing is claimed while a service that every send needs is away, and just one send to see
        whether it is back.
        """
        room = self._hand.room
        if room < self._hand.capacity // 2 or any(breaker.wait for breaker in self._breakers):
            return 0
        if any(breaker.is_probing for breaker in self._breakers):
            room = 1 if not self._hand.held else 0
        if room < 1:
            return 0
        if self._may_have_strays:
            await self._database.transact(
                sends.give_back_strays, owner=self._hand.owner, known=set(self._hand.held)
            )
            self._may_have_strays = False
        asked_at = self._hand.uptime()
        try:
            claimed = await self._database.transact(
                sends.claim, owner=self._hand.owner, limit=room, lease=self._hand.lease
            )
        except CommitUnknown:
            self._may_have_strays = True
            raise
        for send in claimed:
            self._delivery.begin(self._hand.take(send, asked_at=asked_at))
        return len(claimed)

    async def renew(self) -> int:
        """Tell the database that the owner of what is in hand is alive."""
        ids = set(self._hand.held)
        if ids:
            asked_at = self._hand.uptime()
            renewed = await self._database.transact(
                sends.renew, owner=self._hand.owner, ids=ids, lease=self._hand.lease
            )
            self._hand.renew(renewed, asked_about=ids, asked_at=asked_at)
        return 0

    async def expire(self) -> int:
        """Mark as unknown what was claimed by a daemon that fell silent."""
        return await self._database.transact(sends.expire, limit=EXPIRY_BATCH)
