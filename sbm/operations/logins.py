"""Who is logged in to the console: links that log in, the own password, and the end of sessions."""

from __future__ import annotations

from datetime import timedelta

from sbm.model.signature import Signature
from sbm.operations.refusals import NoSuchRow, OperationRefused
from sbm.operations.users import UnknownUser
from sbm.store import audit, console_sessions, users
from sbm.store.postgres.transaction import Transaction


class InactiveUser(OperationRefused):
    """The user is disabled, and so cannot log in."""

    def __init__(self, username: str) -> None:
        super().__init__(f"the user {username!r} is disabled")


async def make_login_link(
    transaction: Transaction, *, username: str, within: timedelta, signature: Signature
) -> str:
    """The secret of a link that logs a user in to the console once, ``within`` that time.

    The audit has that it was made. Raises UnknownUser, or InactiveUser.
    """
    found = await users.find_user_by_name(transaction, username=username)
    if found is None or found[0].id is None:
        raise UnknownUser(username)
    user, _ = found
    assert user.id is not None
    if not user.is_active:
        raise InactiveUser(username)
    await audit.record(
        transaction,
        actor=signature.actor,
        action="make a login link",
        reason=signature.reason,
        details={"user": user.id},
    )
    return await console_sessions.make_link(transaction, user_id=user.id, within=within)


async def change_own_password(
    transaction: Transaction, *, user_id: int, session_id: int, password: str
) -> int:
    """Store another password of a user, hashed; returns how many other sessions were ended.

    The session in which the user does it goes on.
    """
    await users.set_password(transaction, user_id=user_id, password=password)
    return await console_sessions.end_all_of(transaction, user_id=user_id, besides=session_id)


async def end_session(
    transaction: Transaction, *, user_id: int, session_id: int, signature: Signature
) -> None:
    """End a session of this user, which the audit then has; raises NoSuchRow."""
    if not await console_sessions.end(transaction, session_id=session_id, user_id=user_id):
        raise NoSuchRow
    await _record(transaction, signature, user_id=user_id, ended=1)


async def end_sessions(
    transaction: Transaction, *, user_id: int, besides: int | None = None, signature: Signature
) -> int:
    """End the sessions of a user, ``besides`` one, which the audit then has; returns how many."""
    ended = await console_sessions.end_all_of(transaction, user_id=user_id, besides=besides)
    await _record(transaction, signature, user_id=user_id, ended=ended)
    return ended


async def _record(
    transaction: Transaction, signature: Signature, *, user_id: int, ended: int
) -> None:
    await audit.record(
        transaction,
        actor=signature.actor,
        action="end sessions",
        reason=signature.reason,
        details={"user": user_id, "ended": ended},
    )
