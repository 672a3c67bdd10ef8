"""Faults of the processes and of the connections between them: drawn from a seed, and ended again.

The faults depend on the seed alone, not on the state of the run. If the victim of a fault has
another fault at that moment, the fault is left out.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import define, field, frozen

from tests.chaos.database import DatabaseServer, backends, terminate_backends
from tests.chaos.faulty_proxy import CUTTING, PASS, FaultyProxy, Mode
from tests.chaos.patroni import FailoverWait, PatroniCluster, PatroniNode
from tests.chaos.sender_faults import LIST_TROUBLES, NONE, POST_TROUBLES, SenderFault
from tests.chaos.servers import PATIENCE_SECONDS, ServerProcess


@frozen(kw_only=True)
class FaultContext:
    """The possible targets. ``longest_stop`` is in seconds, as is the daemons' ``lease``."""

    daemons: Sequence[ServerProcess]
    sender: ServerProcess
    identity_store: ServerProcess
    database: DatabaseServer
    proxies: dict[str, FaultyProxy]
    trouble: Path
    lease: float
    longest_stop: float


def _nothing() -> None:
    """The end of a fault that has no duration: nothing to do."""


@frozen(kw_only=True)
class Fault:
    """One fault. ``victims`` have no other fault meanwhile; it kills ``kills`` processes at most.

    It lasts for ``seconds``, and until ``is_over``.
    """

    kind: str
    victims: frozenset[str]
    seconds: float = 0.0
    begin: Callable[[], object]
    lift: Callable[[], object] = _nothing
    is_over: Callable[[], bool] = lambda: True
    kills: int = 0


# Several delays on the way to the Message Sender could add up to more than the settle time, so
# only one of those faults is active at a time.
LATE = "lateness"


@define(eq=False)
class Plan:
    """An endless series of faults, which the seed determines.

    Only those whose kind has ``only`` in it are left, where that is given.
    """

    stage: FaultContext
    rng: random.Random
    only: str = ""
    _kinds: list[Callable[[], Fault]] = field(init=False)
    _weights: list[int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        kinds: list[tuple[int, Callable[[], Fault]]] = [
            (8, self._kill_daemon),
            (6, self._stop_daemon),
            (4, self._terminate_daemon),
            (1, self._kill_everything),
            (3, self._kill_sender),
            (1, self._stop_sender),
            (2, self._kill_identity_store),
            (3, self._terminate_backends),
            (5, self._trouble),
            (2, self._list_trouble),
            (6, self._cut),
            (3, self._reset),
            (2, self._freeze),
        ]
        if self.stage.database.can_be_killed:
            kinds += [(3, self._kill_postmaster), (2, self._kill_backend), (2, self._stop_backend)]
        if isinstance(self.stage.database, PatroniCluster):
            kinds += [(4, self._kill_leader), (4, self._freeze_leader)]
        self._weights = [weight for weight, _ in kinds]
        self._kinds = [kind for _, kind in kinds]

    def next(self) -> Fault:
        """The next fault."""
        while True:
            (kind,) = self.rng.choices(self._kinds, self._weights)
            fault = kind()
            if self.only in fault.kind:
                return fault

    def _daemon(self) -> ServerProcess:
        return self.rng.choice(self.stage.daemons)

    def _pause(self) -> float:
        """The duration of an outage in seconds: mostly short, sometimes long."""
        return self.rng.choice([0.0, 0.3, 1.0, 2.0, 4.0]) + self.rng.random()

    def _killed(self, kind: str, process: ServerProcess, *more: str) -> Fault:
        return Fault(
            kind=kind,
            victims=frozenset({process.name, *more}),
            seconds=self._pause(),
            begin=process.kill,
            lift=process.start,
            kills=1,
        )

    def _kill_daemon(self) -> Fault:
        return self._killed("kill -9 daemon", self._daemon())

    def _kill_sender(self) -> Fault:
        return self._killed("kill -9 Message Sender", self.stage.sender)

    def _kill_identity_store(self) -> Fault:
        return self._killed("kill -9 Identity Store", self.stage.identity_store)

    def _kill_postmaster(self) -> Fault:
        return Fault(
            kind="kill -9 PostgreSQL",
            victims=frozenset({"PostgreSQL"}),
            seconds=self._pause(),
            begin=self.stage.database.kill,
            lift=self.stage.database.start,
            kills=1,
        )

    def _kill_everything(self) -> Fault:
        """Kill all processes at once, as if the power failed."""
        stage = self.stage
        processes = [*stage.daemons, stage.sender, stage.identity_store]

        def begin() -> None:
            if stage.database.can_be_killed:
                stage.database.kill()
            for process in processes:
                process.kill()

        def lift() -> None:
            stage.database.start()
            for process in processes:
                process.start()

        return Fault(
            kind="kill -9 everything",
            victims=frozenset({"PostgreSQL", *(process.name for process in processes)}),
            seconds=self._pause(),
            begin=begin,
            lift=lift,
            kills=len(processes) + int(stage.database.can_be_killed),
        )

    def _kill_leader(self) -> Fault:
        return self._struck("kill -9 the leader of PostgreSQL", PatroniNode.kill, PatroniNode.start)

    def _freeze_leader(self) -> Fault:
        return self._struck(
            "SIGSTOP the leader of PostgreSQL", PatroniNode.freeze, PatroniNode.go_on
        )

    def _struck(
        self,
        kind: str,
        how: Callable[[PatroniNode], None],
        back: Callable[[PatroniNode], None],
    ) -> Fault:
        """The old leader comes back when its successor has gone on with the work."""
        cluster, waits = self.stage.database, list[FailoverWait]()
        assert isinstance(cluster, PatroniCluster)
        return Fault(
            kind=kind,
            victims=frozenset({"PostgreSQL"}),
            begin=lambda: waits.append(cluster.strike(how)),
            lift=lambda: back(waits[0].old),
            is_over=lambda: waits[0].is_over(),
            kills=1,
        )

    def _stop_daemon(self) -> Fault:
        daemon, stage = self._daemon(), self.stage
        short, long = self.rng.uniform(0.2, 3), self.rng.uniform(stage.lease, stage.longest_stop)
        return Fault(
            kind="SIGSTOP daemon",
            victims=frozenset({daemon.name}),
            seconds=self.rng.choice([short, long, long]),
            begin=daemon.pause,
            lift=daemon.go_on,
        )

    def _stop_sender(self) -> Fault:
        return Fault(
            kind="SIGSTOP Message Sender",
            victims=frozenset({self.stage.sender.name, LATE}),
            seconds=self.rng.uniform(0.2, 2.0),
            begin=self.stage.sender.pause,
            lift=self.stage.sender.go_on,
        )

    def _terminate_daemon(self) -> Fault:
        daemon = self._daemon()
        asked: list[bool] = []

        def begin() -> None:
            # A daemon that is still starting has no handler of SIGTERM yet.
            if daemon.is_serving:
                daemon.ask_to_stop()
                asked.append(True)

        return Fault(
            kind="SIGTERM daemon",
            victims=frozenset({daemon.name}),
            begin=begin,
            lift=daemon.start,
            is_over=lambda: not asked or not daemon.is_running,
        )

    def _kill_backend(self) -> Fault:
        return Fault(
            kind="kill -9 a backend of PostgreSQL",
            victims=frozenset({"PostgreSQL"}),
            seconds=1.0,
            begin=lambda: self._signal_backend(signal.SIGKILL),
            kills=1,
        )

    def _stop_backend(self) -> Fault:
        stopped: list[int] = []

        def go_on() -> None:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

        return Fault(
            kind="SIGSTOP a backend of PostgreSQL",
            victims=frozenset({"PostgreSQL"}),
            seconds=self.rng.uniform(0.5, 8),
            begin=lambda: stopped.extend(self._signal_backend(signal.SIGSTOP)),
            lift=go_on,
        )

    def _signal_backend(self, number: signal.Signals) -> list[int]:
        found = backends(self.stage.database.uri)
        chosen = random.sample(found, min(1, len(found)))
        for pid in chosen:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return chosen

    def _terminate_backends(self) -> Fault:
        share = self.rng.choice([0.2, 0.5, 1.0])
        return Fault(
            kind="end sessions of PostgreSQL",
            victims=frozenset({"PostgreSQL"}),
            begin=lambda: terminate_backends(self.stage.database.uri, share),
        )

    def _trouble(self) -> Fault:
        kind = self.rng.choice(POST_TROUBLES)
        return self._told(
            SenderFault(kind=kind, share=self.rng.choice([0.2, 0.6, 1.0]), seconds=2.5)
        )

    def _list_trouble(self) -> Fault:
        kind = self.rng.choice(LIST_TROUBLES)
        return self._told(SenderFault(kind=kind, share=self.rng.choice([0.5, 1.0])))

    def _told(self, trouble: SenderFault) -> Fault:
        return Fault(
            kind=f"Message Sender: {trouble.kind}",
            victims=frozenset({"trouble", *([LATE] if "late" in trouble.kind else [])}),
            seconds=self.rng.uniform(1, 6),
            begin=lambda: trouble.tell(self.stage.trouble),
            lift=lambda: NONE.tell(self.stage.trouble),
        )

    def _wire(self) -> tuple[str, FaultyProxy]:
        name = self.rng.choice(list(self.stage.proxies))
        return name, self.stage.proxies[name]

    def _cut(self) -> Fault:
        name, proxy = self._wire()
        kind, share = self.rng.choice(CUTTING), self.rng.choice([0.3, 1.0, 1.0])
        held_back = self.rng.uniform(0.05, 1.0)
        late = [LATE] if kind == "delay" and name == "Message Sender" else []
        return Fault(
            kind=f"{kind} on the way to {name}",
            victims=frozenset({f"wire to {name}", *late}),
            seconds=self.rng.choice([self.rng.uniform(0.3, 2), self.rng.uniform(2, 8)]),
            begin=lambda: proxy.set(Mode(kind=kind, share=share, seconds=held_back)),
            lift=lambda: proxy.set(PASS),
        )

    def _reset(self) -> Fault:
        name, proxy = self._wire()
        share = self.rng.choice([0.3, 1.0])
        return Fault(
            kind=f"reset on the way to {name}",
            victims=frozenset({f"wire to {name}"}),
            begin=lambda: proxy.reset(share),
        )

    def _freeze(self) -> Fault:
        name, proxy = self._wire()
        share = self.rng.choice([0.3, 1.0])
        return Fault(
            kind=f"silence for ever on the way to {name}",
            victims=frozenset({f"wire to {name}"}),
            begin=lambda: proxy.freeze(share),
        )


@define(eq=False)
class FaultRunner:
    """The active faults: begins them in order, ends them, and counts them."""

    plan: Plan
    tell: Callable[[str], None]
    made: Counter[str] = field(factory=Counter)
    kills: int = 0
    _going_on: list[tuple[float, Fault]] = field(factory=list)

    def begin(self) -> None:
        """Begin the next fault, unless its victim has one already."""
        fault = self.plan.next()
        if any(fault.victims & other.victims for _, other in self._going_on):
            return
        self.made[fault.kind] += 1
        self.kills += fault.kills
        self.tell(f"{fault.kind} ({', '.join(sorted(fault.victims))}) for {fault.seconds:.1f} s")
        fault.begin()
        self._going_on.append((time.monotonic() + fault.seconds, fault))

    def lift(self, *, all_of_them: bool = False) -> None:
        """End the faults whose time is over, or all of them."""
        now = time.monotonic()
        staying = []
        for end, fault in self._going_on:
            if (end <= now or all_of_them) and fault.is_over():
                fault.lift()
            else:
                staying.append((end, fault))
        self._going_on = staying

    @property
    def targets_of_faults(self) -> frozenset[str]:
        """The targets of the active faults."""
        return frozenset().union(*(fault.victims for _, fault in self._going_on))

    def end(self) -> None:
        """End all faults, and wait for those that end by themselves."""
        end = time.monotonic() + 2 * PATIENCE_SECONDS
        self.lift(all_of_them=True)
        while self._going_on and time.monotonic() < end:
            time.sleep(0.1)
            self.lift(all_of_them=True)
