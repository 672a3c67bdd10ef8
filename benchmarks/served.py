"""A filled database and a daemon that serves it, for the benchmarks of the API."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from benchmarks.delivery import free_port
from sbm.daemon import assemble
from sbm.sandbox.postgres import EmbeddedPostgres
from sbm.settings.config import Config
from sbm.store.postgres.migrations import migrate

TOKEN = "b" * 40
HEADERS = {"Authorization": f"Token {TOKEN}"}

_LATENCIES = (0.5, 0.9, 0.99)


@contextmanager
def filled(subscriptions: int) -> Iterator[str]:
    """Fill a database in a new embedded server; yields its URI.

    There are 20 message sets, 10 schedules and 3 languages. A fifth of the subscriptions is
    completed, one in a thousand is in error, and one in 5,000 has a rare key. The schedules are due
    on 29 February only.
    """
    folder = Path(tempfile.mkdtemp(prefix="sbm-benchmark-"))
    server = EmbeddedPostgres(folder=folder)
    server.start()
    try:
        migrate(server.uri())
        connection = psycopg2.connect(server.uri())
        connection.autocommit = True
        with connection.cursor() as cursor:
            _fill(cursor, subscriptions)
        connection.close()
        yield server.uri()
    finally:
        server.stop()


def _fill(cursor: Any, subscriptions: int) -> None:
    cursor.execute(
        "INSERT INTO schedules (day_of_month, month_of_year)"
        " SELECT '29', '2' FROM generate_series(1, 10);"
        " INSERT INTO messagesets (short_name, label, content_type, default_schedule_id)"
        " SELECT 'set.' || n, 'Set ' || n, 'text', 1 + n %% 10 FROM generate_series(1, 20) n;"
        " INSERT INTO users (username) VALUES ('benchmark');"
        " INSERT INTO tokens (user_id, digest) VALUES (1, %s)",
        (hashlib.sha256(TOKEN.encode("ascii")).digest(),),
    )
    cursor.execute(
        "INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang, metadata,"
        " next_sequence_number, active, completed, process_status, created_at, created_by)"
        " SELECT gen_random_uuid(), 1 + n %% 20, 1 + n %% 10,"
        " (ARRAY['eng_ZA', 'zul_ZA', 'xho_ZA'])[1 + n %% 3],"
        " jsonb_build_object('source', 'hub', 'scheduler_schedule_id', gen_random_uuid())"
        " || CASE WHEN n %% 5000 = 1 THEN '{\"rare\": true}'::jsonb ELSE '{}' END,"
        " 1 + n %% 50, n %% 5 > 0, n %% 5 = 0,"
        " CASE WHEN n %% 5 = 0 THEN 2 WHEN n %% 1000 = 7 THEN -1 ELSE 0 END,"
        " now() - n * interval '10 seconds', 1"
        " FROM generate_series(1, %s) n",
        (subscriptions,),
    )
    cursor.execute("VACUUM ANALYZE")


def daemon(reactor: Any, uri: str) -> tuple[Any, str]:
    """The daemon for this database, not started, and the URL of its list of subscriptions."""
    port = free_port()
    environ = {
        "IDENTITY_STORE_URL": "http://127.0.0.1:9",
        "IDENTITY_STORE_TOKEN": "i",
        "MESSAGE_SENDER_URL": "http://127.0.0.1:9",
        "MESSAGE_SENDER_TOKEN": "m",
        "STAGE_BASED_MESSAGING_URL": "http://sbm.example.org",
        "SBM_SCHEDULING": "schedule",
        "SCHEDULER_URL": "http://scheduler.example.org",
        "SCHEDULER_API_TOKEN": "s",
    }
    config = Config.from_environ(environ, database=uri)
    service = assemble(config, reactor, listen=[f"tcp:{port}:interface=127.0.0.1"])
    return service, f"http://127.0.0.1:{port}/api/v1/subscriptions/"


def percentiles(seconds: list[float]) -> tuple[float, ...]:
    """The 50th, 90th and 99th percentile."""
    ordered = sorted(seconds)
    return tuple(ordered[min(int(len(ordered) * share), len(ordered) - 1)] for share in _LATENCIES)


def line(what: str, seconds: list[float]) -> str:
    """A line of a report, in milliseconds."""
    figures = "  ".join(f"{value * 1000:7.1f}" for value in percentiles(seconds))
    return f"{what:44} {len(seconds):6}  {figures}  {max(seconds) * 1000:7.1f}"


HEAD = f"{'':44} {'number':>6}  {'p50 ms':>7}  {'p90':>7}  {'p99':>7}  {'max':>7}"
