"""Make and change users of the API, and their tokens and permissions."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from sbm.model.user import MAX_EMAIL, MAX_USERNAME
from sbm.operations.refusals import OperationRefused
from sbm.store import users
from sbm.store.postgres.database import Transaction
from sbm.store.users import ListedToken


class UnknownUser(OperationRefused):
    """There is no user with this name."""

    def __init__(self, username: str) -> None:
        super().__init__(f"there is no user {username!r}")


class UsernameTaken(OperationRefused):
    """There is already a user with this name."""

    def __init__(self, username: str) -> None:
        super().__init__(f"there is a user {username!r} already")


class UnfitText(OperationRefused):
    """A name or an e-mail address that cannot be stored; the message says what it must be."""


async def create(
    transaction: Transaction,
    *,
    username: str,
    email: str = "",
    admin: bool = False,
    password: str | None = None,
) -> int:
    """Make a user, with a hashed password or none, and return the id.

    Raises UsernameTaken, or UnfitText.
    """
    _check_text(username, MAX_USERNAME)
    _check_text(email, MAX_EMAIL, shortest=0)
    user_id = await users.create(
        transaction, username=username, email=email, admin=admin, password=password
    )
    if user_id is None:
        raise UsernameTaken(username)
    return user_id


async def create_token(
    transaction: Transaction,
    *,
    email: str,
    admin: bool = False,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> str:
    """A new token, 40 hexadecimal digits, for a user; if there is no such user, one is made.

    ``email`` is the name of the user. It can also be the user's e-mail address, if no other user
    has the same. With ``admin`` the user becomes an administrator; without it, the permissions
    stay. Only a digest of the token is stored. Raises UnfitText.
    """
    _check_text(email, MAX_USERNAME)
    found = await users.list_called(transaction, called=email)
    is_meant = bool(found) and (found[0] == email or len(found) == 1)
    user_id = await users.find_or_create(
        transaction,
        username=found[0] if is_meant else email,
        email=email if "@" in email else "",
        admin=admin,
    )
    return await users.add_token(transaction, user_id=user_id, random_bytes=random_bytes)


async def set_password(transaction: Transaction, *, username: str, password: str) -> None:
    """Store another password, hashed; raises UnknownUser."""
    user_id = await _lock(transaction, username)
    await users.set_password(transaction, user_id=user_id, password=password)


async def set_active(transaction: Transaction, *, username: str, is_active: bool) -> None:
    """Let a user in, or refuse all tokens and the password of a user; raises UnknownUser."""
    user_id = await _lock(transaction, username)
    await users.set_active(transaction, user_id=user_id, is_active=is_active)


async def grant(transaction: Transaction, *, username: str, permission: str) -> None:
    """Give a user a permission, unless the user has it already; raises UnknownUser."""
    user_id = await _lock(transaction, username)
    await users.grant(transaction, user_id=user_id, permission=permission)


async def revoke(transaction: Transaction, *, username: str, permission: str) -> bool:
    """Take a permission from a user; returns whether the user had it. Raises UnknownUser."""
    user_id = await _lock(transaction, username)
    return await users.revoke(transaction, user_id=user_id, permission=permission)


async def list_tokens(
    transaction: Transaction, *, username: str | None = None
) -> list[ListedToken]:
    """The tokens of one user, or of all, revoked ones too, oldest first; raises UnknownUser."""
    if username is not None:
        await _lock(transaction, username)
    return await users.list_tokens(transaction, username=username)


async def _lock(transaction: Transaction, username: str) -> int:
    user_id = None
    if username.isprintable():  # other characters could not be stored, nor looked for
        user_id = await users.lock(transaction, username=username)
    if user_id is None:
        raise UnknownUser(username)
    return user_id


def _check_text(text: str, longest: int, *, shortest: int = 1) -> None:
    if not shortest <= len(text) <= longest:
        raise UnfitText(f"must have {shortest} to {longest} characters")
    if not text.isprintable():
        raise UnfitText("must not contain control characters")
