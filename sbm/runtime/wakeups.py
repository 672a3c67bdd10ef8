"""Wake-ups: each kind of work has one, and one NOTIFY channel of the database.

Code that has committed work of a kind calls its ``wake()``; the loop that does the work waits
there. Other daemons get a NOTIFY on the channel, if the statement that makes the work sends one:
those for single sends do not (docs/decisions/0009). Each loop also looks for work by itself, so a
lost wake-up only costs a short wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, fields, frozen
from twisted.internet.defer import Deferred


@define(eq=False, slots=False, kw_only=True)
class Wakeup:
    """Wakes the loop that waits for it; a wake-up without a waiter is remembered for the next wait.

    ``calls`` counts how often there was new work, so that a loop that has several reasons to look
    can distinguish this one.
    """

    _reactor: Any

    def __attrs_post_init__(self) -> None:
        self.calls = 0
        self._is_due = False
        self._waiting: Deferred[None] | None = None

    def wake(self) -> None:
        """There is new work: end the current wait, or the next one."""
        self.calls += 1
        self.look_again()

    def look_again(self) -> None:
        """The same, but without new work: old work may be possible now."""
        self._is_due = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def wait(self, seconds: float) -> None:
        """Return when woken, or after so many seconds."""
        if not self._is_due:
            self._waiting = Deferred()
            timer = self._reactor.callLater(seconds, self._waiting.callback, None)
            try:
                await self._waiting
            finally:
                self._waiting = None
                if timer.active():
                    timer.cancel()
        self._is_due = False


@frozen(eq=False, kw_only=True)
class Wakeups:
    """The wake-ups; the channel of each is ``sbm_<its name>``.

    ``sends``: sends are owed; the claimer waits here.
    ``ticks``: a tick is open; the expansion waits here.
    ``tasks``: a client asked for a task; and ``audio_copies``, for copies of files.
    ``scheduler_calls``: calls to the Seed Scheduler are owed.
    ``pauses``: a pause has begun or ended.
    """

    sends: Wakeup
    ticks: Wakeup
    tasks: Wakeup
    audio_copies: Wakeup
    scheduler_calls: Wakeup
    pauses: Wakeup

    @classmethod
    def of(cls, reactor: Any) -> Wakeups:
        """One of each kind."""
        return cls(**{kind.name: Wakeup(reactor=reactor) for kind in fields(cls)})

    @property
    def calls(self) -> int:
        """How often there was new work of any kind."""
        return sum(getattr(self, kind.name).calls for kind in fields(type(self)))

    def look_again(self) -> None:
        """Let all loops look for the work that was there before."""
        for kind in fields(type(self)):
            getattr(self, kind.name).look_again()

    def by_channel(self, *only: str) -> Mapping[str, Callable[[], None]]:
        """The function to call for a notification on each channel; ``only`` are some of them."""
        kinds = only or [kind.name for kind in fields(type(self))]
        return {f"sbm_{kind}": getattr(self, kind).wake for kind in kinds}
