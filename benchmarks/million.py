"""Does a page at the end of a million subscriptions cost more than one at the beginning?

First, the script only reads filtered lists and subscribes people. Then it follows ``next`` from the
first page to the last. Meanwhile, it does the same as before at a steady pace, and the time of each
request counts from when it was due. At the end, it reads the first and the last pages once more, in
turn, so that other work of the machine slows both. Their ratio shows whether the list gets slower.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import define

from benchmarks.content import add_many_sets, analyse, registration
from benchmarks.installation import Installation, installation
from benchmarks.load import Api, at_pace, percentile, written
from benchmarks.results import Figure
from benchmarks.script import Script

FILTERS = {
    "identity and active": "identity={identity}&active=true",
    "identity, unknown": "identity=6fb30d6b-ba06-4964-825e-20f93388b9fe",
    "messageset": "messageset=3",
    "messageset, active": "messageset=3&active=true",
    "schedule": "schedule=4",
    "lang": "lang=zul_ZA",
    "active": "active=true",
    "completed": "completed=true",
    "process_status 0": "process_status=0",
    "process_status 1": "process_status=1",
    "process_status -1": "process_status=-1",
    "created_after": "created_after=2099-01-01T00:00:00Z",
    "metadata_has_key, all": "metadata_has_key=source",
    "metadata_has_key, rare": "metadata_has_key=rare",
    "metadata_not_has_key, none": "metadata_not_has_key=source",
    "messageset_contains": "messageset_contains=set.1",
    "next_sequence_number (no index)": "next_sequence_number=7",
    "plain offset, near the end": "offset={offset}",
}


PATH = "/api/v1/subscriptions/"
CREATE = "create"

# Pages that are read at each end.
PAGES = 100

_SHARES = (0.5, 0.9, 0.99)
HEAD = f"{'':44} {'number':>6}  {'p50 ms':>7}  {'p90':>7}  {'p99':>7}  {'max':>7}"


def line(what: str, seconds: Sequence[float]) -> str:
    """A line of the report, in milliseconds. Without 100 values, there is no 99th percentile."""
    figures = [
        f"{percentile(seconds, share) * 1000:7.1f}" if len(seconds) * (1 - share) >= 1 else " " * 7
        for share in _SHARES
    ]
    return f"{what:44} {len(seconds):6}  {'  '.join(figures)}  {max(seconds) * 1000:7.1f}"


@define(eq=False, kw_only=True)
class Reader:
    """Makes requests to the API, and remembers how long they took, by name."""

    api: Api
    queries: dict[str, str]
    identities: Sequence[str]
    latencies: dict[str, list[float]]

    async def ask(self, request: bytes) -> Any:
        """The JSON of the answer."""
        status, body = await self.api.ask(request)
        if status not in (200, 201):
            raise RuntimeError(f"{status} {body[:200]!r} to {request[:200]!r}")
        return json.loads(body)

    def request(self, name: str) -> bytes:
        """The request with this name, for a page of 100, or to subscribe a person."""
        if name == CREATE:
            return written("POST", f"{PATH}request", registration(messageset=1, schedule=1))
        query = self.queries[name].replace("{identity}", random.choice(self.identities))
        return written("GET", f"{PATH}?limit=100&{query}")

    async def all_once(self) -> None:
        """Make each request once, one after the other."""
        for name in (*self.queries, CREATE):
            began = time.monotonic()
            await self.ask(self.request(name))
            self.latencies[name].append(time.monotonic() - began)

    async def one(self, due_at: float) -> int:
        """Make a request, any of them; its time counts from when it was due."""
        name = random.choice((*self.queries, CREATE))
        await self.ask(self.request(name))
        self.latencies[name].append(time.monotonic() - due_at)
        return 200

    async def page(self, url: str) -> tuple[Any, float]:
        """A page, and the seconds that it took."""
        began = time.monotonic()
        page = await self.ask(written("GET", url[url.index(PATH) :]))
        return page, time.monotonic() - began

    async def follow(self) -> tuple[list[float], list[str]]:
        """Read all pages; returns their latencies and their URLs."""
        latencies, urls, following = [], list[str](), PATH
        while following:
            page, seconds = await self.page(following)
            latencies.append(seconds)
            urls.append(following)
            following = page["next"]
        return latencies, urls


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Fill the database, read lists, and follow pages."""
    with installation(folder, about) as made:
        add_many_sets(made.cursor, options.subscriptions)
        analyse(made.cursor)
        with made.daemon() as daemon:
            return asyncio.run(read(made, Api(daemon.port), options))


async def read(made: Installation, api: Api, options: argparse.Namespace) -> Sequence[Figure]:
    """Read lists, follow pages, and print."""
    made.cursor.execute("SELECT identity FROM subscriptions WHERE active LIMIT 1000")
    offset = str(options.subscriptions * 9 // 10)
    reader = Reader(
        api=api,
        queries={name: query.replace("{offset}", offset) for name, query in FILTERS.items()},
        identities=[identity for (identity,) in made.cursor.fetchall()],
        latencies=defaultdict(list),
    )
    for _ in range(options.requests):
        await reader.all_once()
    alone, reader.latencies = reader.latencies, defaultdict(list)
    show("alone, pages of 100", alone)
    (pages, urls), _ = await asyncio.gather(
        reader.follow(), at_pace(reader.one, pace=options.pace, seconds=options.seconds)
    )
    show(
        f"{len(pages)} pages of 1,000 followed, with the others beside it",
        {"pages": pages[1:], **reader.latencies},
    )
    # The very first page counts all rows, and the very last one is not full.
    ends = list(zip(urls[1 : PAGES + 1], urls[-PAGES - 1 : -1], strict=True))
    first, last = [], list[float]()
    for one, other in ends:
        first.append((await reader.page(one))[1] * 1000)
        last.append((await reader.page(other))[1] * 1000)
    return [
        Figure(name="the last pages ÷ the first pages", unit="ms", ours=last, theirs=first),
        *(
            Figure(
                name=f"list of 100, alone: {name}",
                unit="ms",
                ours=[value * 1000 for value in seconds],
            )
            for name, seconds in alone.items()
        ),
    ]


def show(title: str, latencies: dict[str, list[float]]) -> None:
    """Print a table."""
    print(f"{title}\n{HEAD}")
    for name, seconds in latencies.items():
        print(line(name, seconds))
    print(flush=True)


SCRIPT = Script(
    name="million",
    doc=__doc__,
    measure=measure,
    options={"subscriptions": 1_000_000, "requests": 200, "pace": 20.0, "seconds": 120.0},
    quick={"subscriptions": 20_000, "requests": 5, "seconds": 5.0},
)

if __name__ == "__main__":
    SCRIPT.run()
