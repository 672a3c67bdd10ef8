"""Who is read next, if more has come than there is time for.

In each of its turns, the reactor reads from all connections that have sent something. While a flood
comes, such a turn is long, and a light request needs several: one for each step of its work. So the
time for reading is bounded in each turn. What has no time left waits for the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field

from sbm.runtime.fair_turns import FairTurns


@define(eq=False, kw_only=True)
class ReadingLanes:
    """One lane for clients with whom somebody has proved who they are, and one for strangers.

    ``knows`` says whether the client at an address is of the first kind.
    """

    _reactor: Any
    _knows: Callable[[str], bool]
    _known: FairTurns = field(init=False)
    _strange: FairTurns = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._known = FairTurns(reactor=self._reactor)
        self._strange = FairTurns(reactor=self._reactor)

    def knows(self, address: str) -> bool:
        """Whether a client is known; without an address, it is a proxy that is trusted."""
        return not address or self._knows(address)

    def of(self, address: str) -> FairTurns:
        """The lane of a client."""
        return self._known if self.knows(address) else self._strange
