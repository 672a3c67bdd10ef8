"""The effects of signals, before the reactor runs and while it does."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from threading import Event, main_thread
from typing import Any

import pytest
from attrs import define, field

from sbm.runtime.signals import ENDING, Signals

TERM, INT, USR1 = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1


@define(eq=False)
class Reactor:
    """Takes SIGTERM when it starts, as Twisted's does, and tells what it is asked for."""

    told: list[str] = field(factory=list)
    before: list[Callable[[], object]] = field(factory=list)
    after: list[Callable[[], object]] = field(factory=list)

    def addSystemEventTrigger(self, phase: str, event: str, call: Any, *given: Any) -> None:
        assert (phase, event, given) == ("before", "startup", ())
        self.before.append(call)

    def callWhenRunning(self, call: Callable[[], object]) -> None:
        self.after.append(call)

    def callFromThread(self, call: Any, *given: Any) -> None:
        call(*given)

    def stop(self) -> None:
        self.told.append("stop")

    def own(self, number: int, frame: object) -> None:
        self.told.append(f"own {signal.Signals(number).name}")

    def run(self, between: Callable[[], None] = lambda: None) -> None:
        """Start, and let something happen in the middle of it."""
        for call in self.before:
            call()
        for number in (TERM, INT):
            if number == TERM or signal.getsignal(number) == signal.default_int_handler:
                signal.signal(number, self.own)
        between()
        for call in self.after:
            call()


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Leave the handlers of the tests as they are."""
    kept = {number: signal.getsignal(number) for number in {*ENDING, signal.SIGHUP}}
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {TERM, USR1})
    for number, before in kept.items():
        signal.signal(number, before)


def listening(
    reactor: Reactor,
    *ours: int,
    interrupts: Any = signal.default_int_handler,
    ignored: tuple[int, ...] = (),
    later: tuple[int, ...] = (),
) -> Signals:
    """Signals as a process has them; ``interrupts`` is how it was started to take Ctrl-C."""
    signal.signal(INT, interrupts)
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)  # the suite itself may have been started to ignore it
    signals = Signals(
        reactor=reactor,
        ours=frozenset(ours),
        ignored=frozenset(ignored),
        later=frozenset(later),
        hurry=lambda: reactor.told.append("hurry"),
    )
    signals.install()
    return signals


def tell(*numbers: int) -> None:
    """To the main thread: other tests may have left more of them than a starting process has."""
    for number in numbers:
        signal.pthread_kill(main_thread().ident or 0, number)


def test_the_first_stops_the_reactor_and_every_other_hurries() -> None:
    reactor = Reactor()
    listening(reactor, TERM, INT)
    reactor.run()
    tell(TERM, TERM, INT)
    assert reactor.told == ["stop", "hurry", "hurry"]


def test_one_that_comes_before_the_reactor_runs_or_while_it_starts_is_ours_too() -> None:
    reactor = Reactor()
    listening(reactor, TERM)
    tell(TERM)
    reactor.run(between=lambda: tell(TERM))
    assert reactor.told == ["stop", "hurry"]


def test_an_interrupt_that_is_not_ours_stops_in_twisteds_way_and_then_hurries() -> None:
    reactor = Reactor()
    listening(reactor, TERM)
    reactor.run()
    tell(INT, INT, TERM)
    assert reactor.told == ["own SIGINT", "hurry", "hurry"]


@pytest.mark.parametrize("ours", [(TERM,), (TERM, INT)])
def test_an_interrupt_that_is_not_to_be_heard_is_not(ours: tuple[signal.Signals, ...]) -> None:
    reactor = Reactor()
    listening(reactor, *ours, interrupts=signal.SIG_IGN)
    reactor.run()
    tell(INT)
    assert reactor.told == []


def test_a_failure_ends_in_twisteds_way_and_can_be_hurried() -> None:
    reactor = Reactor()
    signals = listening(reactor, TERM)
    reactor.run()
    signals.fail()
    signals.fail()
    tell(TERM)
    assert reactor.told == ["own SIGTERM", "hurry"]


def test_what_a_wait_comes_to_is_its_result_or_its_error() -> None:
    signals = listening(Reactor(), TERM)

    def fail() -> int:
        raise RuntimeError("oh")

    assert signals.waiting_for(lambda: 7) == 7
    with pytest.raises(RuntimeError, match="oh"):
        signals.waiting_for(fail)


def test_while_something_is_waited_for_a_signal_ends_the_process() -> None:
    signals = listening(Reactor(), TERM)
    answer = Event()

    def ask() -> None:
        tell(TERM)
        answer.wait()

    with pytest.raises(SystemExit) as ended:
        signals.waiting_for(ask)
    answer.set()
    assert ended.value.code == 0


@pytest.mark.parametrize("number", sorted(ENDING - {TERM}))
def test_whatever_would_end_the_process_stops_it(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)  # the tests have some handlers of their own
    reactor = Reactor()
    listening(reactor, *ENDING)
    reactor.run()
    tell(number, TERM)
    assert reactor.told == ["stop", "hurry"]


def test_signals_that_come_again_by_themselves_hurry_nobody() -> None:
    reactor = Reactor()
    listening(reactor, *ENDING)
    reactor.run()
    tell(signal.SIGXCPU, signal.SIGXCPU, signal.SIGPROF)
    assert reactor.told == ["stop"]


def test_what_is_ignored_stops_nothing_and_does_not_end_a_wait() -> None:
    reactor = Reactor()
    signals = listening(reactor, TERM, ignored=(signal.SIGHUP,))
    signals.waiting_for(lambda: tell(signal.SIGHUP))
    reactor.run()
    tell(signal.SIGHUP, signal.SIGHUP)
    assert reactor.told == []
    tell(TERM)
    assert reactor.told == ["stop"]


def test_who_has_a_handler_or_is_ignored_already_stays_so() -> None:
    heard: list[int] = []
    signal.signal(USR1, lambda number, _frame: heard.append(number))
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    reactor = Reactor()
    listening(reactor, *ENDING)
    reactor.run()
    tell(USR1, signal.SIGUSR2)
    assert (heard, reactor.told) == ([USR1], [])


def test_what_twistd_handles_later_waits_until_it_does() -> None:
    heard: list[int] = []
    reactor = Reactor()
    listening(reactor, *(ENDING - {USR1}), later=(USR1,))
    tell(USR1)  # nobody handles it yet
    signal.signal(USR1, lambda number, _frame: heard.append(number))
    assert heard == []
    reactor.run()
    assert (heard, reactor.told) == ([USR1], [])
