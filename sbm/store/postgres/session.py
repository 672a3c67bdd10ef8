"""The settings of a session, regardless of those of the database, the role or the environment."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Literal

OLDEST_SERVER = 140000
ENCODING = "UTF8"

# For libpq, before anything else: the driver reads and writes text in this encoding.
PARAMETERS: dict[str, str] = {"client_encoding": ENCODING}

# The settings that the driver, our statements and our SQL functions rely on. ALTER DATABASE, ALTER
# ROLE and PGOPTIONS can change each of them. Two are missing: operators use
# default_transaction_read_only, and a read-only server is refused; and search_path is set by
# PLACED_FIRST.
_RELIED_ON: Mapping[str, str] = {
    "client_encoding": ENCODING,
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "TimeZone": "UTC",
    "timezone_abbreviations": "Default",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "gin_fuzzy_search_limit": "0",
    "client_min_messages": "warning",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "idle_session_timeout": "0",
    "exit_on_error": "off",
    "jit": "off",
}

# More settings, and the server version since which each exists.
_LATER: Mapping[str, tuple[int, str]] = {"transaction_timeout": (170000, "0")}

# Our tables come first on the search path: so a table of the same name in another schema is not
# used instead, and a path without the schema public does not hide them. It returns no row if the
# tables do not exist yet.
PLACED_FIRST = """
    SELECT set_config('search_path', concat_ws(', ', quote_ident(nspname),
                                               NULLIF(current_setting('search_path'), '')), false)
      FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
     WHERE pg_class.oid = COALESCE(to_regclass('schema_migrations'),
                                   to_regclass('public.schema_migrations'))
"""

# Triggers owe the calls to the Scheduler. Only a superuser may reset this setting.
ROLE = "SELECT current_setting('session_replication_role')"

# The id of the server process, and a mark by which its session can be recognised.
MARK = """
    SELECT pg_backend_pid(),
           set_config('sbm.session', md5(concat(random(), clock_timestamp(), pg_backend_pid())),
                      false)
"""
LOOK = "SELECT pg_backend_pid(), current_setting('sbm.session', true)"

POOLED = (
    "a connection pooler, such as pgbouncer, gives the transactions of one session to several"
    " server connections: set it to session mode (pool_mode = session), or connect without it"
)


def options_wanted(info: Any) -> str | None:
    """The options to connect with instead, or None; ``info`` is that of a driver's connection.

    The driver reads standard_conforming_strings at the beginning, and uses that value for all
    quoting. The options are not passed to every server, because some poolers refuse them.
    """
    if info.parameter_status("standard_conforming_strings") == "on":
        return None
    return f"{info.dsn_parameters.get('options', '')} -c standard_conforming_strings=on".strip()


def settings(server_version: int, **limits: str) -> str:
    """The statements that set up a session; ``limits`` are settings of this session alone."""
    later = {name: value for name, (since, value) in _LATER.items() if server_version >= since}
    return "\n".join(
        f"SET {name} = '{value}';" for name, value in {**limits, **_RELIED_ON, **later}.items()
    )


def version_problem(server_version: int) -> str | None:
    """Why a server of this version is too old, if it is; ``150004`` is PostgreSQL 15.4."""
    if server_version >= OLDEST_SERVER:
        return None
    return (
        f"PostgreSQL {OLDEST_SERVER // 10000} or newer is needed,"
        f" and the server is {server_version // 10000}"
    )


def encoding_problem(encoding: str | None) -> str | None:
    """Why a database with this encoding cannot be used, if it cannot."""
    if encoding == ENCODING:
        return None
    return (
        f"the database's encoding is {encoding}, and it must be {ENCODING}: make a new database"
        f" with ENCODING '{ENCODING}' TEMPLATE template0"
    )


def role_problem(role: str) -> str | None:
    """Why a session with this ``session_replication_role`` cannot be used, if it cannot."""
    if role == "origin":
        return None
    return f"session_replication_role is {role}, and it must be origin: triggers would not fire"


SessionName = Literal["ours", "other"]


def are_apart(mark: tuple[int, str]) -> Generator[tuple[SessionName, str], Any, bool]:
    """Whether a pooler keeps two sessions apart: yields which session to ask, and the statement.

    ``mark`` is the answer of our session to MARK. Send the first row of each answer back. An idle
    pooler gives each transaction the same server connection, so that a session seems to have its
    own. So two transactions are under way at once. They end in such an order that the connection
    that was used last is not the one on which our session began.
    """
    others = yield "other", MARK
    if (yield "ours", LOOK) != mark:
        return False
    yield "other", "BEGIN"
    if (yield "other", LOOK) != others:
        return False
    yield "ours", "BEGIN"
    if (yield "ours", LOOK) != mark:
        return False
    yield "ours", "ROLLBACK"
    yield "other", "ROLLBACK"
    found: tuple[int, str] = yield "ours", LOOK
    return found == mark
