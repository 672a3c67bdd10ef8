"""Users: their tokens, passwords and permissions."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from datetime import datetime
from hashlib import sha256
from typing import Any

from attrs import frozen

from sbm.model.user import User
from sbm.model.usernames import KnownName
from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import load

QUERIES = load("users")

TOKEN_BYTES = 20


@frozen(kw_only=True)
class ListedUser:
    """A user in a list for operators; ``tokens`` counts those that are not revoked."""

    user: User
    email: str
    has_password: bool
    tokens: int


@frozen(kw_only=True)
class ListedToken:
    """A token's data; the token itself is not stored."""

    id: int
    username: str
    created_at: datetime
    revoked_at: datetime | None


async def list_called(transaction: Transaction, *, called: str) -> list[KnownName]:
    """The users with exactly this name or e-mail address."""
    return await transaction.many(QUERIES.find_users_called, KnownName, called=called)


async def list_alike(transaction: Transaction, *, key: str) -> list[KnownName]:
    """The users whose name or e-mail address may have this folded form, and others."""
    return await transaction.many(QUERIES.find_users_alike, KnownName, key=key)


async def lock_names(transaction: Transaction) -> None:
    """Let no other transaction compare or add names until this one ends."""
    await transaction.execute(QUERIES.lock_names)


async def find_or_create(
    transaction: Transaction, *, username: str, email: str, admin: bool
) -> int:
    """The id of the user of this name, made if missing; with ``admin`` an administrator."""
    return await transaction.one(
        QUERIES.upsert_user, int, username=username, email=email, is_admin=admin
    )


async def add_token(
    transaction: Transaction,
    *,
    user_id: int,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> str:
    """One more token of a user, 40 hexadecimal digits; older ones stay valid."""
    token = random_bytes(TOKEN_BYTES).hex()
    await transaction.execute(QUERIES.insert_token, user_id=user_id, digest=_digest(token))
    return token


async def find_user_by_token(transaction: Transaction, *, token: str) -> User | None:
    """The user, active or not, of this token; None if the token is unknown or revoked."""
    return await transaction.maybe(QUERIES.find_user_by_digest, _user, digest=_digest(token))


async def find_user_by_name(
    transaction: Transaction, *, username: str
) -> tuple[User, str | None] | None:
    """The user, active or not, of this name, and their password as it is stored, if any."""
    return await transaction.maybe(QUERIES.find_user_by_name, _with_password, username=username)


async def create(
    transaction: Transaction, *, username: str, email: str, admin: bool, password: str | None
) -> int | None:
    """Make a user, with a hashed password or none; returns the id, or None if the name exists."""
    return await transaction.maybe(
        QUERIES.insert_user, int, username=username, email=email, is_admin=admin, password=password
    )


async def lock(transaction: Transaction, *, username: str) -> int | None:
    """The id of the user of this name, who is locked until the transaction ends."""
    return await transaction.maybe(QUERIES.lock_user, int, username=username)


async def set_password(transaction: Transaction, *, user_id: int, password: str) -> None:
    """Store another password, hashed."""
    await transaction.execute(QUERIES.set_password, user_id=user_id, password=password)


async def replace_password(transaction: Transaction, *, user_id: int, old: str, new: str) -> None:
    """Store the password hashed in another way, unless it was changed meanwhile."""
    await transaction.execute(QUERIES.replace_password, user_id=user_id, old=old, new=new)


async def set_active(transaction: Transaction, *, user_id: int, is_active: bool) -> None:
    """Let a user use the API or, if not active, refuse all their tokens and their password."""
    await transaction.execute(QUERIES.set_active, user_id=user_id, is_active=is_active)


async def grant(transaction: Transaction, *, user_id: int, permission: str) -> None:
    """Give a user a permission that they do not have."""
    await transaction.execute(QUERIES.grant_permission, user_id=user_id, permission=permission)


async def revoke(transaction: Transaction, *, user_id: int, permission: str) -> bool:
    """Take a permission from a user; returns whether they had it."""
    revoked = await transaction.execute(
        QUERIES.revoke_permission, user_id=user_id, permission=permission
    )
    return revoked > 0


async def list_users(transaction: Transaction) -> list[ListedUser]:
    """All users, by name."""
    return await transaction.many(QUERIES.list_users, _listed)


async def list_tokens(
    transaction: Transaction, *, username: str | None = None
) -> list[ListedToken]:
    """The tokens of one user, or of all, revoked ones too, oldest first."""
    return await transaction.many(QUERIES.list_tokens, ListedToken, username=username)


async def revoke_token(
    transaction: Transaction, *, token: str = "", token_id: int | None = None
) -> bool:
    """Revoke a token, given by its id or by itself; returns whether it was valid."""
    if token_id is not None:
        revoked = await transaction.execute(QUERIES.revoke_token_by_id, token_id=token_id)
    else:
        revoked = await transaction.execute(QUERIES.revoke_token_by_digest, digest=_digest(token))
    return revoked > 0


def _user(*, permissions: Iterable[str], **columns: Any) -> User:
    return User(permissions=frozenset(permissions), **columns)


def _with_password(*, password: str | None, **columns: Any) -> tuple[User, str | None]:
    return _user(**columns), password


def _listed(*, email: str, has_password: bool, tokens: int, **columns: Any) -> ListedUser:
    user = _user(**columns)
    return ListedUser(user=user, email=email, has_password=has_password, tokens=tokens)


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8")).digest()
