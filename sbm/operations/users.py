"""Make and change users of the API, and their tokens and permissions."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from attrs import asdict, evolve

from sbm.model.user import (
    ADMINISTER,
    MAX_TOKEN_NAME,
    MAX_TOKENS,
    MAX_USERNAME,
    UNUSED,
)
from sbm.model.usernames import (
    BLANK,
    AmbiguousName,
    folded,
    is_storable,
    meant_by,
    objection_to_name,
)
from sbm.operations.drafts import Changes, Draft
from sbm.operations.refusals import NoSuchRow, OperationRefused, WrongValues
from sbm.operations.usernames import (
    EmailTaken,
    UnfitText,
    UsernameTaken,
    check_length,
    check_new_email,
    check_new_name,
    check_text,
    spelled_otherwise,
)
from sbm.store import console_sessions, users
from sbm.store.postgres.transaction import Transaction
from sbm.store.users import TokenRecord, UserRecord

TAKEN = "A user with this name already exists."
EMAIL_TAKEN = "A user with this e-mail address already exists."


class UnknownUser(OperationRefused):
    """There is no user with this name; ``alike`` are those with another spelling of it."""

    def __init__(self, username: str, alike: Sequence[str] = ()) -> None:
        others = f", but there is {' and '.join(map(repr, alike))}" if alike else ""
        super().__init__(f"there is no user {username!r}{others}")


class LastAdministrator(OperationRefused):
    """With this change, nobody could administer users by API any more."""

    def __init__(self) -> None:
        super().__init__(
            "This user is the last active administrator. Make another one first, or use `sbm user`."
        )


class AmbiguousUser(OperationRefused):
    """Several users have this name, if capitals and variants of letters do not count."""

    def __init__(self, username: str, alike: Sequence[str]) -> None:
        named = " or ".join(map(repr, alike))
        super().__init__(f"{username!r} can mean {named}: use the exact name")


class TooManyTokens(OperationRefused):
    """A user has as many live tokens as are allowed, and uses all of them."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"The user has {most} live tokens, and none of them has been unused for"
            f" {UNUSED.days} days. Revoke one that is not needed."
        )


async def create(
    transaction: Transaction,
    *,
    username: str,
    email: str = "",
    admin: bool = False,
    limited: bool = False,
    permissions: Iterable[str] = (),
    password: str | None = None,
) -> int:
    """Make a user, with a hashed password or none, and return the id.

    The user holds these ``permissions``, and, unless ``limited``, the usual ones. Raises UnfitText;
    and UsernameTaken or EmailTaken, if another user has the name or the address, in any spelling,
    as a name or as an address.
    """
    await check_new_name(transaction, username)
    await check_new_email(transaction, email)
    granted = frozenset(permissions)
    user_id = await users.create(
        transaction,
        username=username,
        email=email,
        admin=admin or ADMINISTER in granted,
        limited=limited,
        password=password,
    )
    if user_id is None:
        raise UsernameTaken(username)
    for permission in sorted(granted - {ADMINISTER}):
        await users.grant(transaction, user_id=user_id, permission=permission)
    return user_id


async def create_token(
    transaction: Transaction,
    *,
    email: str,
    admin: bool = False,
    name: str = "",
    expires_at: datetime | None = None,
    most: int = MAX_TOKENS,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> str:
    """A new token, 40 hexadecimal digits, for a user; if there is no such user, one is made.

    ``email`` is the name of the user, or else the user's e-mail address, if no other user has the
    same (see ``meant_by``). With ``admin`` the user becomes an administrator; without it, the
    permissions stay. Only a digest of the token is stored. Raises UnfitText, AmbiguousUser, and the
    errors of ``issue_token``.
    """
    username = await _meant(transaction, email)
    user_id = await users.find_or_create(
        transaction,
        username=email if username is None else username,
        email=email if "@" in email else "",
        admin=admin,
    )
    _, token = await issue_token(
        transaction,
        user_id=user_id,
        name=name,
        expires_at=expires_at,
        most=most,
        random_bytes=random_bytes,
    )
    return token


async def issue_token(
    transaction: Transaction,
    *,
    user_id: int,
    name: str = "",
    expires_at: datetime | None = None,
    most: int = MAX_TOKENS,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> tuple[int, str]:
    """One more token of a user: its id, and the token itself.

    The user has at most ``most`` live tokens. To make room, the one that has been unused longest is
    revoked, if that is 30 days at least. Raises TooManyTokens if there is none; NoSuchRow; and
    WrongValues for the name, or if the token would be expired already.
    """
    with _told_of("name"):
        check_length(name, MAX_TOKEN_NAME, shortest=0)
        if not name.isprintable():
            raise UnfitText("must not contain control characters")
    # Requests for the same user wait for each other here, so that each counts what the others made.
    if await users.lock_by_id(transaction, user_id=user_id) is None:
        raise NoSuchRow
    live = await users.make_room(transaction, user_id=user_id, most=most, unused=UNUSED)
    if live >= most:
        raise TooManyTokens(most)
    made = await users.add_token(
        transaction,
        user_id=user_id,
        name=name,
        expires_at=expires_at,
        random_bytes=random_bytes,
    )
    if made is None:
        raise WrongValues({"expires_at": ["This moment is not in the future."]})
    return made


async def revoke_token(transaction: Transaction, *, token_id: int) -> None:
    """Revoke a token, unless it is revoked already; raises NoSuchRow."""
    if await users.find_token(transaction, token_id=token_id) is None:
        raise NoSuchRow
    await users.revoke_token(transaction, token_id=token_id)


async def set_password(transaction: Transaction, *, username: str, password: str) -> None:
    """Store another password, hashed, and end the sessions of the user; raises UnknownUser."""
    user_id = await _lock(transaction, username)
    await users.set_password(transaction, user_id=user_id, password=password)
    await console_sessions.end_all_of(transaction, user_id=user_id)


async def set_active(transaction: Transaction, *, username: str, is_active: bool) -> None:
    """Let a user in, or refuse all tokens and the password of a user; raises UnknownUser.

    The sessions of a user who is refused end. The user may be the last administrator: an operator
    can make another one.
    """
    user_id = await _lock(transaction, username)
    await users.lock_administrators(transaction)
    await users.set_active(transaction, user_id=user_id, is_active=is_active)
    if not is_active:
        await console_sessions.end_all_of(transaction, user_id=user_id)


async def set_limited(transaction: Transaction, *, username: str, is_limited: bool) -> None:
    """Let a user hold only what was granted, or the usual permissions, too; raises UnknownUser.

    The sessions of a user who is limited end.
    """
    user_id = await _lock(transaction, username)
    await users.set_limited(transaction, user_id=user_id, is_limited=is_limited)
    if is_limited:
        await console_sessions.end_all_of(transaction, user_id=user_id)


async def grant(transaction: Transaction, *, username: str, permission: str) -> None:
    """Give a user a permission, unless the user has it already; raises UnknownUser."""
    user_id = await _lock(transaction, username)
    if permission == ADMINISTER:
        await users.set_admin(transaction, user_id=user_id, is_admin=True)
    else:
        await users.grant(transaction, user_id=user_id, permission=permission)


async def revoke(transaction: Transaction, *, username: str, permission: str) -> bool:
    """Take a permission from a user; returns whether it had been granted. Raises UnknownUser.

    The user may be the last administrator: an operator can make another one.
    """
    user_id = await _lock(transaction, username)
    if permission != ADMINISTER:
        return await users.revoke(transaction, user_id=user_id, permission=permission)
    await users.lock_administrators(transaction)
    found = await users.find(transaction, user_id=user_id)
    await users.set_admin(transaction, user_id=user_id, is_admin=False)
    return found is not None and found.is_admin


async def holds(transaction: Transaction, *, username: str, permission: str) -> bool:
    """Whether a user holds this permission, for whatever reason; raises UnknownUser."""
    found = await users.find_user_by_name(transaction, username=username)
    if found is None:
        raise UnknownUser(username)
    user, _ = found
    return user.may(permission)


async def create_user(transaction: Transaction, draft: Draft) -> UserRecord:
    """Make a user with the values of a draft; raises WrongValues."""
    draft.found().check()
    values = dict(draft.values)
    with _told_of("email"):
        await check_new_email(transaction, values["email"])
    with _told_of("username"):
        user_id = await create(
            transaction,
            username=values["username"],
            email=values["email"],
            admin=values["is_admin"],
            limited=values["is_limited"],
            permissions=values["permissions"],
            password=values.get("password"),
        )
    if not values["is_active"]:
        await users.set_active(transaction, user_id=user_id, is_active=False)
    return await _found(transaction, user_id)


async def change_user(transaction: Transaction, changes: Changes, *, user_id: int) -> UserRecord:
    """Change a user, by the values of a draft; raises NoSuchRow, WrongValues or LastAdministrator.

    Without a new password, the old one stays. So do a name and an address that are written as they
    are stored, whatever they are. A new password ends the sessions of the user; so does a change
    that locks the user out or limits what the user may do.
    """
    found = await users.lock_by_id(transaction, user_id=user_id)
    if found is None:
        raise NoSuchRow
    draft = changes(asdict(found))
    draft.found().check()
    values = dict(draft.values)
    password = values.pop("password", None)
    wanted = evolve(found, **values)
    await _check_changed(transaction, found, wanted)
    with _told_of("username"):
        if not await users.update(transaction, user=wanted):
            raise UsernameTaken(wanted.username)
    if "permissions" in values:
        await users.replace_permissions(
            transaction, user_id=user_id, permissions=wanted.permissions
        )
    if password is not None:
        await users.set_password(transaction, user_id=user_id, password=password)
    if password is not None or _is_narrower(found, wanted):
        await console_sessions.end_all_of(transaction, user_id=user_id)
    return await _found(transaction, user_id)


async def list_tokens(
    transaction: Transaction, *, username: str | None = None
) -> list[TokenRecord]:
    """The tokens of one user, or of all, revoked ones too, oldest first; raises UnknownUser."""
    if username is not None:
        await _lock(transaction, username)
    return await users.list_tokens(transaction, username=username)


async def _check_changed(transaction: Transaction, found: UserRecord, wanted: UserRecord) -> None:
    """Check only new values: what is stored stays as it is."""
    if wanted.email != found.email:
        with _told_of("email"):
            await check_new_email(transaction, wanted.email, besides=found.username)
    if wanted.username != found.username:
        with _told_of("username"):
            await check_new_name(transaction, wanted.username, besides=found.username)
    if _administers(found) and not _administers(wanted):
        await users.lock_administrators(transaction)
        if not await users.has_administrator(transaction, besides=found.id):
            raise LastAdministrator


def _administers(user: UserRecord) -> bool:
    return user.is_admin and user.is_active


def _is_narrower(found: UserRecord, wanted: UserRecord) -> bool:
    """Whether a change locks a user out, or lets the user do only what was granted."""
    return (found.is_active and not wanted.is_active) or (
        wanted.is_limited and not found.is_limited
    )


async def _found(transaction: Transaction, user_id: int) -> UserRecord:
    found = await users.find(transaction, user_id=user_id)
    assert found is not None
    return found


@contextmanager
def _told_of(attribute: str) -> Iterator[None]:
    """Raise the refusals of a text as WrongValues."""
    try:
        yield
    except UsernameTaken:
        raise WrongValues({attribute: [TAKEN]}) from None
    except EmailTaken:
        raise WrongValues({attribute: [EMAIL_TAKEN]}) from None
    except UnfitText as refusal:
        raise WrongValues({attribute: [f"It {refusal}."]}) from None


async def _lock(transaction: Transaction, username: str) -> int:
    """Lock the user of exactly this name: a command for one must not change another."""
    if not is_storable(username):
        raise UnknownUser(username)
    user_id = await users.lock(transaction, username=username)
    if user_id is None:
        raise UnknownUser(username, await spelled_otherwise(transaction, username))
    return user_id


async def _meant(transaction: Transaction, called: str) -> str | None:
    """The name of the user who is called so; None if a user of this name can be made.

    If no user is called exactly so, others may add one at the same time: so the names are locked.
    """
    check_length(called, MAX_USERNAME)
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
        check_text(objection_to_name(called))
    return username
