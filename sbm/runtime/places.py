"""A limited number of places, each for one piece of work at a time."""

from __future__ import annotations

from twisted.internet.defer import DeferredSemaphore


class Places(DeferredSemaphore):
    """A semaphore that gives places to those who wait one after the other.

    That of Twisted gives the place away inside ``release``. If the work of many ends at once, for
    example because it is refused, each ends inside the one before it. With some dozens, Python's
    stack is at its end, and places are lost for good.
    """

    _is_giving = False
    _given_back = 0

    def release(self) -> None:
        """Give a place back; whoever waits longest gets it.

        Until it is given away, it is not free: whoever comes meanwhile waits behind the others.
        """
        self._given_back += 1
        if self._is_giving:
            return  # the release that is under way gives it
        self._is_giving = True
        try:
            while self._given_back:
                self._given_back -= 1
                if self.waiting:
                    self.waiting.pop(0).callback(self)  # type: ignore[arg-type]
                else:
                    self.tokens += 1
        finally:
            self._is_giving = False
