"""The gate in front of all work that a daemon does by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import define, field, frozen

from sbm.runtime.already_logged import AlreadyLogged


class GateClosed(AlreadyLogged):
    """The gate is closed; the reason was logged when it closed."""


class Gate(Protocol):
    """A gate, or a part of it for some of the work."""

    @property
    def is_open(self) -> bool:
        """Whether this work may be done."""

    def admit(self, server: object) -> None:
        """Refuse a transaction while it is closed; raises GateClosed."""


@define(eq=False, slots=False, kw_only=True)
class WorkGate:
    """Closed until the database was judged, and during pauses.

    ``pauses`` are the reasons of the pauses, each with what to do. ``waiting`` says why the
    database was not judged yet, if there is a reason. Meanwhile, ``ticks`` may be open already.
    """

    is_judged: bool = False
    pauses: Sequence[str] = ("the database was not looked at yet",)
    waiting: str = ""
    _may_tick: bool = False
    _server: object = field(default=None, init=False)

    @classmethod
    def opened(cls) -> WorkGate:
        """A gate that is open."""
        return cls(is_judged=True, pauses=())

    @property
    def is_open(self) -> bool:
        """Whether the daemon may work."""
        return self.is_judged and not self.pauses

    @property
    def ticks(self) -> TickGate:
        """The part of the gate for opening and expanding ticks."""
        return TickGate(gate=self)

    @property
    def may_tick(self) -> bool:
        """Whether ticks may be opened and expanded."""
        return (self.is_judged or self._may_tick) and not self.pauses

    @property
    def reason(self) -> str:
        """Why it is closed, and what to do; empty if it is open, or will soon be."""
        return "" if self.is_open else "; ".join(filter(None, (self.waiting, *self.pauses)))

    def let_tick(self, server: object) -> None:
        """Open the gate for the ticks of a server that is still to be judged."""
        self._may_tick, self._server = True, server

    def judge(self, server: object) -> None:
        """The database of this server may be worked with; None: it does not say which one it is."""
        self.is_judged, self._server, self.waiting = True, server, ""

    def doubt(self) -> None:
        """The database has to be judged again."""
        self.is_judged = self._may_tick = False

    def admit(self, server: object) -> None:
        """Refuse a transaction while the gate is closed, or if its server was not judged yet.

        Raises GateClosed. After a failover, no transaction comes before the judgement of the new
        server, even if this transaction is the first on a connection to it.
        """
        self.note(server)
        if not self.is_open:
            raise GateClosed(self.reason)

    def note(self, server: object) -> None:
        """Close the gate if another server than the one that was judged has been met."""
        if self._server is not None and server is not None and server != self._server:
            self.doubt()


@frozen(kw_only=True)
class TickGate:
    """The gate for ticks: it is open while the daemon waits for the Message Sender.

    Sends that are owed by mistake do no harm before they are claimed, but a tick that is not opened
    in time is missed.
    """

    _gate: WorkGate

    @property
    def is_open(self) -> bool:
        """Whether ticks may be opened and expanded."""
        return self._gate.may_tick

    def admit(self, server: object) -> None:
        """Refuse a transaction as ``WorkGate.admit`` does."""
        self._gate.note(server)
        if not self.is_open:
            raise GateClosed(self._gate.reason)
