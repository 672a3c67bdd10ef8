"""No clock is left out where a test simulates the time: what reads it would see two times."""

from __future__ import annotations

import re

from sbm.store.postgres.statements import sql_directory
from tests.arrange import Arranged
from tests.simulated_time import CLOCKS, simulate_time

# Words of SQL that no function can hide.
UNHIDDEN = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
LONG_AGO = "2001-01-01T00:00:00+00:00"


def words() -> set[str]:
    """Each word of our statements, and of the functions and defaults of our tables."""
    texts = [(sql_directory() / "schema.sql").read_text(encoding="utf-8")]
    texts += [
        path.read_text(encoding="utf-8") for path in (sql_directory() / "queries").glob("*.sql")
    ]
    code = "\n".join(re.sub(r"--.*", "", text) for text in texts)
    return set(re.findall(r"\w+", code.lower()))


def test_each_clock_that_sql_reads_can_be_simulated(direct: Arranged) -> None:
    functions = direct.rows(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace"
        " AND pronargs = 0 AND (prorettype = 'timestamptz'::regtype OR proname = 'timeofday')"
        " AND proname NOT IN ('pg_conf_load_time', 'pg_postmaster_start_time')"
    )
    clocks = {row["proname"] for row in functions}
    assert clocks > set(CLOCKS)
    assert (clocks - set(CLOCKS) | UNHIDDEN) & words() == set()


def test_each_clock_of_a_database_is_simulated(direct: Arranged) -> None:
    simulate_time(
        direct, schema="other", column="at timestamptz NOT NULL", value=f"'{LONG_AGO}'", time="at"
    )
    for name in CLOCKS:
        assert direct.value(f"SELECT {name}()").isoformat() == LONG_AGO
    defaults = direct.rows(
        "SELECT pg_get_expr(adbin, adrelid) AS expression FROM pg_attrdef"
        " JOIN pg_class ON pg_class.oid = adrelid AND relnamespace = 'public'::regnamespace"
    )
    assert {"now()", "clock_timestamp()"} <= {row["expression"] for row in defaults}
    assert not [row for row in defaults if "pg_catalog" in row["expression"]]
