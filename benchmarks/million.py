"""Does a page at the end of a million subscriptions cost more than one at the beginning?

    python -m benchmarks.million [--subscriptions 1000000] [--requests 20]

The daemon runs in a process of its own, with an embedded database that SQL has filled. First, the
script only reads filtered lists and makes subscriptions. Then it follows ``next`` from the first
page to the last, while it does the same as before, ten times a second. Latencies are printed as
percentiles. At the end, it reads the first and the last pages once more, in turn, so that other
work of the machine slows both. Their ratio shows whether the list gets slower.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor

from benchmarks.served import HEAD, HEADERS, daemon, filled, line

FILTERS = {
    "identity": "identity=6fb30d6b-ba06-4964-825e-20f93388b9fe",
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
    "plain offset, near the end": "offset=900000",
}


def ask(url: str, body: Any = None) -> tuple[Any, float]:
    """Send a GET, or a POST if there is a body; returns the answer, and the seconds it took."""
    headers = HEADERS | {"Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode("utf-8")
    request = urllib.request.Request(url, headers=headers, data=data)
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text), time.perf_counter() - began


def filtered(url: str, latencies: dict[str, list[float]], pause: float = 0.0) -> None:
    """Read a page of 100 of each filtered list."""
    for name, query in FILTERS.items():
        latencies.setdefault(name, []).append(ask(f"{url}?limit=100&{query}")[1])
        time.sleep(pause)


def create(url: str, latencies: dict[str, list[float]], pause: float = 0.0) -> None:
    """Make a few subscriptions."""
    body = {
        "identity": "16b0f41f-d7b6-44c8-a481-87a8c4a8c08d",
        "messageset": 1,
        "schedule": 1,
        "lang": "eng_ZA",
        "metadata": {"source": "hub"},
    }
    for _ in FILTERS:
        latencies.setdefault("create", []).append(ask(url, body)[1])
        time.sleep(pause)


# Seconds between two requests beside the main ones, as a few clients would send them.
PAUSE = 0.1


def beside(
    work: Callable[[str, dict[str, list[float]], float], None], url: str, ended: threading.Event
) -> tuple[threading.Thread, dict[str, list[float]]]:
    """Repeat ``work`` in a thread until ``ended`` is set; returns the thread and the latencies."""
    latencies: dict[str, list[float]] = {}

    def loop() -> None:
        while not ended.is_set():
            work(url, latencies, PAUSE)

    thread = threading.Thread(target=loop)
    thread.start()
    return thread, latencies


def follow(url: str) -> tuple[list[float], list[str], int]:
    """Read all pages; returns their latencies, their URLs, and the number of rows."""
    latencies, urls, rows, following = [], list[str](), 0, url
    while following:
        page, seconds = ask(following)
        latencies.append(seconds)
        urls.append(following)
        rows += len(page["results"])
        following = page["next"]
    return latencies, urls, rows


def compare(first: list[str], last: list[str]) -> tuple[list[float], list[float]]:
    """The latencies of the first and the last pages, which are read in turn."""
    pairs = [(ask(one)[1], ask(other)[1]) for one, other in zip(first, last, strict=False)]
    return [one for one, _ in pairs], [other for _, other in pairs]


def measure(url: str, requests: int) -> None:
    """Read lists, follow pages, and print."""
    alone: dict[str, list[float]] = {}
    for _ in range(requests):
        filtered(url, alone)
        create(url, alone)
    print(f"alone, pages of 100\n{HEAD}")
    for name, seconds in alone.items():
        print(line(name, seconds))
    ended = threading.Event()
    lists, made = beside(filtered, url, ended), beside(create, url, ended)
    pages, urls, rows = follow(url)
    ended.set()
    for thread, _ in (lists, made):
        thread.join()
    print(f"\n{rows} rows followed by pages of 1,000, with the others beside it\n{HEAD}")
    print(line("pages", pages[1:]))
    for name, seconds in (lists[1] | made[1]).items():
        print(line(name, seconds))
    # The very first page counts all rows, and the very last one is not full.
    first, last = compare(urls[1:101], urls[-101:-1])
    print(f"\nin turn, alone\n{HEAD}")
    print(line("the first pages", first))
    print(line("the last pages", last))
    ratio = statistics.median(last) / statistics.median(first)
    print(f"the last pages cost {ratio:.2f} times the first")


def serve(uri: str) -> None:
    """Serve the daemon until the standard input ends, and print the URL of the list."""
    loop: Any = reactor
    service, url = daemon(loop, uri)
    loop.callWhenRunning(service.startService)
    loop.callWhenRunning(print, url, flush=True)
    loop.callInThread(lambda: (sys.stdin.read(), loop.callFromThread(loop.stop)))
    loop.run()


def main() -> None:
    """Parse the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--subscriptions", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    with filled(options.subscriptions) as uri:
        served = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.million", "--serve", uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert served.stdout is not None
            measure(served.stdout.readline().strip(), options.requests)
        finally:
            served.communicate()


if __name__ == "__main__":
    main()
