"""The database for work that a daemon does by itself, and that waits while the gate is closed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from attrs import define

from sbm.runtime.work_gate import Gate
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction

P = ParamSpec("P")
T = TypeVar("T")


class Transactions(Protocol):
    """Runs transactions: a ``Database``, or an object that admits only some of them."""

    @property
    def reactor(self) -> Any:
        """The reactor that it uses."""

    async def transact(
        self,
        work: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``work(transaction, …)`` in a transaction and commit."""


@define(eq=False, slots=False, kw_only=True)
class GatedDatabase:
    """Runs transactions of a database while a gate is open; raises GateClosed otherwise."""

    _database: Database
    _gate: Gate

    @property
    def reactor(self) -> Any:
        """The reactor of the database."""
        return self._database.reactor

    async def transact(
        self,
        work: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``work(transaction, …)`` if the gate is open for the server of the transaction."""

        async def admitted(transaction: Transaction) -> T:
            self._gate.admit(transaction.server and transaction.server.state)
            return await work(transaction, *args, **kwargs)

        return await self._database.transact(admitted)
