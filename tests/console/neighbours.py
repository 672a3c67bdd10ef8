"""The Seed services around a daemon, in a process of their own.

``python -m tests.console.neighbours FOLDER`` runs it. Tests with a browser keep their own process
busy. It prints the settings of a daemon that calls the services, as JSON in one line, and serves
until it is killed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor

from sbm.sandbox.stand_ins.servers import StandIns
from tests.console.content import PEOPLE

reactor: Any = global_reactor


def main(folder: Path) -> None:
    """Serve until the end."""
    services: Any = StandIns(reactor=reactor, folder=folder)
    for identity, number in PEOPLE.items():
        services.identity_store.add(number, identity)
    services.startService()
    reactor.callWhenRunning(
        lambda: print(json.dumps(services.settings()), flush=True)  # noqa: T201
    )
    reactor.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
