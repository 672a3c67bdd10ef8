"""Lets operators see that the daemon lives, and what it knows."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from sbm.model.role import Role
from sbm.runtime.loop import Loop
from sbm.store import daemons
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import DatabaseUnavailable
from sbm.store.postgres.storable import storable
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry

BEAT_SECONDS = 2.0


@define(eq=False, slots=False, kw_only=True)
class Heartbeat(Service):
    """Writes the daemon's row every few seconds, and deletes it when the daemon stops.

    Once, it deletes the rows of daemons that were killed long ago.
    """

    _reactor: Any
    _database: Database
    _telemetry: Telemetry
    _daemon: UUID
    _role: Role
    _version: str
    _commit: str
    _since: datetime = field(factory=lambda: datetime.now(timezone.utc))
    _has_cleaned: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._loop = Loop(
            reactor=self._reactor,
            name="heartbeat",
            one_pass=self.one_pass,
            rest=BEAT_SECONDS,
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
        with suppress(DatabaseUnavailable):
            await self._database.transact(daemons.forget, id=self._daemon)

    async def one_pass(self) -> int:
        """Write the row once."""
        await self._database.transact(self._record)
        if not self._has_cleaned:
            await self._database.transact(daemons.forget_dead)
            self._has_cleaned = True
        return 0

    async def _record(self, transaction: Transaction) -> None:
        gate = self._telemetry.gate
        await daemons.record(
            transaction,
            id=self._daemon,
            role=self._role,
            version=self._version,
            commit=self._commit,
            host=storable(socket.gethostname()),
            pid=os.getpid(),
            since=self._since,
            pause="" if gate is None else storable(gate.reason),
            services={
                name: {
                    "is_away": service.is_probing,
                    "reason": storable(service.reason),
                    "next_try": _moment(service.wait) if service.is_probing else None,
                }
                for name, service in self._telemetry.services.items()
            },
        )


def _moment(wait: timedelta) -> str:
    return (datetime.now(timezone.utc) + wait).isoformat(timespec="seconds")
