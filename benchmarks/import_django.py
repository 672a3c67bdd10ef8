"""How long does it take to import a million subscriptions, and how much memory does it need?

    python -m benchmarks.import_django [--subscriptions 1000000]

Both databases are on one embedded server. SQL fills the old one. For ten subscriptions, there are
one failure and one request to resend; one row in a hundred must be changed by the import. The
command runs in a process of its own. The script prints the peak of its resident memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sbm.sandbox.postgres import EmbeddedPostgres
from sbm.store.postgres.migrations import migrate
from tests.arrange import Arranged, arranged
from tests.db.databases import Databases
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


def measure(old_uri: str, new_uri: str, folder: Path) -> None:
    """Import, and print the time and the memory."""
    report = folder / "report.jsonl"
    began = time.monotonic()
    command = "from sbm.cli import main; main()"
    arguments = ["import-django", old_uri, "--report", str(report)]
    subprocess.run(
        [sys.executable, "-c", command, "--database", new_uri, *arguments],
        check=True,
    )
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"{seconds:.0f} s; peak of resident memory {peak:.0f} MiB (of this process"
        f" {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f});"
        f" {report.stat().st_size / 2**20:.1f} MiB of report; load {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    """Fill the old database, and import it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscriptions", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sbm-report-") as folder:
        server = EmbeddedPostgres(folder=Path(tempfile.mkdtemp(prefix="sbm-benchmark-")))
        server.start()
        try:
            databases = Databases(server.uri())
            old_uri, new_uri = databases.create("old"), databases.create("new")
            migrate(new_uri)
            with arranged(old_uri) as direct:
                fill(direct, options.subscriptions)
            measure(old_uri, new_uri, Path(folder))
            databases.close()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
