"""Opens and closes the gate in front of the daemon's work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sbm.model.hold import HeldTick
from sbm.model.installation import Installation
from sbm.model.pause import Pause
from sbm.model.send_pause import PauseScope, SendPause
from sbm.pipeline.continuity import Continuity
from sbm.pipeline.mark_file import MarkFile
from sbm.runtime.lease import uptime
from sbm.runtime.loop import Loop
from sbm.runtime.wakeups import Wakeup
from sbm.runtime.work_gate import WorkGate
from sbm.store import installation, pauses, send_pauses, watched_ticks
from sbm.store.postgres.connection import Server
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import DatabaseUnavailable
from sbm.store.postgres.gated import GatedDatabase
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry

LOOK_SECONDS = 1.0

# How soon to look again while a pause of sends is not in force yet.
PAUSING_SECONDS = 0.2

PAUSED_BY_SETTING = (
    "SBM_PAUSED is set: run `sbm resume`, or start the daemon without it, to let it work"
)


def hold_nothing(_paused: Sequence[PauseScope]) -> None:
    """A daemon that sends nothing has nothing to withhold."""


@frozen(kw_only=True)
class Look:
    """What one look at the database has found; ``is_resumed``: the pause by setting has ended.

    ``pauses`` are those of this daemon, ``of_sends`` those that a person began, and ``held`` are
    the ticks that wait for a person.
    """

    pauses: list[Pause]
    of_sends: list[SendPause]
    held: list[HeldTick]
    installation: Installation
    server: Server | None
    is_resumed: bool


@define(eq=False, slots=False, kw_only=True)
class PauseWatch(Service):
    """Looks for pauses every second, and has the database judged before the gate opens.

    Without ``continuity``, it only looks. ``is_paused``: SBM_PAUSED is set. ``opened`` is called
    when the gate opens, and when a pause of sends has ended. Results of sends that are under way do
    not pass the gate: they are settled in any case.

    A pause of sends does not close the gate. ``withhold`` is called with what is paused, and gives
    back what this daemon has not begun. Then the pause is in force as soon as no daemon has a send
    of it in hand; whichever daemon finds that first says so.
    """

    _reactor: Any
    _database: Database
    _gate: WorkGate
    _continuity: Continuity | None
    _wakeup: Wakeup
    _daemon: UUID
    _is_paused: bool
    _opened: Callable[[], None]
    _withhold: Callable[[Sequence[PauseScope]], None] = hold_nothing
    _telemetry: Telemetry = field(factory=Telemetry)
    _uptime: Callable[[], float] = uptime
    _log: Logger = field(factory=Logger)
    _told: str | None = field(default=None, init=False)
    _held: dict[int, HeldTick] = field(factory=dict, init=False)
    # When each pause of sends was first seen, by ``uptime``.
    _first_seen: dict[int, float] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._loop = Loop(
            reactor=self._reactor,
            name="look for pauses",
            one_pass=self.one_pass,
            rest=LOOK_SECONDS,
            wakeup=self._wakeup,
            may_be_cut=True,
        )

    def startService(self) -> None:
        Service.startService(self)
        self._loop.startService()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        stopped = self._loop.stopService()
        if stopped is not None:
            await stopped
        if self._is_paused:
            with suppress(DatabaseUnavailable):
                await self._database.transact(pauses.forget_setting, daemon=self._daemon)

    async def one_pass(self) -> int:
        """Look once, and judge the database if that was not done for its present server."""
        look = await self._look()
        # A pause keeps the time at which the daemons last worked: it is the time of the dump.
        if self._continuity is not None and not self._gate.is_judged and not look.pauses:
            await self._continuity.judge()
            look = await self._look()
        self._tell()
        self._withhold(
            [
                *(pause.scope for pause in look.of_sends),
                *(PauseScope(tick_id=tick.tick_id) for tick in look.held),
            ]
        )
        self._tell_held(look.held)
        return await self._pause_sends(look.of_sends)

    def _tell_held(self, held: Sequence[HeldTick]) -> None:
        """Log which ticks are held back, or were released."""
        before, self._held = self._held, {tick.tick_id: tick for tick in held}
        self._telemetry.held_ticks = held
        for tick_id, tick in self._held.items():
            if tick_id not in before:
                self._log.warn("{tick}: `sbm release {id}` lets it go on", tick=tick, id=tick_id)
        if before.keys() - self._held.keys():
            self._opened()

    async def _pause_sends(self, pauses: Sequence[SendPause]) -> int:
        """Put the pauses in force of which nothing is in hand."""
        self._telemetry.send_pauses = pauses
        now = self._uptime()
        for pause in pauses:
            if pause.id not in self._first_seen:
                self._log.warn(
                    "{scope} is paused by {actor}: {reason}",
                    scope=str(pause.scope),
                    actor=pause.paused_by,
                    reason=pause.reason,
                )
        ended = self._first_seen.keys() - {pause.id for pause in pauses}
        self._first_seen = {pause.id: self._first_seen.get(pause.id, now) for pause in pauses}
        if ended:
            self._log.info("{count} pauses of sends have ended", count=len(ended))
            self._opened()
        pausing = [pause.id for pause in pauses if pause.state == "pausing"]
        if not pausing:
            return 0
        await self._database.transact(
            send_pauses.finish,
            seen_for={one: timedelta(seconds=now - self._first_seen[one]) for one in pausing},
        )
        await deferLater(self._reactor, PAUSING_SECONDS)
        return 1

    async def _look(self) -> Look:
        # Before the look, because the beat grows meanwhile.
        seen = None if self._continuity is None else self._continuity.mark
        look = await self._database.transact(self._read)
        if look.is_resumed:
            self._is_paused = False
        self._gate.note(look.server and look.server.state)
        if seen is not None and (
            seen.installation_id != look.installation.id or seen.beat > look.installation.beat
        ):
            self._gate.doubt()
        self._gate.pauses = tuple(pause.reason for pause in look.pauses)
        return look

    async def _read(self, transaction: Transaction) -> Look:
        is_resumed = self._is_paused and await pauses.hold_by_setting(
            transaction, daemon=self._daemon, reason=PAUSED_BY_SETTING
        )
        return Look(
            pauses=await pauses.list_concerning(transaction, daemon=self._daemon),
            of_sends=await send_pauses.list_open(transaction),
            held=await watched_ticks.list_held(transaction),
            installation=await installation.read(transaction),
            server=transaction.server,
            is_resumed=is_resumed,
        )

    def _tell(self) -> None:
        """Log why the gate is closed, or that it is open, if that is new."""
        state = "" if self._gate.is_open else "; ".join(self._gate.pauses)
        if state == self._told:
            return
        if state:
            self._log.warn("paused: {reason}", reason=state)
        elif self._gate.is_open:
            if self._told:
                self._log.info("the pause has ended: the daemon works")
            self._opened()
        else:
            return  # it waits for the Message Sender, which was logged
        self._told = state


@define(eq=False, slots=False, kw_only=True)
class DatabaseBeat:
    """Lets the beat of the database grow while the daemon works, and keeps it beside the daemon."""

    _database: GatedDatabase
    _continuity: Continuity
    _mark_file: MarkFile

    async def one_pass(self) -> int:
        """One beat; it is kept after its commit, so no database that keeps commits is behind it."""
        mark = await self._database.transact(installation.advance)
        if mark is not None:
            self._continuity.mark = mark
            await self._mark_file.keep(mark)
        return 0
