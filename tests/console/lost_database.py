"""A database that goes away, and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg2.sql import SQL, Identifier

from tests.arrange import Arranged, arranged


@contextmanager
def lost(server_uri: str, direct: Arranged) -> Iterator[None]:
    """Meanwhile nobody but ``direct`` reaches its database."""
    name = str(direct.value("SELECT current_database()"))
    own = direct.value("SELECT pg_backend_pid()")
    with arranged(server_uri) as server:
        allow = SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        server.rows(allow.format(Identifier(name), SQL("false")))
        try:
            server.rows(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = %s AND pid <> %s",
                *(name, own),
            )
            yield
        finally:
            server.rows(allow.format(Identifier(name), SQL("true")))
