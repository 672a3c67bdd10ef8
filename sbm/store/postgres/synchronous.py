"""Connections that block: for migrations and the import, which operators run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg2

from sbm.store.postgres import session
from sbm.store.postgres.errors import DatabaseUnavailable, DatabaseUnfit, one_line

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812

CONNECT_SECONDS = 5

# No time limits: an operator who runs a command can interrupt it.
_LIMITS = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}


@contextmanager
def opened(uri: str) -> Iterator[Connection]:
    """A connection in autocommit to our database at this libpq ``uri``, its session set up.

    Raises DatabaseUnavailable, or DatabaseUnfit. So do statements that lose the connection.
    """
    try:
        with closing(connected(uri)) as connection:
            _check(connection, uri)
            with connection.cursor() as cursor:
                cursor.execute(session.settings(connection.server_version, **_LIMITS))
                cursor.execute(session.PLACED_FIRST)
            (role,) = _asked(connection, session.ROLE)
            if problem := session.role_problem(role):
                raise DatabaseUnfit(problem)
            yield connection
    except psycopg2.Error as error:
        raise DatabaseUnavailable(one_line(error)) from error


def connected(uri: str) -> Connection:
    """A plain connection in autocommit; raises psycopg2.Error."""
    parameters: Any = session.PARAMETERS
    connection = _connected(uri, parameters)
    options = session.options_wanted(connection.info)
    if options is not None:
        connection.close()
        connection = _connected(uri, parameters | {"options": options})
    connection.autocommit = True
    return connection


def _connected(uri: str, parameters: Any) -> Connection:
    connection: Connection = psycopg2.connect(uri, connect_timeout=CONNECT_SECONDS, **parameters)
    return connection


def _check(connection: Connection, uri: str) -> None:
    problem = session.version_problem(connection.server_version)
    problem = problem or session.encoding_problem(
        connection.info.parameter_status("server_encoding")
    )
    if problem:
        raise DatabaseUnfit(problem)
    mark = _asked(connection, session.MARK)
    if mark[0] != connection.info.backend_pid:
        with closing(connected(uri)) as other:
            _refuse_shared(mark, {"ours": connection, "other": other})


def _refuse_shared(mark: Any, sessions: Mapping[session.SessionName, Connection]) -> None:
    questions, answer = session.are_apart(mark), None
    try:
        while True:
            which, statement = questions.send(answer)
            answer = _asked(sessions[which], statement)
    except StopIteration as end:
        if not end.value:
            raise DatabaseUnfit(session.POOLED) from None


def _asked(connection: Connection, statement: str) -> Any:
    """The first row, if there is one."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone() if cursor.description else None
