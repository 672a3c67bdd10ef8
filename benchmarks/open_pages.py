"""Do pages of the console that are open make the API slower?

A daemon sends a tick, so that the pages change all the time. Many pages of Today and of the tick
are open: as many as may have a stream, and the others ask again every 15 seconds, as a browser
does. Meanwhile, clients read a subscription at a steady pace. The latency of each read counts from
the moment at which it was due. The other side is the same tick without open pages.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.api import lists
from benchmarks.content import add_messageset, add_schedule, add_subscriptions, analyse
from benchmarks.installation import Installation, installation
from benchmarks.load import Api, at_pace, percentile
from benchmarks.results import Figure
from benchmarks.script import Script

POLL_SECONDS = 15.0
# In this time, all pages are opened.
OPENING_SECONDS = 5.0
BESIDE, ALONE = "beside open pages", "alone"


def sessions(made: Installation, count: int) -> list[str]:
    """Sessions of the console, as people have them who log in."""
    found = [secrets.token_urlsafe(32) for _ in range(count)]
    for secret in found:
        made.cursor.execute(
            "INSERT INTO console_sessions (digest, user_id, address, browser)"
            " SELECT %s, id, '127.0.0.1', 'benchmark' FROM users ORDER BY id LIMIT 1",
            (hashlib.sha256(secret.encode("ascii")).digest(),),
        )
    return found


async def look(port: int, secret: str, part: str, *, after: float) -> None:
    """Look at a page: read its stream, or ask for the part again and again."""
    await asyncio.sleep(after)
    while True:
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = (
                f"GET /console/live/{part} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                f"Accept: text/html, text/event-stream\r\nCookie: sbm-local={secret}\r\n\r\n"
            )
            writer.write(head.encode("ascii"))
            while await reader.read(2**16):
                pass
            writer.close()
        await asyncio.sleep(POLL_SECONDS)


async def reads(
    port: int, secrets_of: Sequence[str], parts: Sequence[str], options: argparse.Namespace
) -> list[float]:
    """How long reads take while these pages are open, in milliseconds."""
    pages = [
        asyncio.create_task(
            look(
                port,
                secret,
                parts[number % len(parts)],
                after=number / len(secrets_of) * OPENING_SECONDS,
            )
        )
        for number, secret in enumerate(secrets_of)
    ]
    api = Api(port)
    asked = lists("/api/v1/", int(options.pace * options.seconds), options.subscriptions)

    async def read(_due_at: float) -> int:
        return (await api.ask(next(asked)))[0]

    try:
        await asyncio.sleep(OPENING_SECONDS + 1.0)
        samples = await at_pace(read, pace=options.pace, seconds=options.seconds)
    finally:
        for page in pages:
            page.cancel()
        await asyncio.gather(*pages, return_exceptions=True)
    wrong = [one.status for one in samples if one.status != 200]
    if wrong:
        raise RuntimeError(f"reads were answered with {set(wrong)}")
    return [one.seconds * 1000 for one in samples]


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Measure both sides in turn, each beside a tick of its own."""
    found: dict[str, list[float]] = {BESIDE: [], ALONE: []}
    with installation(folder, about) as made:
        schedule = add_schedule(made.cursor)
        messageset = add_messageset(made.cursor, schedule)
        add_subscriptions(
            made.cursor, options.subscriptions, schedule=schedule, messageset=messageset
        )
        analyse(made.cursor)
        open_pages = sessions(made, options.pages)
        with made.daemon(SBM_MAX_RATE=str(options.rate)) as daemon:
            sending = made.sending(daemon)
            for number in range(options.rounds):
                for side, secrets_of in ((ALONE, []), (BESIDE, open_pages)):
                    sending.open(schedule)
                    made.cursor.execute("SELECT max(id) FROM ticks WHERE source <> 'single'")
                    ((tick,),) = made.cursor.fetchall()
                    parts = ("today", f"tick?key={tick}")
                    times = asyncio.run(reads(daemon.port, secrets_of, parts, options))
                    found[side].append(percentile(times, 0.99))
                print(
                    f"round {number + 1}: "
                    + ", ".join(
                        f"p99 {side} {values[-1]:.1f} ms" for side, values in found.items()
                    ),
                    flush=True,
                )
    return [
        Figure(
            name=f"p99 of reads beside {options.pages} open pages ÷ alone",
            unit="ms",
            ours=found[BESIDE],
            theirs=found[ALONE],
            goal="≤ 1.5",
        )
    ]


SCRIPT = Script(
    name="open_pages",
    doc=__doc__,
    measure=measure,
    options={
        "subscriptions": 20_000,
        "pages": 200,
        "pace": 20.0,
        "rate": 100,
        "seconds": 30.0,
        "rounds": 3,
    },
    quick={"seconds": 5.0, "rounds": 1, "pages": 60},
)

if __name__ == "__main__":
    SCRIPT.run()
