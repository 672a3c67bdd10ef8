"""Is a page of each filter of the ledger read in 50 ms, with 24 months of the ledger?

SQL fills 24 months of the ledger and of what was delivered: one row in two hundred was not sent,
and one in fifty of the others was not delivered. With the default partition and the months ahead
there are 28 partitions. Then the first page of each filter is read by the API, and a page from the
middle of the time.
"""

from __future__ import annotations

import argparse
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.content import HEADERS, analyse
from benchmarks.daemons import Daemon
from benchmarks.installation import installation
from benchmarks.load import percentile
from benchmarks.results import Figure
from benchmarks.script import Script
from sbm.operations.ledger import SERVED

LIMIT = 100

# md5('1'): of the rows with such a number.
PERSON = "c4ca4238-a0b9-2382-0dcc-509a6f75849b"

MAKE_MONTHS = (
    "SELECT make_partitions('ledger', 2), make_partitions('deliveries', 2)",
    """
    DO $$
    DECLARE
        parent text;
        month timestamp;
    BEGIN
        FOREACH parent IN ARRAY ARRAY['ledger', 'deliveries'] LOOP
            FOR ago IN 1..24 LOOP
                month := date_trunc('month', now() AT TIME ZONE 'UTC')
                         - make_interval(months => ago);
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                               parent || to_char(month, '_YYYY_MM'), parent,
                               month AT TIME ZONE 'UTC',
                               (month + interval '1 month') AT TIME ZONE 'UTC');
            END LOOP;
        END LOOP;
    END $$
    """,
    """
    INSERT INTO message_versions (id, message_id, messageset_id, sequence_number, lang, metadata,
                                  made_at)
    VALUES (1, 1, 1, 1, 'eng_ZA', '{}', now() - interval '3 years')
    """,
)
FILL = """
    INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,
                        messageset_id, sequence_number, lang, message_version_id, settled_at)
    SELECT gen_random_uuid(), n / 10000, 'next',
           CASE WHEN n %% 200 = 0 THEN (ARRAY['skipped', 'refused', 'failed'])[1 + n / 200 %% 3]
                ELSE 'sent' END,
           CASE WHEN n %% 600 = 0 THEN 'trigger' ELSE 'post' END,
           CASE WHEN n %% 600 = 0 THEN 'it was paused when the tick came' ELSE '' END,
           md5((n %% 100000)::text)::uuid, md5((n %% 100000)::text)::uuid::text,
           1 + n %% 20, 1 + n / 20 %% 60,
           (ARRAY['eng_ZA', 'zul_ZA', 'xho_ZA'])[1 + n / 1200 %% 3], 1,
           now() - interval '24 months' * (%(rows)s - n) / %(rows)s
      FROM generate_series(%(first)s, %(last)s) n
"""
DELIVERED = """
    INSERT INTO deliveries (settled_at, ledger_id, messageset_id, lang, delivered, is_final)
    SELECT settled_at, id, messageset_id, lang, id %% 50 <> 0, true
      FROM ledger WHERE outcome = 'sent' AND id BETWEEN %(first)s AND %(last)s
"""
CHUNK = 100_000

VALUES = {
    "tick": "7",
    "messageset": "1",
    "sequence_number": "1",
    "lang": "eng_ZA",
    "version": "1",
    "outcome": "skipped",
    "stage": "trigger",
    "reason_kind": "paused",
    "delivered": "false",
}


def queries() -> Iterator[tuple[str, dict[str, str]]]:
    """Each filter that is served, with its name."""
    asked = [{name: VALUES[name] for name in names} for names in SERVED]
    asked += [{"identity": PERSON}, {"subscription": PERSON}]
    asked += [{"identity": PERSON, "outcome": "sent", "delivered": "true"}]
    for one in asked:
        yield " and ".join(one) or "no filter", one


def fill(cursor: Any, rows: int) -> str:
    """Make the months and their rows; returns a moment in the middle."""
    for statement in MAKE_MONTHS:
        cursor.execute(statement)
    for first in range(1, rows + 1, CHUNK):
        part = {"first": first, "last": min(first + CHUNK - 1, rows), "rows": rows}
        cursor.execute(FILL, part)
        cursor.execute(DELIVERED, part)
    analyse(cursor)
    cursor.execute("SELECT now() - interval '12 months'")
    ((middle,),) = cursor.fetchall()
    return str(middle.isoformat())


def page(daemon: Daemon, query: dict[str, str]) -> float:
    """Read a page of the list; returns the seconds."""
    told = urllib.parse.urlencode({**query, "limit": LIMIT})
    began = time.perf_counter()
    request = urllib.request.Request(f"{daemon.url}ledger/?{told}", headers=dict(HEADERS))
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()
    return time.perf_counter() - began


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Fill the ledger, and read pages of each filter in turn."""
    with installation(folder, about) as made:
        middle = fill(made.cursor, options.rows)
        taken: dict[str, list[float]] = {}
        with made.daemon() as daemon:
            for _ in range(options.rounds):
                for name, query in queries():
                    taken.setdefault(name, []).append(page(daemon, query))
                    late = {**query, "before": middle}
                    taken.setdefault(f"{name}, before", []).append(page(daemon, late))
    return [
        Figure(
            name=f"a page of {LIMIT}: {name}, p50",
            unit="ms",
            ours=[percentile(seconds, 0.5) * 1000],
            goal="≤ 50",
        )
        for name, seconds in taken.items()
    ]


SCRIPT = Script(
    name="ledger",
    doc=__doc__,
    measure=measure,
    options={"rows": 3_000_000, "rounds": 20},
    quick={"rows": 100_000, "rounds": 5},
)

if __name__ == "__main__":
    SCRIPT.run()
