"""Check passwords. This is slow on purpose, so it is done in threads, a few at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import define
from twisted.internet.defer import DeferredSemaphore

from sbm.model import password as passwords
from sbm.model.user import MAX_USERNAME, User
from sbm.runtime.threads import in_thread, shielded
from sbm.store import users
from sbm.store.postgres.database import Database
from sbm.web.http.http_errors import Busy

T = TypeVar("T")

# One check takes some 30 ms of a core. With few slots, a client that guesses passwords must wait.
MAX_AT_ONCE = 2
MAX_WAITING = 100


@define(eq=False, slots=False, kw_only=True)
class Passwords:
    """Finds users by name and password."""

    _database: Database
    _reactor: Any

    def __attrs_post_init__(self) -> None:
        self._slots = DeferredSemaphore(MAX_AT_ONCE)

    async def user_with(self, username: str, password: str) -> User | None:
        """The active user with this name and password, if there is one.

        An unknown name takes as long as a wrong password. If the stored hash has an old format, it
        is replaced. Raises Busy, or DatabaseUnavailable.
        """
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
        working = in_thread(self._reactor, work)

        def done(result: Any) -> Any:
            self._slots.release()
            return result

        working.addBoth(done)
        return await shielded(working)
