"""Does a tick of a million keep its pace, its memory, and the daemon's answers to others?

The script measures the rate of a small tick, and then a tick of all subscriptions without other
work: the first and the last message, and the daemon's memory. Then it opens that tick once more.
Meanwhile, clients read lists, subscribe people, and trigger single sends and resends, at a steady
pace. The latency of each request counts from the moment at which it was due; that of a single send
ends when the Message Sender has the outbound. The other side is the same without a tick. A tick of
another schedule with a few people is opened, too.

All the time, the daemon's reactor measures how long each callback holds it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field

from benchmarks import observed_twistd
from benchmarks.content import (
    add_messageset,
    add_schedule,
    add_subscriptions,
    analyse,
    identity,
    registration,
)
from benchmarks.daemons import Daemon
from benchmarks.installation import Installation, installation
from benchmarks.load import Api, Sample, at_pace, percentile, written
from benchmarks.processes import Process, until
from benchmarks.results import Figure
from benchmarks.script import Script
from benchmarks.stand_in import OBSERVED
from benchmarks.ticks import Sending

ROUNDS = 3
SMALL = 50
SLOWEST_SECONDS = 60.0
KINDS = {"reads": "reads", "creates": "creates", "singles": "single sends and resends"}


@define(eq=False, kw_only=True)
class Schedules:
    """The schedules: of the large tick, of the rate, of single sends, and of the small tick."""

    large: int
    rate: int
    singles: int
    small: int


@define(eq=False, kw_only=True)
class Clients:
    """The clients of the API: what they ask for, and how long it takes."""

    made: Installation
    daemon: Daemon
    schedules: Schedules
    people: int
    pace: float
    seconds: float
    _singles: Iterator[tuple[str, str]] = field(init=False)
    _numbers: Iterator[int] = field(init=False, factory=itertools.count)

    def __attrs_post_init__(self) -> None:
        """Read the subscriptions of single sends."""
        self.made.cursor.execute(
            "SELECT id, identity FROM subscriptions WHERE schedule_id = %s ORDER BY id",
            (self.schedules.singles,),
        )
        self._singles = iter(self.made.cursor.fetchall())

    def work(self) -> dict[str, list[float]]:
        """Make all requests for the given time; returns the seconds of each, by its kind."""
        self.made.services.restart()
        asked: dict[float, str] = {}
        samples = asyncio.run(self._all(asked))
        failed = {sample.status for sample in itertools.chain(*samples.values())} - _EXPECTED
        if failed:
            raise RuntimeError(f"the daemon answered {failed}")
        found = {kind: [one.seconds for one in taken] for kind, taken in samples.items()}
        found["singles"] = self._until_stored(asked)
        return found

    async def _all(self, asked: dict[float, str]) -> dict[str, list[Sample]]:
        api = Api(self.daemon.port)
        asks = {
            "reads": lambda _: self._read(api),
            "creates": lambda _: self._create(api),
            "singles": lambda due_at: self._trigger(api, asked, due_at),
        }
        loops = (at_pace(ask, pace=self.pace, seconds=self.seconds) for ask in asks.values())
        return dict(zip(asks, await asyncio.gather(*loops), strict=True))

    async def _read(self, api: Api) -> int:
        person = identity(next(self._numbers) * 7919 % self.people)
        path = f"/api/v1/subscriptions/?identity={person}&active=true"
        return (await api.ask(written("GET", path)))[0]

    async def _create(self, api: Api) -> int:
        body = registration(messageset=1, schedule=self.schedules.singles)
        return (await api.ask(written("POST", "/api/v1/subscriptions/request", body)))[0]

    async def _trigger(self, api: Api, asked: dict[float, str], due_at: float) -> int:
        subscription, person = next(self._singles)
        asked[due_at] = person
        way = "send" if len(asked) % 2 else "resend"
        path = f"/api/v1/subscriptions/{subscription}/{way}/"
        return (await api.ask(written("POST", path)))[0]

    def _until_stored(self, asked: Mapping[float, str]) -> list[float]:
        """Seconds from when each trigger was due until its outbound was stored; waits for them."""
        arrivals: dict[str, float] = {}

        def have_come() -> bool:
            arrivals.update(self.made.services.records().arrivals)
            return all(person in arrivals for person in asked.values())

        try:
            until(have_come, "all single sends are stored", seconds=SLOWEST_SECONDS, pause=0.5)
        except TimeoutError as error:
            print(error)
        never = time.monotonic()
        return [arrivals.get(person, never) - due_at for due_at, person in asked.items()]


# Of reads, of creates and sends, and of resends.
_EXPECTED = {200, 201, 202}


@contextmanager
def memory_of(process: Process) -> Iterator[list[float]]:
    """Look at the resident memory of a process each second; yields the list of it, in MB."""
    found: list[float] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(1.0):
            found.append(process.resident_bytes() / 1e6)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def fill(made: Installation, options: argparse.Namespace) -> Schedules:
    """Insert the content and the subscriptions."""
    cursor = made.cursor
    schedules = Schedules(
        **{name: add_schedule(cursor) for name in ("large", "rate", "singles", "small")}
    )
    messageset = add_messageset(cursor, schedules.large)
    singles = int(options.pace * options.seconds + 1) * 2 * ROUNDS
    first = 0
    for schedule, count, prefix in (
        (schedules.large, options.subscriptions, "00000000-"),
        (schedules.rate, options.rate_sends, "00000000-"),
        (schedules.singles, singles, OBSERVED),
        (schedules.small, SMALL, OBSERVED),
    ):
        add_subscriptions(
            cursor, count, schedule=schedule, messageset=messageset, first=first, prefix=prefix
        )
        first += count
    analyse(cursor)
    return schedules


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Measure one thing after the other."""
    holds = folder / "holds"
    with installation(folder, about) as made:
        schedules = fill(made, options)
        observed = {observed_twistd.VARIABLE: str(holds)}
        with made.daemon(command=observed_twistd.COMMAND, **observed) as daemon:
            sending = made.sending(daemon)
            clients = Clients(
                made=made,
                daemon=daemon,
                schedules=schedules,
                people=options.subscriptions,
                pace=options.pace,
                seconds=options.seconds,
            )
            began_at = time.monotonic()
            alone, rates = [], []
            for _ in range(ROUNDS):
                rates.append(sending.tick(schedules.rate).rate)
                alone.append(clients.work())
            figures = large_tick(sending, schedules, statistics.median(rates))
            beside, small = beside_the_tick(sending, clients)
            figures += latencies(alone, beside)
            figures.append(small)
    longest = [one for one in observed_twistd.read(holds) if one.ended_at > began_at]
    return [*figures, *held(longest)]


def large_tick(sending: Sending, schedules: Schedules, rate: float) -> list[Figure]:
    """Send the large tick without other work: the first and last message, and the memory."""
    began, size = time.monotonic(), database_bytes(sending)
    with memory_of(sending.daemons[0].process) as memory:
        cost = sending.tick(schedules.large)
    first = (sending.stand_in.records().first_outbound_at or began) - began
    print(
        f"the tick: {cost.sends} sends in {cost.seconds:.0f} s, {cost.rate:.0f} a second; daemon"
        f" {cost.daemon_ms:.3f} ms, PostgreSQL {cost.postgres_ms:.3f} ms a send",
        flush=True,
    )
    quarter = max(len(memory) // 4, 1)
    return [
        Figure(
            measure="7",
            name="memory of the daemon during the tick, at most",
            unit="MB",
            ours=[max(memory, default=0.0)],
            goal="≤ 80",
        ),
        Figure(
            measure="7b",
            name="memory in the last quarter of the tick ÷ in the second quarter",
            unit="MB",
            ours=[statistics.fmean(memory[-quarter:])],
            theirs=[statistics.fmean(memory[quarter : 2 * quarter] or memory)],
            goal="about 1",
        ),
        Figure(
            measure="8",
            name="from the tick to the first message",
            unit="s",
            ours=[first],
            goal="< 0.5",
        ),
        Figure(
            measure="8b",
            name="to the last message ÷ (sends ÷ the rate of a small tick)",
            unit="s",
            ours=[cost.seconds],
            theirs=[cost.sends / rate],
            goal="≤ 1.05",
        ),
        Figure(name="WAL per send of the tick", unit="kB", ours=[cost.wal_kb]),
        Figure(
            name="growth of the database by a million sends",
            unit="MB",
            ours=[(database_bytes(sending) - size) / cost.sends],
        ),
    ]


def database_bytes(sending: Sending) -> int:
    """The size of the database on the disk."""
    sending.cursor.execute("SELECT pg_database_size(current_database())")
    return int(sending.cursor.fetchone()[0])


def beside_the_tick(sending: Sending, clients: Clients) -> tuple[list[dict[str, Any]], Figure]:
    """Let the clients work beside the tick; also the small tick, in the last round."""
    schedules = clients.schedules
    sending.open(schedules.large)
    beside = []
    for number in range(ROUNDS):
        if number == ROUNDS - 1:
            small_at = time.monotonic()
            sending.open(schedules.small)
        beside.append(clients.work())
    sending.cursor.execute(
        "SELECT identity FROM subscriptions WHERE schedule_id = %s", (schedules.small,)
    )
    people = {person for (person,) in sending.cursor.fetchall()}
    until(
        lambda: people <= sending.stand_in.records().arrivals.keys(),
        "the small tick is sent",
        seconds=SLOWEST_SECONDS,
        pause=0.5,
    )
    arrivals = sending.stand_in.records().arrivals
    sending.cursor.execute("SELECT EXISTS (SELECT FROM sends WHERE lane = 'tick')")
    if not sending.cursor.fetchone()[0]:
        print("the large tick ended before the clients did: it was too small")
    return beside, Figure(
        name=f"a tick of {SMALL} beside the large one: to its last message",
        unit="s",
        ours=[max(at for person, at in arrivals.items() if person in people) - small_at],
    )


def latencies(
    alone: Sequence[Mapping[str, list[float]]], beside: Sequence[Mapping[str, list[float]]]
) -> list[Figure]:
    """The 99th percentiles and the medians, round by round."""
    return [
        Figure(
            measure=measure_number,
            name=f"{name} of {long_name} beside the tick ÷ alone ({len(alone[0][kind])} a round)",
            unit="ms",
            ours=[percentile(found[kind], share) * 1000 for found in beside],
            theirs=[percentile(found[kind], share) * 1000 for found in alone],
            goal=goal,
        )
        for measure_number, name, share, goal in (
            ("9", "p99", 0.99, "≤ 3, and < 50 ms"),
            ("", "p50", 0.5, ""),
        )
        for kind, long_name in KINDS.items()
    ]


def held(holds: Sequence[observed_twistd.Hold]) -> list[Figure]:
    """The longest callbacks; prints which they were."""
    by_name: dict[str, list[observed_twistd.Hold]] = defaultdict(list)
    for one in holds:
        by_name[one.name].append(one)
    keys: dict[str, Callable[[observed_twistd.Hold], float]] = {
        "elapsed": lambda one: one.elapsed,
        "processor": lambda one: one.processor,
    }
    for name, found in sorted(by_name.items(), key=lambda item: -len(item[1]))[:10]:
        most = {word: max(map(key, found)) * 1000 for word, key in keys.items()}
        print(
            f"longer than {observed_twistd.SHORTEST * 1000:g} ms: {len(found)} times, at most"
            f" {most['elapsed']:.1f} ms (processor {most['processor']:.1f}): {name}"
        )
    return [
        Figure(
            measure=measure_number,
            name=f"longest callback in the reactor, {word} time",
            unit="ms",
            ours=[max(map(key, holds), default=0.0) * 1000],
            goal="≤ 10",
        )
        for measure_number, (word, key) in zip(("12", "12b"), keys.items(), strict=True)
    ]


SCRIPT = Script(
    name="tick_of_a_million",
    doc=__doc__,
    measure=measure,
    options={
        "subscriptions": 1_000_000,
        "rate_sends": 20_000,
        "pace": 10.0,
        "seconds": 40.0,
    },
    quick={"subscriptions": 6_000, "rate_sends": 500, "seconds": 2.0},
)

if __name__ == "__main__":
    SCRIPT.run()
