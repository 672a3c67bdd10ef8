"""How fast are subscriptions that are behind found among a million, and is the result right?

SQL fills a database: ten weekly and daily schedules; twenty sets of 40 to 80 messages in three
languages, in chains of four; subscriptions that began within the last 300 days, of which a fifth is
completed and half are behind. Then a daemon looks for them, as a client has asked it to. Meanwhile,
the script looks at the memory of the daemon and of PostgreSQL, at the slowest statement, and at the
time of a look-up by key. Then it computes the result for a sample in Python, one by one, as the old
service did, and compares row by row. At the end, the operator's commands print the difference, move
all subscriptions on, and find none any more.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil
import psycopg2
from psycopg2.extras import RealDictCursor

from benchmarks.content import analyse
from benchmarks.daemons import Daemon
from benchmarks.installation import Installation, installation
from benchmarks.load import percentile
from benchmarks.processes import ENVIRONMENT
from benchmarks.results import Figure
from benchmarks.script import Script
from sbm.model.cron import Cron

UTC = ZoneInfo("UTC")

# The daemon has no clock of its own, and cannot call the Scheduler: it sends nothing.
SETTINGS = {
    "SBM_SCHEDULING": "schedule",
    "SCHEDULER_URL": "http://127.0.0.1:9",
    "SCHEDULER_API_TOKEN": "s",
}
STATEMENTS = """
    INSERT INTO schedules (minute, hour, day_of_week)
    SELECT '0', (6 + n)::text, CASE WHEN n <= 2 THEN '*' WHEN n <= 6 THEN (n - 2)::text || ',6'
                                    ELSE (n - 5)::text END
      FROM generate_series(1, 10) n;
    INSERT INTO messagesets (short_name, content_type, default_schedule_id)
    SELECT 'set.' || n, 'text', 1 + n %% 10 FROM generate_series(1, 20) n;
    UPDATE messagesets SET next_set_id = id + 1 WHERE id %% 4 > 0;
    INSERT INTO messages (messageset_id, sequence_number, lang, text_content)
    SELECT id, number, lang, 'text'
      FROM messagesets, generate_series(1, 40 + 2 * id) number,
           unnest(ARRAY['eng_ZA', 'zul_ZA', 'xho_ZA']) lang;
    INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang, created_at,
                               next_sequence_number, active, completed, process_status)
    SELECT gen_random_uuid(), m.id, m.default_schedule_id,
           (ARRAY['eng_ZA', 'zul_ZA', 'xho_ZA'])[1 + n %% 3], now() - days * interval '1 day',
           -- Most of those on weekly schedules with one message a week are not behind.
           CASE WHEN n %% 2 = 0 THEN 1 + (days / 7)::integer ELSE 1 + (n %% 40)::integer END,
           n %% 5 > 0, n %% 5 = 0, CASE WHEN n %% 5 = 0 THEN 2 ELSE 0 END
      FROM generate_series(1, %s) n,
           LATERAL (SELECT random() * 300 AS days, 1 + n %% 20 AS set) chosen
      JOIN messagesets m ON m.id = chosen.set;
"""


class Watch:
    """Records the slowest statement, the largest backend, and the times of look-ups by key."""

    def __init__(self, uri: str) -> None:
        self._connection = psycopg2.connect(uri)
        self._connection.autocommit = True
        self.slowest = self.largest = 0.0
        self.look_ups: list[float] = []

    def look(self) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT pid, extract(epoch FROM clock_timestamp() - query_start)"
                " FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )
            for pid, seconds in cursor.fetchall():
                self.slowest = max(self.slowest, float(seconds))
                memory = psutil.Process(pid).memory_info()
                self.largest = max(self.largest, (memory.rss - memory.shared) / 2**20)
            began = time.perf_counter()
            cursor.execute(
                "SELECT * FROM subscriptions WHERE id > (SELECT gen_random_uuid())"
                " ORDER BY id LIMIT 1"
            )
            self.look_ups.append(time.perf_counter() - began)


class OneByOne:
    """Computes the expected path of one subscription by going through all runs since it began."""

    def __init__(self, cursor: Any) -> None:
        cursor.execute("SELECT *, now() AS now FROM schedules")
        rows = cursor.fetchall()
        self._crons = {
            row["id"]: Cron(minute=row["minute"], hour=row["hour"], day_of_week=row["day_of_week"])
            for row in rows
        }
        cursor.execute("SELECT id, next_set_id, default_schedule_id FROM messagesets")
        self._sets = {row["id"]: row for row in cursor.fetchall()}
        cursor.execute("SELECT messageset_id, lang, sequence_number FROM messages ORDER BY 3")
        self._numbers: dict[tuple[int, str], list[int]] = {}
        for row in cursor.fetchall():
            key = row["messageset_id"], row["lang"]
            self._numbers.setdefault(key, []).append(row["sequence_number"])

    def expected(self, one: Any, until: datetime) -> tuple[int, int, int] | None:
        """Messages behind, expected set and expected number; None if it is not behind."""
        messageset, schedule = one["messageset_id"], one["schedule_id"]
        at, is_at = one["initial_sequence_number"], one["next_sequence_number"]
        moment, missed = one["created_at"], 0
        while True:
            numbers = self._numbers[messageset, one["lang"]]
            run = self._crons[schedule].next_after(moment, UTC)
            if run is None or run > until:
                break
            moment = run
            missed += at >= is_at
            if at < numbers[-1]:
                at += 1
                continue
            following = self._sets[messageset]["next_set_id"]
            if following is None:
                break
            messageset, at, is_at = following, 1, 1
            schedule = self._sets[messageset]["default_schedule_id"]
        return (missed, messageset, at) if missed else None


def compare(uri: str, until: datetime, sample: int) -> float:
    """Compute a sample one by one, and compare row by row; returns the seconds for each."""
    with psycopg2.connect(uri) as connection:
        cursor = connection.cursor(cursor_factory=RealDictCursor)
        one_by_one = OneByOne(cursor)
        cursor.execute(
            "SELECT s.*, b.messages_behind, b.expected_messageset_id, b.expected_sequence_number"
            " FROM subscriptions s LEFT JOIN behind_subscriptions b ON b.subscription_id = s.id"
            " WHERE s.active ORDER BY md5(s.id::text) LIMIT %s",
            (sample,),
        )
        rows = cursor.fetchall()
    began = time.perf_counter()
    expected = [one_by_one.expected(row, until) for row in rows]
    seconds = time.perf_counter() - began
    names = ("messages_behind", "expected_messageset_id", "expected_sequence_number")
    found = [
        tuple(row[name] for name in names) if row["messages_behind"] is not None else None
        for row in rows
    ]
    wrong = sum(one != other for one, other in zip(found, expected, strict=True))
    late = sum(one is not None for one in found)
    print(f"{wrong} of {len(rows)} differ from those computed one by one ({late} behind)")
    if wrong:
        raise RuntimeError("the result is wrong")
    return seconds / len(rows)


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Let the daemon search, compare a sample, and run the operator's commands."""
    with installation(folder, about) as made:
        made.cursor.execute(STATEMENTS, (options.subscriptions,))
        analyse(made.cursor)
        made.cursor.execute("SELECT count(*), now() FROM subscriptions")
        count, until = made.cursor.fetchone()
        with made.daemon(**SETTINGS) as daemon:
            watch, seconds, peak = search(made, daemon)
        each = compare(made.uri, until, options.sample)
        operate(made.uri)
    return [
        Figure(name="subscriptions a second", unit="/s", ours=[count / seconds]),
        Figure(
            name="to compute one in the daemon ÷ one by one in Python",
            unit="ms",
            ours=[seconds / count * 1000],
            theirs=[each * 1000],
        ),
        Figure(name="memory of the daemon at most", unit="MB", ours=[peak]),
        Figure(name="memory of a backend of its own, at most", unit="MB", ours=[watch.largest]),
        Figure(name="slowest statement", unit="s", ours=[watch.slowest]),
        *(
            Figure(
                name=f"{name} of a look-up by key meanwhile",
                unit="ms",
                ours=[percentile(watch.look_ups, share) * 1000],
            )
            for name, share in (("p50", 0.5), ("p99", 0.99))
        ),
    ]


def search(made: Installation, daemon: Daemon) -> tuple[Watch, float, float]:
    """Ask the daemon to search; returns what was seen, the seconds, and its peak memory in MB."""
    watch, peak = Watch(made.uri), 0.0
    began = time.monotonic()
    daemon.post("behind-subscriptions/find_behind_subscriptions/")
    while True:
        watch.look()
        peak = max(peak, daemon.process.resident_bytes() / 1e6)
        made.cursor.execute("SELECT state, reason FROM tasks")
        state, reason = made.cursor.fetchone()
        if state not in ("waiting", "begun"):
            break
        time.sleep(0.05)
    if state != "done":
        raise RuntimeError(f"the task is {state}: {reason}")
    return watch, time.monotonic() - began, peak


def operate(uri: str) -> None:
    """Run the operator's commands, and print their time and memory."""
    for verb in (("diff",), ("fast-forward", "--reason", "benchmark"), ("diff",)):
        began = time.monotonic()
        command = [sys.executable, "-c", "from sbm.cli import main; main()", "behind", *verb]
        with tempfile.TemporaryFile() as output:
            child = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.PIPE,
                env={**ENVIRONMENT, **SETTINGS, "STAGE_BASED_MESSAGING_DATABASE": uri},
            )
            assert child.stderr is not None
            errors = child.stderr.read().decode().strip()
            _, status, usage = os.wait4(child.pid, 0)
            output.seek(0)
            first = output.readline().decode().strip()[:100]
        print(
            f"sbm behind {verb[0]}: {time.monotonic() - began:.0f} s, {usage.ru_maxrss / 1024:.0f}"
            f" MB at most, status {status}; {errors or first}"
        )


SCRIPT = Script(
    name="behind",
    doc=__doc__,
    measure=measure,
    options={"subscriptions": 1_000_000, "sample": 300},
    quick={"subscriptions": 20_000, "sample": 100},
)

if __name__ == "__main__":
    SCRIPT.run()
