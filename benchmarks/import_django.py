"""How long does it take to import a million subscriptions, and how much memory does it need?

Both databases are on one server. SQL fills the old one. For ten subscriptions, there are one
failure and one request to resend; one row in a hundred must be changed by the import. The command
runs in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import ENVIRONMENT
from benchmarks.results import Figure
from benchmarks.script import Script
from benchmarks.server import server
from sbm.store.postgres.migrations import migrate
from tests.arrange import Arranged, arranged
from tests.operations.django_import import old


def fill(direct: Arranged, subscriptions: int) -> None:
    """Insert users, content and subscriptions into the old database."""
    old.make(direct)
    old.fill(direct)
    direct.rows(
        "INSERT INTO subscriptions_subscription SELECT gen_random_uuid(), gen_random_uuid()::text,"
        " 1, 1 + n %% 3, 'eng_ZA', n %% 5 > 0, n %% 5 = 0, 1,"
        " CASE WHEN n %% 100 = 1 THEN 5 WHEN n %% 5 = 0 THEN 2 ELSE 0 END,"
        " jsonb_build_object('source', 'hub', 'scheduler_schedule_id', gen_random_uuid()),"
        " now() - n * interval '1 second', now() - n * interval '1 second', 2, NULL, 1, 1"
        " FROM generate_series(1, %s) n",
        subscriptions,
    )
    direct.rows(
        "INSERT INTO subscriptions_subscriptionsendfailure (task_id, initiated_at, reason,"
        " subscription_id) SELECT gen_random_uuid(), updated_at, 'Read timed out', id"
        " FROM subscriptions_subscription LIMIT %s",
        subscriptions // 10,
    )
    direct.rows(
        "INSERT INTO subscriptions_resendrequest (received_at, subscription_id)"
        " SELECT updated_at, id FROM subscriptions_subscription LIMIT %s",
        subscriptions // 10,
    )


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Fill the old database, and import it."""
    report = folder / "report.jsonl"
    with server(folder) as postgres:
        about["PostgreSQL"] = postgres.about()
        old_uri, new_uri = postgres.create(), postgres.create()
        migrate(new_uri)
        with arranged(old_uri) as direct:
            fill(direct, options.subscriptions)
        began = time.monotonic()
        command = [sys.executable, "-c", "from sbm.cli import main; main()", "--database", new_uri]
        child = subprocess.Popen(
            [*command, "import-django", old_uri, "--report", str(report)], env=ENVIRONMENT
        )
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            raise RuntimeError(f"the import ended with {status}")
        seconds = time.monotonic() - began
    return [
        Figure(name="import, elapsed time", unit="s", ours=[seconds]),
        Figure(name="import, CPU of the command", unit="s", ours=[usage.ru_utime + usage.ru_stime]),
        Figure(name="import, memory at most", unit="MB", ours=[usage.ru_maxrss * 1024 / 1e6]),
        Figure(name="import, size of the report", unit="MB", ours=[report.stat().st_size / 1e6]),
    ]


SCRIPT = Script(
    name="import_django",
    doc=__doc__,
    measure=measure,
    options={"subscriptions": 1_000_000},
    quick={"subscriptions": 5_000},
)

if __name__ == "__main__":
    SCRIPT.run()
