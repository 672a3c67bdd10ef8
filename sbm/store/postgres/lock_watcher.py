"""Finds out which sessions hold the lock that a connection waits for."""

from __future__ import annotations

import threading
from contextlib import closing, suppress
from types import TracebackType

import psycopg2

from sbm.store.postgres.synchronous import connected

LOOK_SECONDS = 0.25

_BLOCKERS = """
    SELECT pid, usename, application_name, state, xact_start
      FROM pg_stat_activity WHERE pid = ANY(pg_blocking_pids(%s)) ORDER BY xact_start, pid LIMIT 5
"""


class LockWatcher:
    """Looks, in a thread and on its own connection, which processes block the process ``pid``.

    A session that waits cannot ask, and when the wait is over, the server cannot say any more.
    """

    def __init__(self, uri: str, pid: int) -> None:
        self._uri, self._pid = uri, pid
        self._over = threading.Event()
        self._seen = ""
        self._thread = threading.Thread(target=self._look, name="lock watcher", daemon=True)

    def __enter__(self) -> LockWatcher:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def forget(self) -> None:
        """Forget the blockers of an earlier wait."""
        self._seen = ""

    def blockers(self) -> str:
        """The processes that blocked the wait at the last look."""
        return self._seen or "another session"

    def _look(self) -> None:
        if self._over.wait(LOOK_SECONDS):
            return
        with suppress(psycopg2.Error), closing(connected(self._uri)) as connection:
            while not self._over.wait(LOOK_SECONDS):
                with connection.cursor() as cursor:
                    cursor.execute(_BLOCKERS, (self._pid,))
                    if found := cursor.fetchall():
                        self._seen = ", ".join(_told(*row) for row in found)


def _told(pid: int, user: str, application: str | None, state: str | None, since: object) -> str:
    details = [f"user {user}", application or "", state or "", f"since {since}" if since else ""]
    return f"process {pid} ({', '.join(detail for detail in details if detail)})"
