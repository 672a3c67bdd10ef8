"""Slows down whoever guesses passwords, by name and by address."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from attrs import define, field

# So many failures are free; then each doubles the wait, up to the longest.
FREE = 5
FIRST_WAIT = 2.0
LONGEST_WAIT = 900.0

# The oldest are forgotten, so that a flood of names does not fill the memory.
MOST = 10_000


@define(eq=False, kw_only=True)
class Throttle:
    """The failures of each name and address; ``reactor`` is its clock."""

    _reactor: Any
    _failures: OrderedDict[str, tuple[int, float]] = field(factory=OrderedDict, init=False)

    def wait(self, *keys: str) -> float:
        """How many seconds to wait until the next try of these; 0: none."""
        return max(0.0, *(self._wait(key) for key in keys))

    def _wait(self, key: str) -> float:
        count, at = self._failures.get(key, (0, 0.0))
        if count < FREE:
            return 0.0
        wait = min(FIRST_WAIT * 2.0 ** min(count - FREE, 20), LONGEST_WAIT)
        return max(0.0, at + wait - float(self._reactor.seconds()))

    def fail(self, *keys: str) -> None:
        """Note a failure of these."""
        for key in keys:
            count, _ = self._failures.pop(key, (0, 0.0))
            self._failures[key] = count + 1, float(self._reactor.seconds())
        while len(self._failures) > MOST:
            self._failures.popitem(last=False)

    def succeed(self, key: str) -> None:
        """Forget the failures of a name; those of an address stay."""
        self._failures.pop(key, None)
