"""One run: starts everything, causes faults for a while, lets it recover, and checks the result."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

import psycopg2
from attrs import define, evolve, field, frozen

from tests.arrange import arranged
from tests.chaos import logs, records, report
from tests.chaos.content import Content, People
from tests.chaos.faults import FaultRunner, Plan
from tests.chaos.load import Load
from tests.chaos.report import ChaosReport
from tests.chaos.servers import ROOT
from tests.chaos.world import ChaosWorld

MESSAGES = 5  # in each set of the chain

_LEASE_SECONDS = 5

# Short, so that they end often in a run.
SETTINGS = {
    "DEFAULT_REQUEST_TIMEOUT": "2",
    "SBM_LEASE_SECONDS": str(_LEASE_SECONDS),
    "SBM_SETTLE_SECONDS": "6",
    "SBM_STOP_GRACE_SECONDS": "2",
    "SBM_CONCURRENCY": "20",
    "SBM_BACKOFF_MAX_SECONDS": "4",
}

# How many faults begin in the same moment.
_AT_ONCE = (1, 1, 1, 2, 4)


@frozen(kw_only=True)
class Options:
    """The options of a run.

    Faults begin every ``gap`` seconds on average, for ``seconds`` and until there were ``kills``.
    ``sender`` is one of world.SENDERS; ``database`` is a server that is somebody else's; with
    ``is_replicated``, there are two servers under Patroni; ``code``
    is the folder that the daemons' program is taken from; ``longest_stop`` is that of a daemon,
    and ``patience`` how long recovery may take, in seconds. Faults are ``only`` those whose kind
    has this in it. ``sabotage`` is SQL that makes the daemons break their promise.
    """

    seconds: float = 60.0
    kills: int = 0
    gap: float = 2.0
    daemons: int = 2
    subscribers: int = 400
    seed: int = field(factory=lambda: random.SystemRandom().randrange(10**9))
    sender: str = "sandbox"
    database: str | None = None
    is_replicated: bool = False
    code: Path = ROOT
    longest_stop: float = 9.0
    patience: float = 180.0
    only: str = ""
    sabotage: str = ""
    settings: dict[str, str] = field(factory=dict)

    @property
    def generations(self) -> int:
        """More message sets than a subscription can complete in that time."""
        return 6 + int(self.seconds / 10)


@define(eq=False)
class Run:
    """A world, and the faults in it."""

    options: Options
    tell: Callable[[str], None] = print
    world: ChaosWorld = field(init=False)
    _content: Content = field(init=False, factory=lambda: Content(MESSAGES))
    _people: People = field(init=False, factory=People)

    def __attrs_post_init__(self) -> None:
        options = self.options
        self.world = ChaosWorld(
            daemon_count=options.daemons,
            sender_kind=options.sender,
            database_uri=options.database,
            code=options.code,
            settings={**SETTINGS, **options.settings},
            is_replicated=options.is_replicated,
        )

    def make(self) -> ChaosReport:
        """Run everything, and return the report."""
        self.tell(f"seed {self.options.seed}, logs in {self.world.logs}")
        is_clean = False
        try:
            self.world.build(
                self._content,
                self._people,
                generations=self.options.generations,
                count=self.options.subscribers,
                sabotage=self.options.sabotage,
            )
            made = self._survive()
            is_clean = made.is_clean
        finally:
            self.world.take_down(keep=not is_clean)
        return made

    def _survive(self) -> ChaosReport:
        """Faults under load; then none, the report, and an orderly end of the daemons."""
        options, world = self.options, self.world
        load = Load(world.daemons, self._content, self._people, options.seed)
        stage = world.stage(lease=_LEASE_SECONDS, longest_stop=options.longest_stop)
        with (world.logs / "faults").open("w", encoding="ascii", buffering=1) as diary:
            storm = FaultRunner(
                Plan(stage, random.Random(options.seed), options.only), self._noting_in(diary)
            )
            load.begin()
            began = time.monotonic()
            try:
                self._rage(storm)
            finally:
                storm.end()
                load.end()
        raged = time.monotonic()
        is_drained = self._drain()
        drained = time.monotonic()
        reached = self._last_ticks(load) if is_drained else ["it never came to the last tick"]
        outbounds = records.held(world.sender.port, self._content)
        for daemon in world.daemons:
            daemon.stop()
        made = report.close(
            records.Records.read(world.database.uri), outbounds, load.notes, self._content
        )
        took = f"{raged - began:.0f} s of faults, {drained - raged:.0f} s to recover"
        return self._completed(made, storm, reached, took)

    def _noting_in(self, diary: TextIO) -> Callable[[str], None]:
        def note(said: str) -> None:
            diary.write(f"{datetime.now(timezone.utc):%H:%M:%S.%f} {said}\n")

        return note

    def _rage(self, storm: FaultRunner) -> None:
        options = self.options
        rng = random.Random(f"{options.seed} gaps")
        began = following = told_at = time.monotonic()
        while time.monotonic() < began + options.seconds or storm.kills < options.kills:
            storm.lift()
            if time.monotonic() >= following:
                # Often one fault, sometimes several at the same moment.
                for _ in range(rng.choice(_AT_ONCE)):
                    storm.begin()
                following = time.monotonic() + rng.expovariate(1 / options.gap)
            self.world.supervise(storm.targets_of_faults)
            if time.monotonic() > told_at + 30:
                told_at = time.monotonic()
                faults = sum(storm.made.values())
                self.tell(f"{told_at - began:.0f} s: {faults} faults, {storm.kills} kills")
            time.sleep(0.05)

    def _drain(self) -> bool:
        """Wait until nothing is live; returns whether that happened."""
        end = time.monotonic() + self.options.patience
        while time.monotonic() < end:
            self.world.supervise()
            # The server may still recover from the last fault.
            with suppress(psycopg2.OperationalError):
                if not self._count_live():
                    return True
            time.sleep(0.5)
        return False

    def _count_live(self) -> int:
        """How many sends are live, and how many ticks are being expanded."""
        with arranged(self.world.database.uri) as direct:
            count: int = direct.value(
                "SELECT (SELECT count(*) FROM sends) +"
                " (SELECT count(*) FROM ticks WHERE state = 'expanding')"
            )
        return count

    def _last_ticks(self, load: Load) -> list[str]:
        """One more tick for each schedule, without faults: which subscriptions get no message?"""
        before = self._standing()
        for schedule in self._content.schedules:
            load.tick(schedule)
        if not self._drain():
            return ["the last tick never came to its end"]
        after = self._standing()
        return [
            f"{subscription} was not reached by the last tick"
            for subscription, (number, completed) in before.items()
            if not completed and after[subscription] == (number, completed)
        ]

    def _standing(self) -> dict[UUID, tuple[int, bool]]:
        """The place of each subscription."""
        with arranged(self.world.database.uri) as direct:
            rows = direct.rows("SELECT id, next_sequence_number, completed FROM subscriptions")
        return {row["id"]: (row["next_sequence_number"], row["completed"]) for row in rows}

    def _completed(
        self, made: ChaosReport, storm: FaultRunner, reached: list[str], took: str
    ) -> ChaosReport:
        ends = [end for process in self.world.processes for end in process.bad_ends]
        wrongs = {
            **made.wrongs,
            "not reached": reached,
            "bad ends": ends,
            "errors in logs": logs.errors(daemon.log for daemon in self.world.daemons),
        }
        figures: dict[str, Any] = {
            "seed": self.options.seed,
            "took": took,
            "faults": sum(storm.made.values()),
            "kills": storm.kills,
            **{f"  {kind}": count for kind, count in sorted(storm.made.items())},
            **self.world.database.figures,
            **made.figures,
        }
        return evolve(made, wrongs=wrongs, figures=figures)
