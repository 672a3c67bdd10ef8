"""Users: their tokens, passwords and permissions."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from attrs import asdict, frozen
from psycopg2.errors import UniqueViolation
from psycopg2.extras import Json

from sbm.model.paging import Page, PageRequest
from sbm.model.user import User
from sbm.model.usernames import KnownName
from sbm.store.paging import read_page
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

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
class UserRecord:
    """A user as it is stored, without the password."""

    id: int
    username: str
    email: str
    is_admin: bool
    is_active: bool
    is_limited: bool
    created_at: datetime
    permissions: Sequence[str]


@frozen(kw_only=True)
class UserUses:
    """Whether a user has a password, how many live tokens, and when one was used last.

    The time is right to the hour; None: no token was used, or its use was not recorded.
    """

    user_id: int
    has_password: bool
    tokens: int
    last_used_at: datetime | None


@frozen(kw_only=True)
class TokenRecord:
    """A token's data; the token itself is not stored."""

    id: int
    user_id: int
    username: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@frozen(kw_only=True)
class FoundToken:
    """A token that is not revoked, and its user, active or not.

    ``is_use_noted_long_ago``: that it is used now has to be noted.
    """

    user: User
    token_id: int
    is_expired: bool
    is_use_noted_long_ago: bool


async def list_called(transaction: Transaction, *, called: str) -> list[KnownName]:
    """The users with exactly this name or e-mail address."""
    return await transaction.many(QUERIES.find_users_called, KnownName, called=called)


async def list_alike(transaction: Transaction, *, key: str) -> list[KnownName]:
    """The users whose name or e-mail address may have this folded form, and others."""
    return await transaction.many(QUERIES.find_users_alike, KnownName, key=key)


async def lock_names(transaction: Transaction) -> None:
    """Let no other transaction compare or add names until this one ends."""
    await transaction.execute(QUERIES.lock_names)


async def lock_administrators(transaction: Transaction) -> None:
    """Let no other transaction lock an administrator out, or demote one, until this one ends."""
    await transaction.execute(QUERIES.lock_administrators)


async def has_administrator(transaction: Transaction, *, besides: int | None = None) -> bool:
    """Whether there is an active administrator, ``besides`` the user with this id."""
    return await transaction.one(QUERIES.has_administrator, bool, besides=besides)


async def find_or_create(
    transaction: Transaction, *, username: str, email: str, admin: bool
) -> int:
    """The id of the user of this name, made if missing; with ``admin`` an administrator."""
    return await transaction.one(
        QUERIES.upsert_user, int, username=username, email=email, is_admin=admin
    )


async def make_room(transaction: Transaction, *, user_id: int, most: int, unused: timedelta) -> int:
    """How many live tokens a user has, who is locked.

    If there are ``most`` or more, as many as needed are revoked before: those that have been unused
    longest, for the time ``unused`` at least.
    """
    return await transaction.one(
        QUERIES.make_room_for_token, int, user_id=user_id, most=most, unused=unused
    )


async def add_token(
    transaction: Transaction,
    *,
    user_id: int,
    name: str = "",
    expires_at: datetime | None = None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> tuple[int, str] | None:
    """One more token of a user: its id, and 40 hexadecimal digits; older ones stay valid.

    None if it would be expired already.
    """
    token = random_bytes(TOKEN_BYTES).hex()
    token_id = await transaction.maybe(
        QUERIES.insert_token,
        int,
        user_id=user_id,
        digest=_digest(token),
        name=name,
        expires_at=expires_at,
    )
    return None if token_id is None else (token_id, token)


async def find_user_by_token(transaction: Transaction, *, token: str) -> FoundToken | None:
    """The token and its user; None if the token is unknown or revoked."""
    return await transaction.maybe(QUERIES.find_user_by_digest, _found, digest=_digest(token))


async def list_owners(transaction: Transaction, *, tokens: Iterable[str]) -> list[str]:
    """The names of the users who have one of these as a live token."""
    digests = [_digest(token) for token in tokens]
    return await transaction.many(QUERIES.list_owners_of_tokens, str, digests=digests)


async def note_uses(transaction: Transaction, *, seconds_ago: Mapping[int, float]) -> int:
    """Note when tokens were used; returns how many of them were noted."""
    used = [{"id": one, "seconds": seconds} for one, seconds in seconds_ago.items()]
    return await transaction.execute(QUERIES.note_uses_of_tokens, used=Json(used))


async def find_user_by_name(
    transaction: Transaction, *, username: str
) -> tuple[User, str | None] | None:
    """The user, active or not, of this name, and their password as it is stored, if any."""
    return await transaction.maybe(QUERIES.find_user_by_name, _with_password, username=username)


async def create(
    transaction: Transaction,
    *,
    username: str,
    email: str,
    admin: bool,
    limited: bool,
    password: str | None,
) -> int | None:
    """Make a user, with a hashed password or none; returns the id, or None if the name exists."""
    return await transaction.maybe(
        QUERIES.insert_user,
        int,
        username=username,
        email=email,
        is_admin=admin,
        is_limited=limited,
        password=password,
    )


async def find(transaction: Transaction, *, user_id: int) -> UserRecord | None:
    """The user with this id, if there is one."""
    return await transaction.maybe(QUERIES.find_user, UserRecord, id=user_id)


async def hold(transaction: Transaction, *, row_id: int) -> bool:
    """Whether there is a user with this id, who stays until the transaction ends."""
    return await transaction.maybe(QUERIES.hold_user, int, id=row_id) is not None


async def lock_by_id(transaction: Transaction, *, user_id: int) -> UserRecord | None:
    """The user with this id, who is locked until the transaction ends."""
    return await transaction.maybe(QUERIES.lock_user_by_id, UserRecord, id=user_id)


async def list_page(
    transaction: Transaction,
    *,
    page: PageRequest,
    username: str | None = None,
    email: str | None = None,
    is_active: bool | None = None,
    is_admin: bool | None = None,
    is_limited: bool | None = None,
) -> Page[UserRecord]:
    """A page of the users that match the filters (None: no filter), by id."""
    return await read_page(
        transaction,
        QUERIES.list_users_page,
        UserRecord,
        page,
        username=username,
        email=email,
        is_active=is_active,
        is_admin=is_admin,
        is_limited=is_limited,
    )


async def update(transaction: Transaction, *, user: UserRecord) -> bool:
    """Store the fields of a user who is locked; False if another user has the name."""
    values = asdict(user, filter=lambda one, _: one.name not in ("created_at", "permissions"))
    try:
        await transaction.execute(QUERIES.update_user, **values)
    except UniqueViolation:
        return False
    return True


async def replace_permissions(
    transaction: Transaction, *, user_id: int, permissions: Iterable[str]
) -> None:
    """Give a user exactly these permissions."""
    await transaction.execute(
        QUERIES.replace_permissions, user_id=user_id, permissions=list(permissions)
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


async def set_admin(transaction: Transaction, *, user_id: int, is_admin: bool) -> None:
    """Make a user an administrator, or no longer one."""
    await transaction.execute(QUERIES.set_admin, user_id=user_id, is_admin=is_admin)


async def set_limited(transaction: Transaction, *, user_id: int, is_limited: bool) -> None:
    """Let a user hold only what was granted, or the usual permissions, too."""
    await transaction.execute(QUERIES.set_limited, user_id=user_id, is_limited=is_limited)


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


async def list_uses(transaction: Transaction, *, user_ids: Iterable[int]) -> list[UserUses]:
    """How these users get in, in no order."""
    return await transaction.many(QUERIES.list_uses, UserUses, user_ids=list(user_ids))


async def list_tokens(
    transaction: Transaction, *, username: str | None = None
) -> list[TokenRecord]:
    """The tokens of one user, or of all, revoked ones too, oldest first."""
    return await transaction.many(QUERIES.list_tokens, TokenRecord, username=username)


async def find_token(transaction: Transaction, *, token_id: int) -> TokenRecord | None:
    """The token with this id, revoked or not, if there is one."""
    return await transaction.maybe(QUERIES.find_token, TokenRecord, id=token_id)


async def list_tokens_page(
    transaction: Transaction,
    *,
    page: PageRequest,
    user_id: int | None = None,
    is_live: bool | None = None,
) -> Page[TokenRecord]:
    """A page of the tokens that match the filters (None: no filter), oldest first."""
    return await read_page(
        transaction,
        QUERIES.list_tokens_page,
        TokenRecord,
        page,
        user_id=user_id,
        is_live=is_live,
    )


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


def _found(
    *, token_id: int, is_expired: bool, is_use_noted_long_ago: bool, **columns: Any
) -> FoundToken:
    return FoundToken(
        user=_user(**columns),
        token_id=token_id,
        is_expired=is_expired,
        is_use_noted_long_ago=is_use_noted_long_ago,
    )


def _with_password(*, password: str | None, **columns: Any) -> tuple[User, str | None]:
    return _user(**columns), password


def _listed(*, email: str, has_password: bool, tokens: int, **columns: Any) -> ListedUser:
    user = _user(**columns)
    return ListedUser(user=user, email=email, has_password=has_password, tokens=tokens)


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8")).digest()
