"""The connections of a site: how many there may be, and which one makes room for another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, field

from sbm.web.http.connection_limits import Limits, Phase


class Full(Exception):
    """There are too many connections; its argument says which limit was reached."""


class Crowded(Protocol):
    """What is known of a connection."""

    host: str
    address: str
    crowded: str
    phase: Phase
    since: float
    is_new: bool

    @property
    def is_working(self) -> bool: ...

    @property
    def is_to_be_read(self) -> bool: ...

    def abandon(self, cause: str) -> None: ...

    def retire(self) -> None: ...


@define(eq=False, kw_only=True)
class Crowd:
    """All connections.

    ``reactor`` is its clock. ``knows`` says whether a client is known, by its address.
    """

    _reactor: Any
    _limits: Limits
    _knows: Callable[[str], bool]
    _usual: set[Crowded] = field(factory=set, init=False)
    _spare: set[Crowded] = field(factory=set, init=False)
    _of_address: dict[str, set[Crowded]] = field(factory=lambda: defaultdict(set), init=False)

    _found: dict[tuple[int, bool], list[Crowded]] = field(factory=dict, init=False)

    def __bool__(self) -> bool:
        return bool(self._usual or self._spare)

    @property
    def all(self) -> list[Crowded]:
        """All connections."""
        return [*self._usual, *self._spare]

    def make_room(self, host: str, address: str) -> str:
        """Make room for one more connection, from this host, which counts as this address.

        Returns which limit it exceeds, if it is a spare one. If these are busy, too, raises Full.
        """
        limits = self._limits
        crowded = ""
        own = self._of_address.get(address, set()) if address else set()
        if not self._has_room(host, own, limits.of_address):
            crowded = "connections-of-address"
        elif not self._has_room(host, self._usual, self._most(host)):
            crowded = "connections"
        if crowded and not self._has_room(host, self._spare, limits.spare):
            raise Full(crowded)
        return crowded

    def add(self, one: Crowded) -> None:
        """Count a new connection."""
        if one.crowded:
            self._spare.add(one)
            return
        self._usual.add(one)
        if one.address:
            self._of_address[one.address].add(one)

    def forget(self, one: Crowded) -> None:
        """Do not count a connection any more."""
        self._usual.discard(one)
        self._spare.discard(one)
        own = self._of_address.get(one.address, set())
        own.discard(one)
        if not own:
            self._of_address.pop(one.address, None)

    def _most(self, host: str) -> int:
        """How many there may be for this client: some are left to those who are known."""
        limits = self._limits
        return limits.connections + (limits.left if self._knows(host) else 0)

    def _has_room(self, host: str, counted: set[Crowded], most: int) -> bool:
        """Whether one more of these may come from a host; if need be, one of them is closed.

        A stranger whose request was not read yet makes room for a client who is known.
        """
        if len(counted) < most:
            return True
        is_known = self._knows(host)
        may_close = self._may_close(counted, is_known=is_known)
        while may_close:
            one = may_close.pop()
            if one in counted and not (one.is_working and not one.is_to_be_read):
                self.forget(one)
                one.abandon("connections")
                return True
        return False

    def _may_close(self, counted: set[Crowded], *, is_known: bool) -> list[Crowded]:
        """Those that make room, the first one last.

        They are looked for once in a turn of the reactor: many may come in one.
        """
        key = id(counted), is_known
        if not self._found:
            self._reactor.callLater(0, self._found.clear)
        if key not in self._found:
            resting = [one for one in counted if not self._is_kept(one, is_known=is_known)]
            unread = [
                one
                for one in counted
                if is_known and one.is_to_be_read and not self._knows(one.host)
            ]
            self._found[key] = [
                *sorted(unread, key=self._rank, reverse=True),
                *sorted(resting, key=self._rank, reverse=True),
            ]
        return self._found[key]

    def _is_kept(self, one: Crowded, *, is_known: bool) -> bool:
        """Whether a connection is in use, or its first request may have come unread.

        Strangers never close a connection of the second kind of a client who is known.
        """
        if one.is_working or not one.is_new:
            return one.is_working
        age = float(self._reactor.seconds()) - one.since
        return age < self._limits.new_seconds or (not is_known and self._knows(one.host))

    def _rank(self, one: Crowded) -> tuple[bool, Phase, float]:
        """The connection with the lowest one is closed first: that of a stranger, if there is one.

        One that has sent nothing counts as one that sends.
        """
        is_new = one.phase is Phase.IDLE and one.is_new
        return self._knows(one.host), Phase.HEADERS if is_new else one.phase, one.since
