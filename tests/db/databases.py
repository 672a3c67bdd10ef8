"""Databases made and dropped on one PostgreSQL server, 14 or newer."""

from __future__ import annotations

from urllib.parse import urlsplit

import psycopg2
from psycopg2 import sql


def with_database(uri: str, name: str) -> str:
    """The same server's URI with another database in it."""
    parts = urlsplit(uri)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}/{name}{query}"


class Databases:
    """The databases of one run; all that are left go when it is closed.

    `uri` names any database of the server, as a user who may create others.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._names: list[str] = []
        self._connection = psycopg2.connect(uri)
        self._connection.autocommit = True
        self._strategy = " STRATEGY FILE_COPY" if self._copies_files() else ""

    def create(self, name: str, *, template: str = "template0", encoding: str = "") -> str:
        """Make a database, a copy of the template, and return its URI."""
        encoded = f" ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'" if encoding else ""
        if encoding and self._connection.server_version >= 150000:
            encoded += " LOCALE_PROVIDER libc"
        self._execute(
            f"CREATE DATABASE {{}} TEMPLATE {{}}{encoded}{self._strategy}", name, template
        )
        self._names.append(name)
        return with_database(self.uri, name)

    def drop(self, name: str) -> None:
        """Drop a database, even if sessions are still connected to it."""
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        self._names.remove(name)

    def close(self) -> None:
        """Drop what is left and hang up."""
        for name in reversed(self._names.copy()):
            self.drop(name)
        self._connection.close()

    def _copies_files(self) -> bool:
        """Whether that is quicker, by half, than to write the copy to the log, as is the default.

        It takes two checkpoints, which cost nothing only where nothing has to outlive the server.
        """
        with self._connection.cursor() as cursor:
            cursor.execute("SHOW fsync")
            ((fsync,),) = cursor.fetchall()
        return fsync == "off" and self._connection.server_version >= 150000

    def _execute(self, statement: str, *names: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
