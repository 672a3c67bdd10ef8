"""The sends in flight: this daemon has claimed them and not settled them yet."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred

from sbm.model.durations import LeaseTime, RequestTimeout
from sbm.model.send import Send
from sbm.model.send_pause import PauseScope
from sbm.runtime.lease import LOST, Lease, uptime
from sbm.runtime.wakeups import Wakeup


@define(eq=False, kw_only=True)
class ClaimedSend:
    """A claimed send, and its lease.

    ``is_begun``: a POST may have been made. ``withheld`` says why none may begin any more.
    ``has_slot``: it has waited for its turn. ``leaves_until`` is when its hours end, by ``uptime``.
    """

    send: Send
    lease: Lease
    leaves_until: float = float("inf")
    is_begun: bool = False
    withheld: str = ""
    has_slot: bool = False
    work: Deferred[None] | None = None


@define(eq=False, slots=False, kw_only=True)
class InFlight:
    """The claims of one daemon: at most ``capacity`` of both lanes, and ``spare`` more single ones.

    Each is claimed and renewed for ``lease_time``. ``emptied`` is woken when no claim is left.
    """

    owner: uuid.UUID
    capacity: int
    spare: int
    lease_time: LeaseTime
    emptied: Wakeup
    uptime: Callable[[], float] = uptime
    held: dict[uuid.UUID, ClaimedSend] = field(factory=dict)
    _paused: Sequence[PauseScope] = ()
    _doubted_at: float = field(default=float("-inf"), init=False)

    @property
    def room(self) -> int:
        """How many more may be claimed; negative if single sends use the spare places."""
        return self.capacity - len(self.held)

    def take(self, send: Send, *, asked_at: float) -> ClaimedSend:
        """Hold a claim whose statement was sent at ``asked_at`` of ``uptime``."""
        held = ClaimedSend(send=send, lease=self._leased(asked_at))
        if send.leaves_for is not None:
            held.leaves_until = asked_at + send.leaves_for
        self._withhold(held)
        self.held[send.id] = held
        return held

    def renew(self, ids: set[uuid.UUID], *, asked_about: set[uuid.UUID], asked_at: float) -> None:
        """Note which of the leases ``asked_about`` were renewed; the others are lost."""
        for send_id in asked_about & self.held.keys():
            self.held[send_id].lease = self._leased(asked_at) if send_id in ids else LOST

    def withhold(self, paused: Sequence[PauseScope]) -> None:
        """Begin no POST for what is paused, and give it back; what has begun goes on."""
        self._paused = paused
        for held in list(self.held.values()):
            self._withhold(held)

    def _withhold(self, held: ClaimedSend) -> None:
        scope = next((one for one in self._paused if one.covers(held.send)), None)
        if scope is None or held.withheld:
            return
        held.withheld = f"{scope} is held back"
        if held.work is not None and not held.has_slot:
            held.work.cancel()  # it need not wait for its turn

    def doubt(self) -> None:
        """Begin no POST for the present claims before their leases are renewed.

        The database is on another server now, which may not have got them. Answers to what was
        asked before are of the former server.
        """
        self._doubted_at = self.uptime()
        for held in self.held.values():
            held.lease = LOST

    def _leased(self, asked_at: float) -> Lease:
        if asked_at < self._doubted_at:
            return LOST
        return Lease.asked_for(self.lease_time, at=asked_at)

    def obstacle(self, held: ClaimedSend, timeout: RequestTimeout) -> str:
        """Why no POST may begin now; empty: one may.

        It must not be withheld, its hours must not be over, and its lease has to cover a request
        with that timeout, and a second more.
        """
        now = self.uptime()
        if held.withheld:
            return held.withheld
        if now >= held.leaves_until:
            return "its hours are over"
        return "" if held.lease.outlasts(timeout, now=now) else "the lease was too short"

    def release(self, sends: Iterable[Send]) -> None:
        """Remove claims that are settled; a newer claim of the same send stays."""
        for send in sends:
            held = self.held.get(send.id)
            if held is not None and held.send.attempt == send.attempt:
                del self.held[send.id]
        if not self.held:
            self.emptied.wake()
