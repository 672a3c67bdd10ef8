"""Is a message lost or sent twice if daemons and services are killed, stopped and disconnected?

Daemons, PostgreSQL, a Message Sender and an Identity Store run in processes of their own, with a
TCP proxy on each connection. Callers tick, trigger and resend. Meanwhile, faults begin and end,
which are drawn at random from the seed. Then the daemons recover, and the script prints a
comparison of what the Message Sender has stored with the database. The exit status is 1 if anything
is wrong.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from benchmarks import machine, results
from benchmarks.results import Figure
from tests.chaos.report import ChaosReport
from tests.chaos.run import Options, Run
from tests.chaos.world import SENDERS

QUICK = {"minutes": 0.2, "kills": 2, "gap": 1.0, "subscribers": 100, "patience": 40.0}


def main() -> int:
    """Parse the command line, and run it; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="minutes of faults, at least")
    parser.add_argument("--kills", type=int, default=0, help="number of SIGKILLs, at least")
    parser.add_argument("--gap", type=float, help="seconds between faults, on average")
    parser.add_argument("--daemons", type=int, default=2)
    parser.add_argument("--subscribers", type=int, default=400)
    parser.add_argument("--seed", type=int, help="default: a random one")
    parser.add_argument("--sender", choices=SENDERS, default="sandbox", help="the Message Sender")
    parser.add_argument("--database", help="an existing server, which is not killed")
    parser.add_argument(
        "--patroni",
        action="store_true",
        dest="is_replicated",
        help="two servers under Patroni: kill and freeze leaders (--only leader)",
    )
    parser.add_argument("--code", type=Path, help="the checkout of the daemons")
    parser.add_argument(
        "--longest-stop", type=float, help="the longest time of a SIGSTOP of a daemon, in seconds"
    )
    parser.add_argument("--only", help="only faults with this in their kind: 'SIGSTOP daemon'")
    parser.add_argument("--patience", type=float, help="the longest time of recovery, in seconds")
    parser.add_argument("--set", action="append", default=[], help="a setting of the daemons")
    results.add_options(parser, QUICK)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    folder, about = given.pop("results"), dict(machine.about())
    settings = {name: str(value) for name, value in given.items()}
    del given["quick"]
    given["seconds"] = given.pop("minutes") * 60
    given["settings"] = dict(one.split("=", 1) for one in given.pop("set"))
    account = Run(Options(**given), partial(print, flush=True)).make()
    print(account.text())
    about["load at the end"] = machine.load()
    print(f"written to {results.write(folder, 'chaos', about, settings, figures(account))}")
    return 0 if account.is_clean else 1


def figures(account: ChaosReport) -> list[Figure]:
    """How often each kind of error was found, and how many outbounds were stored."""
    counts = {kind: len(cases) for kind, cases in account.wrongs.items()}
    return [
        Figure(name="outbounds stored", unit="", ours=[account.figures["outbounds"]]),
        *(Figure(name=kind, unit="", ours=[count], goal="0") for kind, count in counts.items()),
    ]


if __name__ == "__main__":
    sys.exit(main())
