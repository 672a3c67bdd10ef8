"""How much longer do all other messages take if one message in twenty is refused?

    python -m benchmarks.refusals [--subscriptions 2000] [--status 403] [--rounds 3]

On one side, a tick is sent without refusals. On the other side, a tick is sent to the same people,
and one message in twenty is answered with an error at every try. The script measures the time from
the tick until all other people have their message, in elapsed time and in processor time of the
daemon's process. The sides take turns. The script prints the ratios of each round.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg2
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from benchmarks.delivery import arrange, config, free_port, identity, wait_for
from sbm.daemon import assemble
from sbm.sandbox.postgres import EmbeddedPostgres
from sbm.sandbox.stand_ins import identity_store, message_sender
from sbm.store.postgres.migrations import migrate

# Messages to one person in so many are refused.
SHARE = 20


class Refusing(Resource):
    """The Message Sender behind a proxy that refuses messages to some people."""

    isLeaf = True

    def __init__(self, service: Resource, refused: frozenset[str], status: int) -> None:
        Resource.__init__(self)
        self._service, self._refused, self._status = service, refused, status

    def render(self, request: Request) -> Any:
        """Refuse the POSTs to those people."""
        if request.method == b"POST":
            assert request.content is not None
            outbound = json.loads(request.content.read())
            request.content.seek(0)
            if outbound["to_identity"] in self._refused:
                request.setResponseCode(self._status)
                return b"<h1>no</h1>"
        return self._service.render(request)


def serve(ports: list[int], people: int, status: int) -> None:
    """Serve an Identity Store, a Message Sender, and one that refuses messages to some people."""
    from twisted.internet import reactor as _reactor

    reactor: Any = _reactor
    identities = identity_store.IdentityStore()
    for number in range(people):
        identities.add(f"+2782{number:07}", identity(number))
    refused = frozenset(identity(number) for number in range(0, people, SHARE))
    senders = [
        message_sender.MessageSenderApp(sender=message_sender.MessageSender()) for _ in range(2)
    ]
    resources = [
        identity_store.IdentityStoreApp(store=identities).resource(),
        senders[0].resource(),
        Refusing(senders[1].resource(), refused, status),
    ]
    for port, resource in zip(ports, resources, strict=True):
        reactor.listenTCP(port, Site(resource), interface="127.0.0.1")
    reactor.callInThread(lambda: (sys.stdin.read(), reactor.callFromThread(reactor.stop)))
    reactor.run()


async def tick(reactor: Any, settings: Any, cursor: Any, schedule: int, others: int) -> Any:
    """Elapsed and processor seconds from a tick until ``others`` people have their message."""
    cursor.execute("TRUNCATE ledger, sends, failed_tasks")
    service: Any = assemble(settings, reactor, listen=[])
    service.startService()
    wall, processor = time.perf_counter(), time.process_time()
    cursor.execute(
        "INSERT INTO ticks (source, state, schedule_id) VALUES ('post-back', 'expanding', %s);"
        " NOTIFY sbm_ticks",
        (schedule,),
    )
    while True:
        cursor.execute("SELECT count(*) FROM ledger WHERE outcome = 'sent'")
        if cursor.fetchone()[0] >= others:
            break
        pause: Deferred[None] = Deferred()
        reactor.callLater(0.05, pause.callback, None)
        await pause
    took = time.perf_counter() - wall, time.process_time() - processor
    await service.stopService()
    return took


async def measure(reactor: Any, options: argparse.Namespace, ports: list[int]) -> None:
    """Measure both sides in turn, and print."""
    server = EmbeddedPostgres(folder=Path(tempfile.mkdtemp(prefix="sbm-benchmark-")))
    server.start()
    try:
        migrate(server.uri())
        connection = psycopg2.connect(server.uri())
        connection.autocommit = True
        cursor = connection.cursor()
        people = options.subscriptions
        schedule = arrange(cursor, people, 4 * options.rounds)
        alone = config(ports[:2], server.uri(), 50)
        beside = evolve(
            alone,
            message_sender=evolve(alone.message_sender, url=f"http://127.0.0.1:{ports[2]}"),
        )
        others = people - len(range(0, people, SHARE))
        await tick(reactor, alone, cursor, schedule, others)  # to warm up
        for number in range(options.rounds):
            without = await tick(reactor, alone, cursor, schedule, others)
            with_refusals = await tick(reactor, beside, cursor, schedule, others)
            ratios = [b / a for a, b in zip(without, with_refusals, strict=True)]
            print(
                f"round {number + 1}: {others} messages are sent after {without[0]:.1f} s;"
                f" if {people - others} more are answered {options.status},"
                f" they take {ratios[0]:.2f} times as long ({ratios[1]:.2f} times in processor"
                " time)"
            )
        connection.close()
    finally:
        server.stop()


def main() -> None:
    """Parse the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--subscriptions", type=int, default=2000)
    parser.add_argument("--status", type=int, default=403)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.subscriptions, options.status)
        return
    ports = [free_port() for _ in range(3)]
    given = ["--subscriptions", str(options.subscriptions), "--status", str(options.status)]
    stand_ins = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.refusals", "--serve", *map(str, ports), *given],
        stdin=subprocess.PIPE,
    )
    try:
        wait_for(ports)
        react(lambda reactor: Deferred.fromCoroutine(measure(reactor, options, ports)))
    finally:
        stand_ins.communicate()


if __name__ == "__main__":
    main()
