"""Sessions of the console: who is logged in."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from attrs import frozen

from sbm.model.user import User
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("console_sessions")

SECRET_BYTES = 32

# How long after its last use, and after its beginning, a session ends.
IDLE = timedelta(minutes=30)
LONGEST = timedelta(hours=12)

_TIMES = {"idle": IDLE, "most": LONGEST}


@frozen(kw_only=True)
class ConsoleSession:
    """A session that has not ended, and its user."""

    id: int
    user: User
    is_use_noted_long_ago: bool


@frozen(kw_only=True)
class ListedSession:
    """A session in a list."""

    id: int
    user_id: int
    username: str
    began_at: datetime
    used_at: datetime
    address: str
    browser: str


async def begin(transaction: Transaction, *, user_id: int, address: str, browser: str) -> str:
    """Begin a session of a user; returns the secret for the cookie, which is not stored."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    await transaction.one(
        QUERIES.begin_session,
        int,
        digest=_digest(secret),
        user_id=user_id,
        address=address,
        browser=browser,
    )
    return secret


async def find(transaction: Transaction, *, secret: str) -> ConsoleSession | None:
    """The session with this secret, if it has not ended and its user is active."""
    return await transaction.maybe(QUERIES.find_session, _session, digest=_digest(secret), **_TIMES)


async def note_use(transaction: Transaction, *, session_id: int) -> None:
    """Note that a session was used now."""
    await transaction.execute(QUERIES.note_use, id=session_id)


async def list_all(transaction: Transaction, *, user_id: int | None = None) -> list[ListedSession]:
    """The sessions that have not ended, of a user or of all: at most 200."""
    return await transaction.many(QUERIES.list_sessions, ListedSession, user_id=user_id, **_TIMES)


async def end(transaction: Transaction, *, session_id: int, user_id: int | None = None) -> bool:
    """End a session, of this user if one is named; returns whether there was one."""
    ended = await transaction.execute(QUERIES.end_session, id=session_id, user_id=user_id)
    return ended > 0


async def end_all_of(transaction: Transaction, *, user_id: int, besides: int | None = None) -> int:
    """End all sessions of a user, ``besides`` the one with this id; returns how many there were.

    The links that would still log this user in are deleted, too.
    """
    return await transaction.execute(QUERIES.end_sessions_of, user_id=user_id, besides=besides)


async def delete_ended(transaction: Transaction) -> int:
    """Delete the sessions that have ended; returns how many there were."""
    return await transaction.execute(QUERIES.delete_ended, **_TIMES)


async def make_link(transaction: Transaction, *, user_id: int, within: timedelta) -> str:
    """Make a link that logs a user in once, ``within`` that time; returns its secret."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    await transaction.execute(
        QUERIES.make_link, digest=_digest(secret), user_id=user_id, within=within
    )
    return secret


async def use_link(transaction: Transaction, *, secret: str) -> int | None:
    """Use a link; returns the id of its user, or None if there is no such link any more."""
    return await transaction.maybe(QUERIES.use_link, int, digest=_digest(secret))


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8")).digest()


def _session(*, session_id: int, is_use_noted_long_ago: bool, **columns: Any) -> ConsoleSession:
    user = User(**columns | {"permissions": frozenset(columns["permissions"])})
    return ConsoleSession(id=session_id, user=user, is_use_noted_long_ago=is_use_noted_long_ago)
