"""How much does a send cost beyond its two HTTP calls?

    python -m benchmarks.delivery [--subscriptions 2000] [--concurrency 50] [--rounds 3]

One side only makes the two calls of each send (look up the address, post the message), with the
same concurrency and the same client. The other side is the daemon with its database, from the tick
to the last settled send. Both call the same stand-ins, which run in a process of their own. The
sides take turns. The script prints the ratio of each round, and the median.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import psycopg2
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.task import react
from twisted.web.server import Site

from sbm.clients.identity_store import IdentityStore
from sbm.clients.message_sender import MessageSender
from sbm.clients.service_client import ServiceClient
from sbm.daemon import assemble
from sbm.sandbox.postgres import EmbeddedPostgres
from sbm.sandbox.stand_ins import identity_store, message_sender
from sbm.settings.config import Config
from sbm.store.postgres.migrations import migrate

TEXT = "Welcome. This is the message of the week."


def identity(number: int) -> str:
    """The identity with this number, the same on both sides."""
    return str(uuid.UUID(int=number + 1))


def serve(ports: list[int], people: int) -> None:
    """Serve the Identity Store and the Message Sender until the standard input ends."""
    from twisted.internet import reactor

    identities = identity_store.IdentityStore()
    for number in range(people):
        identities.add(f"+2782{number:07}", identity(number))
    for port, resource in (
        (ports[0], identity_store.IdentityStoreApp(store=identities).resource()),
        (
            ports[1],
            message_sender.MessageSenderApp(sender=message_sender.MessageSender()).resource(),
        ),
    ):
        site = Site(resource)
        site.displayTracebacks = False
        reactor.listenTCP(port, site, interface="127.0.0.1")  # type: ignore[attr-defined]
    reactor.callInThread(_stop_at_end_of_input, reactor)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


def _stop_at_end_of_input(reactor: Any) -> None:
    sys.stdin.read()
    reactor.callFromThread(reactor.stop)


def free_port() -> int:
    """A free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def config(ports: list[int], database: str, concurrency: int) -> Config:
    """The daemon's settings."""
    environ = {
        "IDENTITY_STORE_URL": f"http://127.0.0.1:{ports[0]}",
        "IDENTITY_STORE_TOKEN": "i",
        "MESSAGE_SENDER_URL": f"http://127.0.0.1:{ports[1]}",
        "MESSAGE_SENDER_TOKEN": "m",
        "STAGE_BASED_MESSAGING_URL": "http://sbm.example.org",
        # The daemon has no clock of its own, and sends no schedules to the Scheduler.
        "SBM_SCHEDULING": "schedule",
        "SCHEDULER_URL": "http://scheduler.example.org",
        "SCHEDULER_API_TOKEN": "s",
        "SBM_CONCURRENCY": str(concurrency),
    }
    return Config.from_environ(environ, database=database)


async def bare(reactor: Any, settings: Config, people: int) -> float:
    """Seconds for only the two calls per person."""
    timeout, connections = settings.request_timeout, settings.concurrency
    exchanges = [
        ServiceClient(reactor=reactor, address=address, timeout=timeout, connections=connections)
        for address in (settings.identity_store, settings.message_sender)
    ]
    store, sender = IdentityStore(client=exchanges[0]), MessageSender(client=exchanges[1])
    permits = DeferredSemaphore(settings.concurrency)

    async def one(number: int) -> None:
        async with permits:
            to_addr = await store.address_of(identity(number))
            outbound = {
                "to_addr": to_addr,
                "to_identity": identity(number),
                "delivered": "false",
                "resend": "false",
                "metadata": {"sbm_send_id": str(uuid.uuid4())},
                "content": TEXT,
            }
            await sender.post(outbound, begin=lambda: True)

    began = time.perf_counter()
    await gatherResults([Deferred.fromCoroutine(one(number)) for number in range(people)])
    seconds = time.perf_counter() - began
    for each in exchanges:
        await each.stopService()
    return seconds


async def daemon(reactor: Any, settings: Config, cursor: Any, schedule: int) -> float:
    """Seconds from the tick to the last settled send."""
    service: Any = assemble(settings, reactor, listen=[])
    service.startService()
    began = time.perf_counter()
    cursor.execute(
        "INSERT INTO ticks (source, state, schedule_id) VALUES ('post-back', 'expanding', %s);"
        " NOTIFY sbm_ticks",
        (schedule,),
    )
    while True:
        cursor.execute(
            "SELECT (SELECT count(*) FROM sends) +"
            " (SELECT count(*) FROM ticks WHERE state = 'expanding')"
        )
        if cursor.fetchone() == (0,):
            break
        pause: Deferred[None] = Deferred()
        reactor.callLater(0.05, pause.callback, None)
        await pause
    seconds = time.perf_counter() - began
    await service.stopService()
    return seconds


def arrange(cursor: Any, people: int, rounds: int) -> int:
    """Insert a message set that is long enough, and subscriptions; returns the schedule's id."""
    cursor.execute("INSERT INTO schedules DEFAULT VALUES RETURNING id")
    (schedule,) = cursor.fetchone()
    cursor.execute(
        "INSERT INTO messagesets (short_name, content_type, default_schedule_id)"
        " VALUES ('benchmark', 'text', %s) RETURNING id",
        (schedule,),
    )
    (messageset,) = cursor.fetchone()
    cursor.execute(
        "INSERT INTO messages (messageset_id, sequence_number, lang, text_content)"
        " SELECT %s, n, 'eng_ZA', %s FROM generate_series(1, %s) n",
        (messageset, TEXT, rounds + 10),
    )
    cursor.executemany(
        "INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang)"
        " VALUES (%s, %s, %s, 'eng_ZA')",
        [(identity(number), messageset, schedule) for number in range(people)],
    )
    return int(schedule)


async def measure(reactor: Any, options: argparse.Namespace, ports: list[int]) -> None:
    """Measure both sides in turn, and print."""
    folder = Path(tempfile.mkdtemp(prefix="sbm-benchmark-"))
    server = EmbeddedPostgres(folder=folder)
    server.start()
    try:
        migrate(server.uri())
        connection = psycopg2.connect(server.uri())
        connection.autocommit = True
        cursor = connection.cursor()
        people = options.subscriptions
        schedule = arrange(cursor, people, options.rounds)
        settings = config(ports, server.uri(), options.concurrency)
        await bare(reactor, settings, min(people, 200))
        ratios = []
        for number in range(options.rounds):
            calls = await bare(reactor, settings, people)
            sends = await daemon(reactor, settings, cursor, schedule)
            ratios.append(sends / calls)
            print(
                f"round {number + 1}: two calls {people / calls:7.0f}/s,"
                f" sends {people / sends:7.0f}/s, sends cost {ratios[-1]:.2f} times the calls"
            )
        print(f"median ratio {statistics.median(ratios):.2f} (1.00: a send costs its calls alone)")
        connection.close()
    finally:
        server.stop()


def main() -> None:
    """Parse the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--subscriptions", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.subscriptions)
        return
    ports = [free_port(), free_port()]
    serve_them = ["--serve", *map(str, ports), "--subscriptions", str(options.subscriptions)]
    stand_ins = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.delivery", *serve_them], stdin=subprocess.PIPE
    )
    try:
        wait_for(ports)
        react(lambda reactor: Deferred.fromCoroutine(measure(reactor, options, ports)))
    finally:
        stand_ins.communicate()


def wait_for(ports: list[int]) -> None:
    """Wait until each of the ports accepts connections."""
    for port in ports:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)


if __name__ == "__main__":
    main()
