"""Check passwords. This is slow on purpose, so it is done in threads, a few at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from threading import Thread, get_native_id
from typing import Any, TypeVar

from attrs import Factory, define, field
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from sbm.model import password as passwords
from sbm.model.user import MAX_USERNAME, User
from sbm.runtime.places import Places
from sbm.runtime.threads import shielded
from sbm.store import users
from sbm.store.postgres.database import Database
from sbm.web.http.credential_guard import CredentialGuard
from sbm.web.http.http_errors import Busy, Unauthenticated

T = TypeVar("T")

# One check takes some 30 ms of a core. With few slots, a client that guesses passwords must wait.
MAX_AT_ONCE = 2
MAX_WAITING = 20
NICENESS = 10

INVALID_PASSWORD = "Invalid username/password."  # noqa: S105 (a sentence)
WRONG = "wrong-password"


class NiceThread(Thread):
    """A thread that gives way to the reactor, and to the database, if there are few cores.

    Linux has a niceness for each thread; elsewhere, it is a usual thread.
    """

    def run(self) -> None:
        with suppress(AttributeError, OSError):
            os.setpriority(os.PRIO_PROCESS, get_native_id(), NICENESS)
        super().run()


class NiceThreads(ThreadPool):
    """A pool of such threads."""

    threadFactory = NiceThread


@cache
def _threads(reactor: Any) -> ThreadPool:
    """Threads for passwords alone: each check takes 19 MiB, which its thread keeps for the next."""
    pool = NiceThreads(minthreads=0, maxthreads=MAX_AT_ONCE, name="passwords")
    pool.start()
    reactor.addSystemEventTrigger("during", "shutdown", pool.stop)
    return pool


@define(eq=False, slots=False, kw_only=True)
class Passwords:
    """Finds users by name and password."""

    _database: Database
    _reactor: Any
    guard: CredentialGuard = field(
        default=Factory(lambda self: CredentialGuard(reactor=self._reactor), takes_self=True)
    )

    _pool: Any = field(default=Factory(lambda self: _threads(self._reactor), takes_self=True))

    def __attrs_post_init__(self) -> None:
        self._slots = Places(MAX_AT_ONCE)

    async def user_with(self, username: str, password: str, *, address: str = "") -> User | None:
        """The active user with this name and password, if there is one.

        An unknown name takes as long as a wrong password. If the stored hash has an old format, it
        is replaced. ``address`` is that of the client. Raises Busy, TooManyGuesses, or
        DatabaseUnavailable.
        """
        digest = self.guard.digest("password", username, password)
        try:
            self.guard.check(digest, address)
        except Unauthenticated:
            return None
        if len(self._slots.waiting) >= MAX_WAITING:
            raise Busy  # before anything is asked of the database
        user = await self._user_with(username, password)
        if user is None:
            self.guard.refuse(digest, address, Unauthenticated(INVALID_PASSWORD, kind=WRONG))
        else:
            self.guard.accept(digest, address)
        return user

    async def _user_with(self, username: str, password: str) -> User | None:
        user, stored = await self._find(username)
        is_right = await self._in_thread(lambda: passwords.verify(password, stored))
        if not is_right or user is None or not user.is_active:
            return None
        if stored is not None and not passwords.is_current(stored):
            await self._store_anew(user, password, stored)
        return user

    async def hashed(self, password: str) -> str:
        """The hash of a new password; raises Busy."""
        return await self._in_thread(lambda: passwords.hash_password(password))

    async def _find(self, username: str) -> tuple[User | None, str | None]:
        if "\0" in username or len(username) > MAX_USERNAME:
            return None, None  # the database does not accept such a name
        found = await self._database.transact(users.find_user_by_name, username=username)
        return found or (None, None)

    async def _store_anew(self, user: User, password: str, old: str) -> None:
        assert user.id is not None
        new = await self.hashed(password)
        await self._database.transact(users.replace_password, user_id=user.id, old=old, new=new)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do slow work in a thread with a slot; it keeps the slot even if the client has gone."""
        if len(self._slots.waiting) >= MAX_WAITING:
            raise Busy
        await self._slots.acquire()
        working = deferToThreadPool(self._reactor, self._pool, work)

        def done(result: Any) -> Any:
            self._slots.release()
            return result

        working.addBoth(done)
        return await shielded(working)
