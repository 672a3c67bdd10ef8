"""Reads from the Message Sender whether what was sent was delivered."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime, timedelta

from attrs import define, evolve, field, frozen
from twisted.logger import Logger

from sbm.clients.links import PageLimits
from sbm.clients.message_sender import MessageSender, OutboundPage
from sbm.clients.outcomes import CannotBeAsked, TooManyPages, Unavailable
from sbm.model.delivery import LOOKS, DeliveryLook
from sbm.pipeline.breaker import Breaker
from sbm.store import deliveries
from sbm.store.postgres.database import Database
from sbm.store.postgres.gated import GatedDatabase
from sbm.telemetry import Telemetry

# The pause between two passes, each of which reads a page at most.
PAGE_SECONDS = 1.0

# When all was read, it is asked again after so long.
REST = timedelta(minutes=1)

# Another daemon takes over so long after the last page.
SPARE = timedelta(minutes=2)

# A service without the list, or with one that does not go on, is asked again so much later.
MISSING = timedelta(hours=1)

# After so much, the list is asked for again, from the stored place on.
PAGES = PageLimits(pages=1000, rows=2_000_000, time=timedelta(hours=2))


@define(eq=False, slots=False, kw_only=True)
class DeliveryReader:
    """Looks at each outbound after some time: ``delays`` says after how long, for each look.

    One daemon does it at a time, under a lease of the place in the list, and reads a page in each
    pass. The place is stored with what the page says, so a daemon that stops loses nothing. A page
    that is read again changes nothing.
    """

    _database: Database | GatedDatabase
    _message_sender: MessageSender
    _breaker: Breaker
    _delays: Mapping[DeliveryLook, timedelta]
    _telemetry: Telemetry
    _lease: timedelta
    _owner: uuid.UUID = field(factory=uuid.uuid4)
    _log: Logger = field(factory=Logger)
    _readings: dict[DeliveryLook, _Reading] = field(factory=dict, init=False)
    _turn: int = field(default=0, init=False)

    async def one_pass(self) -> int:
        """Read one page, of each look in turn; there is always a rest before the next one."""
        looks = [look for look in LOOKS if look in self._delays]
        if not looks or self._breaker.is_open:
            return 0
        look = looks[self._turn % len(looks)]
        self._turn += 1
        reading = self._readings.get(look)
        if reading is None:
            reading = await self._begin(look)
        if reading is not None:
            await self._read(look, reading, is_final=look == looks[-1])
        return 0

    async def _begin(self, look: DeliveryLook) -> _Reading | None:
        place = await self._database.transact(
            deliveries.take_place,
            look=look,
            owner=self._owner,
            after=self._delays[look],
            lease=self._lease,
        )
        if place is None:
            return None
        reading = _Reading(
            pages=self._message_sender.outbounds_between(place.since, place.until, limits=PAGES),
            since=place.since,
            until=place.since,
            end=place.until,
        )
        self._readings[look] = reading
        return reading

    async def _read(self, look: DeliveryLook, reading: _Reading, *, is_final: bool) -> None:
        # Begun again from the stored place, unless this pass succeeds.
        del self._readings[look]
        try:
            page = await anext(reading.pages, None)
        except CannotBeAsked as error:
            self._log.warn("deliveries cannot be read: {error}", error=str(error))
            await self._leave(look, MISSING)
            return
        except TooManyPages as error:
            if reading.until == reading.since:  # it would be the same from the stored place on
                self._log.warn("deliveries cannot be read: {error}", error=str(error))
                await self._leave(look, MISSING)
            return
        except Unavailable as error:
            self._breaker.fail(error)
            return
        self._breaker.succeed()
        if page is None:
            self._tell(look, reading.end)
            await self._leave(look, REST)
            return
        until = max(page.until, reading.until)
        noted = await self._database.transact(
            deliveries.note,
            look=look,
            owner=self._owner,
            lease=self._lease,
            until=until,
            outbounds=page.own,
            is_final=is_final,
        )
        if noted is None:
            return  # another daemon goes on from the stored place
        self._telemetry.count("deliveries.noted", noted)
        self._tell(look, until)
        self._readings[look] = evolve(reading, until=until)

    def _tell(self, look: DeliveryLook, until: datetime) -> None:
        self._telemetry.gauge("deliveries.read_until", until.timestamp(), look=look)

    async def _leave(self, look: DeliveryLook, rest: timedelta) -> None:
        await self._database.transact(
            deliveries.leave_place, look=look, owner=self._owner, rest=rest
        )


@frozen(kw_only=True)
class _Reading:
    """The pages of one look from ``since`` on, the time until which all was read, and its end."""

    pages: AsyncGenerator[OutboundPage, None]
    since: datetime
    until: datetime
    end: datetime
