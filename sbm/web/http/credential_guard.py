"""Stands before the look-up of credentials, so that guessing costs the guesser more than us.

Credentials that were refused some seconds ago are refused again without the database, and an
address that has sent many wrong ones waits. Credentials that were right a while ago are looked up
in any case: whoever shares an address with a guesser goes on.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, TypeVar

from attrs import define, field, frozen

from sbm.web.http.http_errors import TooManyGuesses, Unauthenticated

# For how many seconds the same credentials are refused, or known to have been right.
REFUSED_SECONDS = 5.0
RIGHT_SECONDS = 600.0

# So many wrong ones an address may send at once; then one in so many seconds.
FREE = 100
SECONDS_EACH = 0.5

# The oldest are forgotten, so that a flood does not fill the memory.
MOST = 10_000

_Key = TypeVar("_Key", bound=Hashable)


@frozen(kw_only=True)
class _Bucket:
    """How many wrong ones an address could send at a moment."""

    left: float
    at: float


@frozen(kw_only=True)
class _WrongCredentials:
    """When credentials were refused, and in which words.

    Not the error itself: whenever it is raised, it keeps what the frames on its way hold.
    """

    at: float
    detail: str
    kind: str


@define(eq=False, kw_only=True)
class CredentialGuard:
    """What this process knows of credentials; ``reactor`` is its clock.

    Credentials are known by a digest with a key that ends with the process.
    """

    _reactor: Any
    _key: bytes = field(factory=lambda: secrets.token_bytes(32), init=False, repr=False)
    _refused: OrderedDict[bytes, _WrongCredentials] = field(factory=OrderedDict, init=False)
    _right: OrderedDict[bytes, float] = field(factory=OrderedDict, init=False)
    _known: OrderedDict[str, float] = field(factory=OrderedDict, init=False)
    _addresses: OrderedDict[str, _Bucket] = field(factory=OrderedDict, init=False)

    def digest(self, *credentials: str) -> bytes:
        """By what these credentials are known here."""
        told = "\0".join(credentials).encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, told, "sha256")

    def check(self, digest: bytes, address: str) -> None:
        """Raise Unauthenticated or TooManyGuesses, unless these may be looked up now.

        ``address`` is empty if it is not known.
        """
        now = float(self._reactor.seconds())
        refused = self._refused.get(digest)
        if refused is not None and refused.at > now - REFUSED_SECONDS:
            self._count(address, now)
            raise Unauthenticated(refused.detail, kind=refused.kind)
        if self._right.get(digest, float("-inf")) > now - RIGHT_SECONDS:
            return
        wait = (1 - self._left(address, now)) * SECONDS_EACH
        if wait > 0:
            raise TooManyGuesses(wait)

    def refuse(self, digest: bytes, address: str, error: Unauthenticated) -> None:
        """Note that these credentials were looked up, and are wrong."""
        now = float(self._reactor.seconds())
        self._right.pop(digest, None)
        known = _WrongCredentials(at=now, detail=error.body["detail"], kind=error.kind)
        _put(self._refused, digest, known)
        self._count(address, now)

    def accept(self, digest: bytes, address: str) -> None:
        """Note that these credentials were looked up, and are right."""
        self._refused.pop(digest, None)
        _put(self._right, digest, float(self._reactor.seconds()))
        self.welcome(address)

    def welcome(self, address: str) -> None:
        """Note that somebody at this address has proved who they are."""
        _put(self._known, address, float(self._reactor.seconds()))

    def knows(self, address: str) -> bool:
        """Whether somebody at this address has proved who they are a while ago."""
        now = float(self._reactor.seconds())
        return self._known.get(address, float("-inf")) > now - RIGHT_SECONDS

    def _left(self, address: str, now: float) -> float:
        bucket = self._addresses.get(address)
        if bucket is None:
            return FREE
        return min(FREE, bucket.left + (now - bucket.at) / SECONDS_EACH)

    def _count(self, address: str, now: float) -> None:
        if address:
            left = max(0.0, self._left(address, now) - 1)
            _put(self._addresses, address, _Bucket(left=left, at=now))


def _put(kept: OrderedDict[_Key, Any], key: _Key, value: Any) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > MOST:
        kept.popitem(last=False)
