"""Long work on the reactor, cut into slices, so that other work can run in between."""

from __future__ import annotations

from typing import Any

from attrs import define
from twisted.internet.task import deferLater

# Well below what a client notices, and well above what the cut itself costs.
SECONDS = 0.003


@define(eq=False, slots=False, kw_only=True)
class TimeSlice:
    """The slices of one piece of work, measured by the reactor's clock.

    The worker asks often whether its slice is over, and if so, awaits its next turn.
    """

    _reactor: Any

    def __attrs_post_init__(self) -> None:
        self._began: float = self._reactor.seconds()

    @property
    def is_over(self) -> bool:
        """Whether this slice has held the reactor long enough."""
        return bool(self._reactor.seconds() - self._began >= SECONDS)

    async def next_turn(self) -> None:
        """Let the reactor do other work first."""
        await deferLater(self._reactor, 0)
        self._began = self._reactor.seconds()
