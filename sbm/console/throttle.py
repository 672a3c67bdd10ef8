"""Slows down whoever guesses passwords, by name and by address."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import ip_address, ip_network
from typing import Any

from attrs import define, field

# So many failures are free; then each doubles the wait, up to the longest.
FREE = 5
FIRST_WAIT = 2.0
LONGEST_WAIT = 900.0

# The oldest are forgotten, so that a flood of names does not fill the memory.
MOST = 10_000
_MAX_NAME = 150


@define(eq=False, kw_only=True)
class Throttle:
    """The attempts of each name and address; ``reactor`` is its clock.

    The attempts for a name count wherever they come from. But where a user has logged in before,
    only the attempts from there count: else anybody could keep a user out by guessing.
    """

    _reactor: Any
    _attempts: OrderedDict[str, tuple[int, float]] = field(factory=OrderedDict, init=False)
    _known: OrderedDict[tuple[str, str], None] = field(factory=OrderedDict, init=False)

    def begin(self, name: str, address: str) -> float:
        """Count an attempt, and return 0; or how many seconds to wait before it, if it is too soon.

        It counts before it is known whether the password is right: else many attempts at once would
        all be free.
        """
        keys = self._keys(name, address)
        wait = max(self._wait(key) for key in keys)
        if wait:
            return wait
        for key in keys:
            count, _ = self._attempts.pop(key, (0, 0.0))
            self._attempts[key] = count + 1, self._now()
        _forget_oldest(self._attempts)
        return 0.0

    def succeed(self, name: str, address: str) -> None:
        """The attempt was right: it does not count, nor do earlier ones for the name."""
        for key in self._keys(name, address):
            count, at = self._attempts.pop(key, (0, 0.0))
            if key.startswith("address") and count > 1:
                self._attempts[key] = count - 1, at
        self._known.pop(_pair(name, address), None)
        self._known[_pair(name, address)] = None
        _forget_oldest(self._known)

    def _wait(self, key: str) -> float:
        count, at = self._attempts.get(key, (0, 0.0))
        if count < FREE:
            return 0.0
        wait = min(FIRST_WAIT * 2.0 ** min(count - FREE, 20), LONGEST_WAIT)
        return max(0.0, at + wait - self._now())

    def _keys(self, name: str, address: str) -> tuple[str, str]:
        name, network = _pair(name, address)
        # A space is in no address.
        where = f" {network}" if (name, network) in self._known else ""
        return f"name{where} {name}", f"address {network}"

    def _now(self) -> float:
        return float(self._reactor.seconds())


def _pair(name: str, address: str) -> tuple[str, str]:
    return name[:_MAX_NAME].casefold(), _network(address)


def _network(address: str) -> str:
    """The address; of IPv6, what one subscriber of a provider usually has of it."""
    if ":" not in address:
        return address
    return str(ip_network((ip_address(address), 64), strict=False))


def _forget_oldest(known: OrderedDict[Any, Any]) -> None:
    while len(known) > MOST:
        known.popitem(last=False)
