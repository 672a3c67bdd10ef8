"""The connections of a site: how many there may be, and which one makes room for another."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Set
from typing import Any, Protocol

from attrs import define, field

from sbm.web.http.connection_limits import Limits, Phase

# For so long, it is not looked again which connections may be closed.
FOUND_SECONDS = 0.02


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
    is_told_to_wait: bool

    @property
    def is_working(self) -> bool: ...

    @property
    def is_to_be_read(self) -> bool: ...

    @property
    def is_left(self) -> bool: ...

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

    _found: dict[tuple[str, bool], list[Crowded]] = field(factory=dict, init=False)
    # How many were closed for each address, since then.
    _replaced: Counter[str] = field(factory=Counter, init=False)
    _replaced_since: float = field(default=0.0, init=False)

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
        if not self._has_room(host, address, address, self._own(address), limits.of_address):
            crowded = "connections-of-address"
        elif not self._has_room(host, address, "usual", self._usual, self._most(host)):
            crowded = "connections"
        if crowded and not self._has_room(host, address, "spare", self._spare, limits.spare):
            raise Full(crowded)
        return crowded

    def has_place(self, host: str, address: str) -> bool:
        """Whether there is room for one more that closes none and is no spare one."""
        own = self._own(address)
        return len(own) < self._limits.of_address and len(self._usual) < self._most(host)

    def has_room_for_probe(self) -> bool:
        """Whether there is room for a probe if all spare connections are busy."""
        return len(self._spare) < 2 * self._limits.spare

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

    def _own(self, address: str) -> Set[Crowded]:
        return self._of_address.get(address, frozenset()) if address else frozenset()

    def _has_room(
        self, host: str, address: str, name: str, counted: Set[Crowded], most: int
    ) -> bool:
        """Whether one more of these may come from a host; if need be, one of them is closed.

        ``name`` is what these are called. A stranger whose request was not read yet makes room for
        a client who is known.
        """
        if len(counted) < most:
            return True
        is_known = self._knows(host)
        may_close = self._may_close(name, counted, is_known=is_known)
        while may_close:
            one = may_close[-1]
            # A stranger who comes again cannot close one of a known client, so this has an end.
            is_limited = not is_known or self._knows(one.host)
            if is_limited and not self._may_replace(address):
                return False
            may_close.pop()
            if one in counted and self._makes_room(one, is_known=is_known):
                self._replaced[address] += is_limited
                self.forget(one)
                one.abandon("connections")
                return True
        return False

    def _may_replace(self, address: str) -> bool:
        """Whether few connections of others were closed for this address lately.

        Whoever was closed comes again at once, perhaps, and would close another one.
        """
        now = self._reactor.seconds()
        if now >= self._replaced_since + self._limits.replace_seconds:
            self._replaced.clear()
            self._replaced_since = now
        return not address or self._replaced[address] < self._limits.replaced

    def _may_close(self, name: str, counted: Set[Crowded], *, is_known: bool) -> list[Crowded]:
        """Those that make room, the first one last.

        They are looked for once in a while: hundreds may come in one turn of the reactor.
        """
        key = name, is_known
        if not self._found:
            self._reactor.callLater(FOUND_SECONDS, self._found.clear)
        if key not in self._found:
            self._found[key] = sorted(
                (one for one in counted if self._makes_room(one, is_known=is_known)),
                key=lambda one: (self._is_kept(one, is_known=is_known), self._rank(one)),
                reverse=True,
            )
        return self._found[key]

    def _makes_room(self, one: Crowded, *, is_known: bool) -> bool:
        """Whether a connection may be closed for that of a client who is known, or a stranger."""
        if is_known and one.is_to_be_read and not self._knows(one.host):
            return True
        return not self._is_kept(one, is_known=is_known)

    def _is_kept(self, one: Crowded, *, is_known: bool) -> bool:
        """Whether a connection is in use, or will perhaps be used at once.

        A client whom we told to come again later does not use it now, nor does one who has gone.
        """
        if one.is_working or one.is_told_to_wait or one.is_left:
            return one.is_working
        age = float(self._reactor.seconds()) - one.since
        if not is_known and self._knows(one.host):
            return one.is_new or age < self._limits.known_seconds
        return age < self._limits.new_seconds and one.phase is not Phase.CLOSING

    def _rank(self, one: Crowded) -> tuple[bool, bool, Phase, float]:
        """The connection with the lowest one is closed first.

        It is that of a client who was told to wait, or that of a stranger, if there is one.

        One that has sent nothing counts as one that sends.
        """
        is_new = one.phase is Phase.IDLE and one.is_new
        phase = Phase.HEADERS if is_new else one.phase
        return not one.is_told_to_wait, self._knows(one.host), phase, one.since
