"""Make and change users of the API, and their tokens and permissions."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from sbm.model.user import MAX_EMAIL, MAX_USERNAME
from sbm.model.usernames import BLANK, AmbiguousName, folded, is_storable, meant_by, objection
from sbm.operations.refusals import OperationRefused
from sbm.store import users
from sbm.store.postgres.database import Transaction
from sbm.store.users import ListedToken


class UnknownUser(OperationRefused):
    """There is no user with this name; ``alike`` are those with another spelling of it."""

    def __init__(self, username: str, alike: Sequence[str] = ()) -> None:
        others = f", but there is {' and '.join(map(repr, alike))}" if alike else ""
        super().__init__(f"there is no user {username!r}{others}")


class UsernameTaken(OperationRefused):
    """There is already a user with this name."""

    def __init__(self, username: str) -> None:
        super().__init__(f"there is a user {username!r} already")


class AmbiguousUser(OperationRefused):
    """Several users have this name, if capitals and variants of letters do not count."""

    def __init__(self, username: str, alike: Sequence[str]) -> None:
        named = " or ".join(map(repr, alike))
        super().__init__(f"{username!r} can mean {named}: use the exact name")


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

    Raises UsernameTaken, also if the name is that of a user in another spelling, or UnfitText.
    """
    _check_length(username, MAX_USERNAME)
    _check_length(email, MAX_EMAIL, shortest=0)
    await users.lock_names(transaction)
    alike = await _spelled_otherwise(transaction, username) if is_storable(username) else []
    if alike:
        raise UsernameTaken(alike[0])
    _check_text(username)
    _check_text(email)
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

    ``email`` is the name of the user, or else the user's e-mail address, if no other user has the
    same (see ``meant_by``). With ``admin`` the user becomes an administrator; without it, the
    permissions stay. Only a digest of the token is stored. Raises UnfitText, or AmbiguousUser.
    """
    username = await _meant(transaction, email)
    user_id = await users.find_or_create(
        transaction,
        username=email if username is None else username,
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
    """Lock the user of exactly this name: a command for one must not change another."""
    if not is_storable(username):
        raise UnknownUser(username)
    user_id = await users.lock(transaction, username=username)
    if user_id is None:
        raise UnknownUser(username, await _spelled_otherwise(transaction, username))
    return user_id


async def _meant(transaction: Transaction, called: str) -> str | None:
    """The name of the user who is called so; None if a user of this name can be made.

    If no user is called exactly so, others may add one at the same time: so the names are locked.
    """
    _check_length(called, MAX_USERNAME)
    if not is_storable(called):
        raise UnfitText(BLANK)
    try:
        username = meant_by(called, await users.list_called(transaction, called=called))
        if username is None:
            await users.lock_names(transaction)
            alike = await users.list_alike(transaction, key=folded(called))
            username = meant_by(called, alike)
    except AmbiguousName as error:
        raise AmbiguousUser(called, error.usernames) from None
    if username is None:
        _check_text(called)
    return username


async def _spelled_otherwise(transaction: Transaction, username: str) -> list[str]:
    """The names of the users whose name is the same, in any spelling."""
    key = folded(username)
    alike = await users.list_alike(transaction, key=key)
    return [one.username for one in alike if folded(one.username) == key]


def _check_length(text: str, longest: int, *, shortest: int = 1) -> None:
    if not shortest <= len(text) <= longest:
        raise UnfitText(f"must have {shortest} to {longest} characters")


def _check_text(text: str) -> None:
    wrong = objection(text)
    if wrong is not None:
        raise UnfitText(wrong)
