"""How fast are silent people found among a million, and is each one found, with the very cause?

SQL fills a database as for ``benchmarks.behind``, and makes some of the people silent, each for a
known cause: errors, a language without messages, missing translations, an empty set, a schedule
that is never due, a paused set. Then a daemon searches, as a client has asked it to, and searches
again when all of them are recorded already. The counts are compared with those that were made. At
the end, ``sbm silent`` counts them without recording anything, and a page of the list is read by
the API.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.behind import SETTINGS, STATEMENTS, Watch
from benchmarks.content import HEADERS, analyse
from benchmarks.daemons import Daemon
from benchmarks.installation import Installation, installation
from benchmarks.load import percentile
from benchmarks.processes import ENVIRONMENT
from benchmarks.results import Figure
from benchmarks.script import Script

# The remainder of a person's number by 100 decides the cause. Sets 1 to 4 wait for translations, of
# which those into Zulu lack number 2; set 20 is paused.
FAULTS = """
    DELETE FROM messages WHERE messageset_id <= 4 AND lang = 'zul_ZA' AND sequence_number = 2;
    UPDATE messagesets SET on_missing_translation = 'wait' WHERE id <= 4;
    INSERT INTO messagesets (short_name, content_type, default_schedule_id)
    VALUES ('empty', 'text', 1);
    INSERT INTO schedules (day_of_month, month_of_year) VALUES ('31', '4');
    UPDATE subscriptions s
       SET process_status = CASE WHEN number < 20 THEN -1 ELSE 0 END,
           lang = CASE WHEN number BETWEEN 20 AND 39 THEN 'sot_ZA' ELSE s.lang END,
           messageset_id = CASE WHEN number BETWEEN 40 AND 49
                                THEN (SELECT id FROM messagesets WHERE short_name = 'empty')
                                ELSE s.messageset_id END,
           schedule_id = CASE WHEN number BETWEEN 50 AND 59 THEN 11 ELSE s.schedule_id END
      FROM (SELECT id, row_number() OVER (ORDER BY id) %% 1000 AS number FROM subscriptions
             WHERE active) numbered
     WHERE numbered.id = s.id AND number < 60;
    INSERT INTO pauses (kind, reason, messageset_id, on_ticks, paused_by)
    VALUES ('operator', 'benchmark', 20, 'later', 'ann');
    INSERT INTO scheduler_schedules (kind, target, remote_id, enabled)
    SELECT 'schedule', id::text, id::text, true FROM schedules;
    DELETE FROM scheduler_calls
"""

# The same causes, without the function.
EXPECTED = """
    SELECT cause, count(*) FROM (
        SELECT CASE WHEN process_status < 0 THEN 'error'
                    WHEN short_name = 'empty' THEN 'empty-set'
                    WHEN lang = 'sot_ZA' AND messageset_id > 4 THEN 'language'
                    WHEN messageset_id <= 4
                     AND (lang = 'sot_ZA' AND next_sequence_number <= 40 + 2 * messageset_id
                          OR lang = 'zul_ZA' AND next_sequence_number = 2) THEN 'translation'
                    WHEN schedule_id = 11 THEN 'schedule'
                    WHEN messageset_id = 20 THEN 'paused' END AS cause
          FROM subscriptions JOIN messagesets ON messagesets.id = messageset_id
         WHERE active) judged
     WHERE cause IS NOT NULL GROUP BY cause
"""
COUNTED = "SELECT cause, count(*) FROM silent_subscriptions GROUP BY cause"


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Let the daemon search twice, compare the counts, and run the operator's command."""
    with installation(folder, about) as made:
        made.cursor.execute(STATEMENTS, (options.subscriptions,))
        for statement in FAULTS.replace("%%", "%").split(";"):
            made.cursor.execute(statement)
        analyse(made.cursor)
        made.cursor.execute("SELECT count(*) FROM subscriptions")
        ((count,),) = made.cursor.fetchall()
        with made.daemon(**SETTINGS) as daemon:
            watch = Watch(made.uri)
            first, again = (search(made, daemon, watch) for _ in range(2))
            compare(made)
            pages = [page(daemon) for _ in range(20)]
        command = operate(made.uri)
    return [
        Figure(name="the first search of all", unit="s", ours=[first], goal="≤ 60"),
        Figure(name="the same search again", unit="s", ours=[again]),
        Figure(name="subscriptions a second", unit="/s", ours=[count / first]),
        Figure(name="sbm silent", unit="s", ours=[command]),
        Figure(name="slowest statement", unit="s", ours=[watch.slowest]),
        Figure(name="a page of 1,000, p50", unit="ms", ours=[percentile(pages, 0.5) * 1000]),
        Figure(
            name="p99 of a look-up by key meanwhile",
            unit="ms",
            ours=[percentile(watch.look_ups, 0.99) * 1000],
        ),
    ]


def search(made: Installation, daemon: Daemon, watch: Watch) -> float:
    """Ask the daemon to search; returns the seconds."""
    began = time.monotonic()
    task = daemon.post("silent/search/")["task_id"]
    while True:
        watch.look()
        made.cursor.execute("SELECT state, reason FROM tasks WHERE id = %s", (task,))
        ((state, reason),) = made.cursor.fetchall()
        if state not in ("waiting", "begun"):
            break
        time.sleep(0.05)
    if state != "done":
        raise RuntimeError(f"the task is {state}: {reason}")
    return time.monotonic() - began


def compare(made: Installation) -> None:
    """Compare what was found with what was made."""
    found = []
    for statement in (EXPECTED, COUNTED):
        made.cursor.execute(statement)
        found.append(dict(made.cursor.fetchall()))
    print("by cause:", ", ".join(f"{cause} {n}" for cause, n in sorted(found[1].items())))
    if found[0] != found[1]:
        raise RuntimeError(f"the result is wrong: {found[0]} were made")


def page(daemon: Daemon) -> float:
    """Read a page of the list; returns the seconds."""
    began = time.perf_counter()
    request = urllib.request.Request(f"{daemon.url}silent/?cause=paused", headers=dict(HEADERS))
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()
    return time.perf_counter() - began


def operate(uri: str) -> float:
    """Run ``sbm silent``, and print what it prints last; returns the seconds."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", "from sbm.cli import main; main()", "silent"],
        env={**ENVIRONMENT, **SETTINGS, "STAGE_BASED_MESSAGING_DATABASE": uri},
        capture_output=True,
        text=True,
        check=True,
    )
    print("sbm silent:", done.stdout.splitlines()[-1])
    return time.monotonic() - began


SCRIPT = Script(
    name="silent",
    doc=__doc__,
    measure=measure,
    options={"subscriptions": 1_000_000},
    quick={"subscriptions": 20_000},
)

if __name__ == "__main__":
    SCRIPT.run()
