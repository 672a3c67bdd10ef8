"""Do single sends, resends and a small tick overtake a large tick?

    python -m benchmarks.lanes [--subscriptions 100000] [--pace 10] [--seconds 300] [--post 0]

The daemon and the stand-ins of the other services run in processes of their own. Triggers for
single subscriptions and requests to resend are POSTed in turn at a steady pace, each for another
person: first alone, for 20 seconds, and then while a tick is expanded and delivered. The script
measures the time from the POST until the Message Sender has the outbound. ``--post`` makes each
POST of an outbound take so many seconds longer. Ten seconds after the large tick, a tick of another
schedule with 50 people is opened. Meanwhile, the ticks are read, in the list and one by one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from benchmarks import delivery
from benchmarks.delivery import arrange, free_port, identity
from benchmarks.served import HEAD, HEADERS, TOKEN, line
from sbm.daemon import assemble
from sbm.sandbox.postgres import EmbeddedPostgres
from sbm.sandbox.stand_ins import identity_store, message_sender
from sbm.store.postgres.migrations import migrate

ALONE_SECONDS = 20
PATIENCE_SECONDS = 60
SMALL = 50
SMALL_AFTER_SECONDS = 10


class Slow(Resource):
    """Delays the answers of another resource to POSTs."""

    isLeaf = True

    def __init__(self, resource: Any, seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._resource, self._seconds = resource, seconds

    def render(self, request: Any) -> Any:
        if request.method != b"POST" or not self._seconds:
            return self._resource.render(request)
        loop: Any = reactor
        answer = loop.callLater(self._seconds, self._resource.render, request)
        request.notifyFinish().addErrback(lambda _: answer.active() and answer.cancel())
        return NOT_DONE_YET


def serve_stand_ins(ports: list[int], ticked: int, people: int, post: float) -> None:
    """Serve both services, and print the identity and time of each outbound.

    Of the outbounds of the large tick, only the first is printed.
    """
    identities = identity_store.IdentityStore()
    for number in range(people):
        identities.add(f"+2782{number:07}", identity(number))
    singles = {identity(number) for number in range(ticked, people)}
    is_first = True

    def observe(outbound: Any) -> None:
        nonlocal is_first
        whom = outbound.said.to_identity
        if whom in singles or is_first:
            is_first = is_first and whom in singles
            print(whom, time.time(), flush=True)

    sender = message_sender.MessageSender(observer=observe)
    _listen(ports[0], identity_store.IdentityStoreApp(store=identities).resource())
    _listen(ports[1], Slow(message_sender.MessageSenderApp(sender=sender).resource(), post))
    _run()


def serve_daemon(ports: list[int], port: int, uri: str, concurrency: int) -> None:
    """Serve the daemon."""
    loop: Any = reactor
    settings = delivery.config(ports, uri, concurrency)
    service: Any = assemble(settings, loop, listen=[f"tcp:{port}:interface=127.0.0.1"])
    loop.callWhenRunning(service.startService)
    _run()


def _listen(port: int, resource: Any) -> None:
    site = Site(resource)
    site.displayTracebacks = False
    loop: Any = reactor
    loop.listenTCP(port, site, interface="127.0.0.1")


def _run() -> None:
    """Run the reactor until the standard input ends."""
    loop: Any = reactor
    loop.callInThread(lambda: (sys.stdin.read(), loop.callFromThread(loop.stop)))
    loop.run()


@contextmanager
def process(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run this module in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.lanes", *map(str, arguments)]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        yield child
    finally:
        child.communicate()


class Arrivals:
    """Reads from the stand-ins' output when outbounds were stored, by identity."""

    def __init__(self, lines: Any) -> None:
        self.at: dict[str, float] = {}
        self._thread = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._thread.start()

    def _read(self, lines: Any) -> None:
        for text in lines:
            whom, moment = text.split()
            self.at.setdefault(whom, float(moment))


def post(url: str) -> float:
    """POST to a URL, and check that it is accepted; returns when it was begun."""
    began = time.time()
    request = urllib.request.Request(url, headers=HEADERS, data=b"")
    with urllib.request.urlopen(request, timeout=60) as answer:
        json.load(answer)
    return began


class Readers:
    """Reads the ticks again and again until it is stopped, and records the time of each answer."""

    def __init__(self, url: str, tick: int) -> None:
        self.seconds: dict[str, list[float]] = {"ticks/": [], f"ticks/{tick}/": []}
        self._url = url
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._stopped.wait(0.2):
            for path, seconds in self.seconds.items():
                began = time.monotonic()
                request = urllib.request.Request(self._url + path, headers=HEADERS)
                with urllib.request.urlopen(request, timeout=60) as answer:
                    json.load(answer)
                seconds.append(time.monotonic() - began)


class Singles:
    """Triggers a send or a resend for one subscription after the other."""

    def __init__(self, url: str, subscriptions: list[tuple[str, str]]) -> None:
        self._url = url
        self._waiting = queue.SimpleQueue[tuple[str, str]]()
        for one in subscriptions:
            self._waiting.put(one)
        self._is_resend = False

    def ask(self) -> tuple[str, str, float]:
        """Trigger the next one; returns "send" or "resend", the identity, and the time."""
        subscription, whom = self._waiting.get_nowait()
        way = "resend" if self._is_resend else "send"
        self._is_resend = not self._is_resend
        return way, whom, post(f"{self._url}subscriptions/{subscription}/{way}/")

    def keep_asking(self, pace: float, seconds: float, goes_on: Any) -> list[Any]:
        """Trigger at this pace for so many seconds, or until ``goes_on()`` is false."""
        asked, began = [], time.monotonic()
        while time.monotonic() - began < seconds and goes_on():
            asked.append(self.ask())
            time.sleep(max(0.0, began + len(asked) / pace - time.monotonic()))
        return asked


def latencies(asked: list[Any], arrivals: Arrivals) -> dict[str, list[float]]:
    """Seconds until the outbound was stored, for sends and resends; waits for late ones."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up_at and any(whom not in arrivals.at for _, whom, _ in asked):
        time.sleep(0.1)
    found: dict[str, list[float]] = {"send": [], "resend": []}
    for way, whom, began in asked:
        found[way].append(arrivals.at.get(whom, float("inf")) - began)
    return found


def show(what: str, found: dict[str, list[float]]) -> list[float]:
    """Print a line for sends and one for resends; returns the seconds of both."""
    for way, seconds in found.items():
        print(line(f"{way}, {what}", seconds))
    return sorted(found["send"] + found["resend"])


def measure(options: argparse.Namespace, arrivals: Arrivals, url: str, cursor: Any) -> None:
    """Trigger alone, then beside a large tick and a small one, and print."""
    cursor.execute("SELECT id, identity FROM subscriptions WHERE schedule_id = 2 ORDER BY id")
    singles = Singles(url, cursor.fetchall())
    alone = show(
        "alone",
        latencies(singles.keep_asking(options.pace, ALONE_SECONDS, lambda: True), arrivals),
    )
    ticked_at = post(f"{url}schedule/1/send/")
    cursor.execute("SELECT id FROM ticks WHERE schedule_id = 1")
    readers = Readers(url, cursor.fetchone()[0])
    cursor.execute("SELECT identity FROM subscriptions WHERE schedule_id = 3")
    small = [("tick", row[0]) for row in cursor.fetchall()]

    def under_way() -> bool:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM ticks WHERE state = 'expanding')"
            " OR EXISTS (SELECT FROM sends WHERE lane = 'tick')"
        )
        return bool(cursor.fetchone()[0])

    asked = singles.keep_asking(options.pace, SMALL_AFTER_SECONDS, under_way)
    small_at = post(f"{url}schedule/3/send/")
    asked += singles.keep_asking(options.pace, options.seconds, under_way)
    seconds = time.time() - ticked_at
    readers.stop()
    cursor.execute("SELECT count(*) FROM sends")
    (waiting,) = cursor.fetchone()
    cursor.execute(
        "SELECT count(*) FROM ledger WHERE tick_id IN (SELECT id FROM ticks WHERE schedule_id = 1)"
    )
    (delivered,) = cursor.fetchone()
    beside = show("beside the tick", latencies(asked, arrivals))
    came = [arrivals.at.get(whom, float("inf")) - small_at for _, whom in small]
    print(line("a small tick beside it, each", came))
    for path, read in readers.seconds.items():
        print(line(f"GET {path}", read))
    share = delivered / options.subscriptions
    print(
        f"the tick: {delivered} sends in {seconds:.0f} s ({delivered / seconds:.0f}/s,"
        f" {share:.0%} of it), the first {_first(arrivals, options) - ticked_at:.2f} s after its"
        f" POST; {waiting} live at the end; load {os.getloadavg()[0]:.1f}"
    )
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        one, other = (values[int(len(values) * share)] for values in (alone, beside))
        print(f"{name} beside the tick: {other / one:.1f} times that alone")


def _first(arrivals: Arrivals, options: argparse.Namespace) -> float:
    """When the first outbound of the large tick was stored, the only one that is printed."""
    return min(
        (
            at
            for whom, at in arrivals.at.items()
            if int(whom.replace("-", ""), 16) <= options.subscriptions
        ),
        default=float("inf"),
    )


def peak_of(process_id: int) -> str:
    """The peak of a process's memory."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith("VmHWM"))


def fill(cursor: Any, people: int, singles: int) -> None:
    """Insert subscriptions: on schedule 1 for the large tick, on 2 for single ones, on 3 a few."""
    arrange(cursor, 0, 10)
    cursor.execute(
        "INSERT INTO schedules (day_of_month, month_of_year) VALUES ('29', '2'), ('29', '2')"
    )
    cursor.execute(
        "INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang,"
        " next_sequence_number)"
        " SELECT lpad(to_hex(n), 32, '0')::uuid, 1,"
        " CASE WHEN n <= %s THEN 1 WHEN n <= %s THEN 2 ELSE 3 END, 'eng_ZA', 2"
        " FROM generate_series(1, %s) n",
        (people, people + singles, people + singles + SMALL),
    )
    cursor.execute(
        "INSERT INTO users (username) VALUES ('benchmark');"
        " INSERT INTO tokens (user_id, digest) VALUES (1, %s)",
        (hashlib.sha256(TOKEN.encode("ascii")).digest(),),
    )
    cursor.execute("VACUUM ANALYZE")


def main() -> None:
    """Parse the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--subscriptions", type=int, default=100_000)
    parser.add_argument("--pace", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--post", type=float, default=0)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--stand-ins", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--daemon", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stand_ins:
        *ports, ticked, people = map(int, options.stand_ins)
        serve_stand_ins(ports, ticked, people, options.post)
        return
    if options.daemon:
        *numbers, uri = options.daemon
        *ports, port, concurrency = map(int, numbers)
        serve_daemon(ports, port, uri, concurrency)
        return
    seconds = ALONE_SECONDS + SMALL_AFTER_SECONDS + options.seconds
    singles = int(options.pace * seconds) + 2
    people = options.subscriptions + singles + SMALL
    ports, port = [free_port(), free_port()], free_port()
    server = EmbeddedPostgres(folder=Path(tempfile.mkdtemp(prefix="sbm-benchmark-")))
    server.start()
    try:
        migrate(server.uri())
        connection = psycopg2.connect(server.uri())
        connection.autocommit = True
        cursor = connection.cursor()
        fill(cursor, options.subscriptions, singles)
        others = ("--post", options.post, "--stand-ins", *ports, options.subscriptions, people)
        ours = ("--daemon", *ports, port, options.concurrency, server.uri())
        with process(*others) as stand_ins, process(*ours) as daemon:
            delivery.wait_for([*ports, port])
            print(f"a tick of {options.subscriptions}, POSTs {options.post:g} s longer\n{HEAD}")
            url = f"http://127.0.0.1:{port}/api/v1/"
            measure(options, Arrivals(stand_ins.stdout), url, cursor)
            print(f"the daemon's memory: {peak_of(daemon.pid)} at most")
        connection.close()
    finally:
        server.stop()


if __name__ == "__main__":
    main()
