"""Who wakes whom: one wake-up, and one channel of the database, for each kind of work.

Whoever has committed work of a kind calls its ``wake()``; the loop that does it waits there. Other
daemons hear of it by NOTIFY on the channel, where the statement that makes the work says so: those
of single sends do not (docs/decisions/0009). Waking is only a convenience: every loop looks for
work by itself, too, so a wake-up that is lost costs a short wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, fields, frozen
from twisted.internet.defer import Deferred


@define(eq=False, slots=False, kw_only=True)
class Wakeup:
    """Wakes the one who waits for it; what nobody waits for is kept for the next wait.

    ``calls`` counts how often there was new work, so that a loop that has several reasons to look
    can tell that one.
    """

    _reactor: Any

    def __attrs_post_init__(self) -> None:
        self.calls = 0
        self._is_due = False
        self._waiting: Deferred[None] | None = None

    def wake(self) -> None:
        """There is new work: wake whoever waits, now or next."""
        self.calls += 1
        self.look_again()

    def look_again(self) -> None:
        """The same, but nothing is new: what waited may be done now."""
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
    """The kinds of work that somebody is woken for; the channel of each is ``sbm_<its name>``.

    ``sends``: sends are owed; the claiming of them waits here.
    ``ticks``: a tick is open; its expansion waits here.
    ``tasks``: somebody asked for a task; and ``audio_copies``, for copies of files.
    ``scheduler_calls``: calls to the Seed Scheduler are owed.
    """

    sends: Wakeup
    ticks: Wakeup
    tasks: Wakeup
    audio_copies: Wakeup
    scheduler_calls: Wakeup

    @classmethod
    def of(cls, reactor: Any) -> Wakeups:
        """One of each kind."""
        return cls(**{kind.name: Wakeup(reactor=reactor) for kind in fields(cls)})

    def by_channel(self) -> Mapping[str, Callable[[], None]]:
        """What is to be called when something is heard on a channel."""
        return {f"sbm_{kind.name}": getattr(self, kind.name).wake for kind in fields(type(self))}
