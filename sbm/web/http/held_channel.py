"""A connection that is read when it is its turn, and not while somebody holds it back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.web.http import HTTPChannel

# Holds a connection back until it is its turn.
_TURN = "turn to be read"


# What is only dropped is read in pieces of 64 KiB, each of which takes 60 µs. All connections
# together read one piece in so many seconds.
DROP_SECONDS = 0.0005


@define(eq=False, kw_only=True)
class Dropping:
    """Slows down the connections of which all that comes is dropped, the more the more send.

    ``reactor`` is its clock.
    """

    _reactor: Any
    _waiting: int = field(default=0, init=False)

    def dropped(self, go_on: Callable[[], None]) -> None:
        """A piece was dropped: go on when it is time for the next one."""
        self._waiting += 1
        self._reactor.callLater(DROP_SECONDS * self._waiting, self._go_on, go_on)

    def _go_on(self, go_on: Callable[[], None]) -> None:
        self._waiting -= 1
        go_on()


class HeldChannel(HTTPChannel):
    """An HTTP/1 connection; ``site`` knows whose turn it is to be read.

    ``host`` is the address of its client, and ``address`` is what it counts as; both are empty for
    a trusted proxy.
    """

    site: Any
    host = ""
    address = ""
    is_deaf = False
    is_lost = False

    _networkProducer: Any
    _unread = b""
    _is_secure = False
    _holders: set[object]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._holders = set()

    @property
    def waits_for_turn(self) -> bool:
        """Whether something has come that was not read yet."""
        return _TURN in self._holders

    @property
    def has_unsent(self) -> bool:
        """Whether the client has not yet taken what was written."""
        return bool(self._waitingForTransport)

    def connectionMade(self) -> None:
        super().connectionMade()  # type: ignore[no-untyped-call]
        self._is_secure = bool(super().isSecure())  # type: ignore[no-untyped-call]

    def isSecure(self) -> bool:
        """Whether it is a TLS connection; asked several times for each request."""
        return self._is_secure

    def connectionLost(self, reason: Any = None) -> None:
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        # A decoder refers to its connection. In a flood, such garbage would fill the memory.
        self._transferDecoder = None

    def dataReceived(self, data: bytes) -> None:
        """Read what has come, when it is the turn of this client; if it is deaf, drop it."""
        if self.is_deaf:
            self._networkProducer.pauseProducing()
            self.site.dropping.dropped(self._go_on_dropping)
            return
        self._unread += data
        if self.waits_for_turn:
            return
        if not self.site.lanes.of(self.host).do(self.address or self, self._read):
            self.hold(_TURN)

    def _read(self) -> None:
        if self.is_deaf or self.is_lost:
            return
        data, self._unread = self._unread, b""
        super().dataReceived(data)  # type: ignore[no-untyped-call]
        if self.waits_for_turn:
            self.release(_TURN)
            self.end_if_over()

    def _go_on_dropping(self) -> None:
        if not self.is_lost:
            self._networkProducer.resumeProducing()

    def end_if_over(self) -> None:
        """Close the connection of a client that sends no more, unless a request is in progress."""

    def hold(self, holder: object) -> None:
        """Pause reading until all holders have released."""
        if not self.is_deaf and not self.is_lost:
            self._holders.add(holder)
            self._networkProducer.pauseProducing()

    def release(self, holder: object) -> None:
        """Resume reading, unless there are other holders."""
        if holder in self._holders:
            self._holders.discard(holder)
            if not self._holders and not self.has_unsent and not self.is_lost:
                self._networkProducer.resumeProducing()

    def resumeProducing(self) -> None:
        super().resumeProducing()  # type: ignore[no-untyped-call]
        if self._holders:
            self._networkProducer.pauseProducing()
