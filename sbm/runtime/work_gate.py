"""The gate in front of all work that a daemon does by itself."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from sbm.runtime.already_logged import AlreadyLogged


class GateClosed(AlreadyLogged):
    """The gate is closed; the reason was logged when it closed."""


@define(eq=False, slots=False, kw_only=True)
class WorkGate:
    """Closed until the database was looked at, and during pauses.

    ``pauses`` are the reasons of the pauses, each with what to do. ``waiting`` says why the
    database was not judged yet, if there is a reason. ``server`` is the server that was judged;
    None: it does not say which one it is.
    """

    is_judged: bool = False
    pauses: Sequence[str] = ("the database was not looked at yet",)
    waiting: str = ""
    server: object = field(default=None, init=False)

    @classmethod
    def opened(cls) -> WorkGate:
        """A gate that is open."""
        return cls(is_judged=True, pauses=())

    @property
    def is_open(self) -> bool:
        """Whether the daemon may work."""
        return self.is_judged and not self.pauses

    @property
    def reason(self) -> str:
        """Why it is closed, and what to do; empty if it is open, or will soon be."""
        return "" if self.is_open else "; ".join(filter(None, (self.waiting, *self.pauses)))

    def judge(self, server: object) -> None:
        """The database of this server may be worked with."""
        self.is_judged, self.server, self.waiting = True, server, ""

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
        if self.server is not None and server is not None and server != self.server:
            self.is_judged = False
