"""Stores when tokens were used, and warns of a Scheduler's token that a user has, too."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sbm.runtime.loop import Loop
from sbm.runtime.token_uses import TokenUses
from sbm.store import users
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import DatabaseUnavailable

STORE_SECONDS = 60.0


@define(eq=False, slots=False, kw_only=True)
class TokenUpkeep(Service):
    """Stores the uses of tokens each minute, all together, and the last ones when it stops.

    Once, it looks whether a user has one of the ``scheduler_tokens`` as a token: then whoever reads
    it in the Scheduler can do what that user may.
    """

    _reactor: Any
    _database: Database
    _uses: TokenUses
    _scheduler_tokens: Sequence[str] = field(repr=False)
    _log: Logger = field(factory=Logger)
    _has_looked: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._loop = Loop(
            reactor=self._reactor,
            name="store the uses of tokens",
            one_pass=self.one_pass,
            rest=STORE_SECONDS,
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
            await self._store()

    async def one_pass(self) -> int:
        """Store the uses since the last pass."""
        if not self._has_looked:
            await self._look_for_owners()
            self._has_looked = True
        await self._store()
        return 0

    async def _store(self) -> None:
        taken = self._uses.take()
        if not taken:
            return
        now = self._reactor.seconds()
        seconds_ago = {one: max(now - used_at, 0.0) for one, used_at in taken.items()}
        try:
            await self._database.transact(users.note_uses, seconds_ago=seconds_ago)
        except BaseException:
            self._uses.put_back(taken)
            raise

    async def _look_for_owners(self) -> None:
        if not self._scheduler_tokens:
            return
        owners = await self._database.transact(users.list_owners, tokens=self._scheduler_tokens)
        if owners:
            self._log.warn(
                "SCHEDULER_INBOUND_API_TOKEN is also a token of {owners}: whoever has it can do"
                " what they may. Give the Scheduler a token of its own.",
                owners=", ".join(owners),
            )
