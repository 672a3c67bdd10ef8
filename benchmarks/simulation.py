"""What does it cost to simulate a tick of a million members, beside counting them?

All members are on one schedule; some are in a language without messages, some have a prepend, and
some are at the end of their set. A daemon simulates the tick, and a session counts the members with
the condition of the tick, in turns. The cost is the processor time of the server and of the daemon.
At the end the tick is opened with the token of a simulation.
"""

from __future__ import annotations

import argparse
import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.content import HEADERS, analyse
from benchmarks.daemons import Daemon
from benchmarks.installation import Installation, installation
from benchmarks.results import Figure
from benchmarks.script import Script
from sbm.store.postgres.statements import load

SETTINGS = {"SBM_PAUSED": "true"}

STATEMENTS = """
    INSERT INTO schedules (minute, hour) VALUES ('0', '8');
    INSERT INTO messagesets (short_name, content_type, default_schedule_id)
    SELECT 'set.' || n, 'text', 1 FROM generate_series(1, 20) n;
    UPDATE messagesets SET next_set_id = id + 1 WHERE id % 4 > 0;
    INSERT INTO messages (messageset_id, sequence_number, lang, text_content)
    SELECT id, number, lang, 'The message number ' || number
      FROM messagesets, generate_series(1, 40) number, unnest(ARRAY['eng_ZA', 'zul_ZA']) lang;
    DELETE FROM content_changes;
    INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang, next_sequence_number,
                               metadata)
    SELECT gen_random_uuid(), 1 + n % 20, 1,
           CASE WHEN n % 200 = 0 THEN 'xho_ZA' WHEN n % 2 = 0 THEN 'zul_ZA' ELSE 'eng_ZA' END,
           1 + n % 41,
           CASE WHEN n % 1000 = 1 THEN '{"prepend_next_delivery": "Hello"}'::jsonb
                WHEN n % 3 = 0 THEN '{"source": "clinic"}' END
      FROM generate_series(1, {members}) n
"""

# As whoever writes it by hand counts them, and with the condition of a tick.
_GROUPED = "SELECT %(schedule_id)s::integer AS schedule_id"
COUNTS = {
    "plain": "SELECT count(*) FROM subscriptions"
    " WHERE schedule_id = 1 AND active AND NOT completed AND process_status >= 0",
    "members": load("simulations").group_members.sql.rpartition(_GROUPED)[0]  # noqa: S608
    + "SELECT count(*) FROM members",
}
TICK = {"schedule_id": 1, "tick_id": None, "due_at": None, "is_repeated": False}


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Count and simulate in turns, and open the tick."""
    with installation(folder, about) as made:
        for statement in STATEMENTS.replace("{members}", str(options.members)).split(";"):
            made.cursor.execute(statement)
        analyse(made.cursor)
        costs: dict[str, list[float]] = {"plain": [], "members": [], "simulation": []}
        with made.daemon(**SETTINGS) as daemon:
            for _ in range(options.rounds + 1):
                for name, sql in COUNTS.items():
                    costs[name].append(cost(made, daemon, lambda sql=sql: count(made, sql)))
                told: dict[str, Any] = {}
                costs["simulation"].append(
                    cost(made, daemon, lambda told=told: told.update(simulate(daemon)))
                )
            compare(made, told, options.members)
            opened = cost(made, daemon, lambda: start(daemon, told["token"]))
    for one in costs.values():
        del one[0]  # the first reads the table from the disk
    return [
        Figure(
            name="simulation / count of the members",
            unit="",
            ours=ratios(costs["simulation"], costs["members"]),
            goal="≤ 3",
        ),
        Figure(
            name="simulation / plain count",
            unit="",
            ours=ratios(costs["simulation"], costs["plain"]),
        ),
        Figure(name="simulation", unit="s", ours=costs["simulation"]),
        Figure(name="plain count", unit="s", ours=costs["plain"]),
        Figure(name="count of the members", unit="s", ours=costs["members"]),
        Figure(name="opening the tick with a token", unit="s", ours=[opened]),
    ]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Processor time is told in hundredths of a second."""
    return [one / max(other, 0.01) for one, other in zip(ours, theirs, strict=True)]


def cost(made: Installation, daemon: Daemon, work: Any) -> float:
    """The processor time of the server and the daemon for some work, in seconds."""
    before = made.server.cpu_seconds() + daemon.process.cpu_seconds()
    work()
    return made.server.cpu_seconds() + daemon.process.cpu_seconds() - before


def count(made: Installation, sql: str) -> None:
    """Count the members."""
    made.cursor.execute(sql, TICK)
    made.cursor.fetchall()


def simulate(daemon: Daemon) -> dict[str, Any]:
    """Simulate the tick; returns the answer."""
    return call(daemon, "simulations/", {"schedule": 1})


def start(daemon: Daemon, token: str) -> None:
    """Open the tick that was simulated."""
    call(daemon, "schedule/1/send/", None, **{"Simulation-Token": token})


def call(daemon: Daemon, path: str, body: Any, **headers: str) -> dict[str, Any]:
    """POST to the daemon; returns the answer."""
    request = urllib.request.Request(
        daemon.url + path,
        data=json.dumps(body).encode(),
        headers={**HEADERS, "Content-Type": "application/json", **headers},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        return dict(json.loads(answer.read()))


def compare(made: Installation, told: dict[str, Any], members: int) -> None:
    """Compare the sums with what was made."""
    made.cursor.execute(
        "SELECT count(*) FROM subscriptions WHERE lang <> 'xho_ZA' AND next_sequence_number <= 40"
    )
    ((sent,),) = made.cursor.fetchall()
    if (told["members"], told["send"]["count"]) != (members, sent):
        raise RuntimeError(f"the simulation is wrong: {members} and {sent} were made")


SCRIPT = Script(
    name="simulation",
    doc=__doc__,
    measure=measure,
    options={"members": 1_000_000, "rounds": 3},
    quick={"members": 20_000, "rounds": 1},
)

if __name__ == "__main__":
    SCRIPT.run()
