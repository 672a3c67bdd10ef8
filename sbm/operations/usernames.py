"""Check the new names and e-mail addresses of users."""

from __future__ import annotations

from sbm.model.email import is_email
from sbm.model.user import MAX_EMAIL, MAX_USERNAME
from sbm.model.usernames import folded, is_storable, objection, objection_to_name
from sbm.operations.refusals import OperationRefused
from sbm.store import users
from sbm.store.postgres.transaction import Transaction


class UsernameTaken(OperationRefused):
    """There is already a user with this name."""

    def __init__(self, username: str) -> None:
        super().__init__(f"there is a user {username!r} already")


class EmailTaken(OperationRefused):
    """Another user has this e-mail address already; ``username`` is that user's name."""

    def __init__(self, username: str) -> None:
        super().__init__(f"the user {username!r} has this e-mail address already")


class UnfitText(OperationRefused):
    """A name or an e-mail address that cannot be stored; the message says what it must be."""


async def check_new_name(
    transaction: Transaction, username: str, *, besides: str | None = None
) -> None:
    """Raise UsernameTaken, EmailTaken or UnfitText for the new name of a user.

    ``besides`` is the name that the user has. No other transaction can add a name or an address
    before this one ends.
    """
    check_length(username, MAX_USERNAME)
    await _check_that_nobody_has(transaction, username, besides=besides)
    check_text(objection_to_name(username))


async def check_new_email(
    transaction: Transaction, email: str, *, besides: str | None = None
) -> None:
    """The same for a new e-mail address, which may be empty."""
    check_length(email, MAX_EMAIL, shortest=0)
    if email:
        await _check_that_nobody_has(transaction, email, besides=besides)
        check_text(objection(email))
        check_text(None if is_email(email) else "must be an e-mail address")


async def _check_that_nobody_has(
    transaction: Transaction, text: str, *, besides: str | None
) -> None:
    await users.lock_names(transaction)
    if not is_storable(text):
        return
    key = folded(text)
    for one in await users.list_alike(transaction, key=key):
        if one.username != besides and folded(one.username) == key:
            raise UsernameTaken(one.username)
        if one.username != besides and folded(one.email) == key:
            raise EmailTaken(one.username)


async def spelled_otherwise(transaction: Transaction, username: str) -> list[str]:
    """The names of the users whose name is the same, in any spelling."""
    key = folded(username)
    alike = await users.list_alike(transaction, key=key)
    return [one.username for one in alike if folded(one.username) == key]


def check_length(text: str, longest: int, *, shortest: int = 1) -> None:
    """Raise UnfitText for a text that is too long or too short."""
    if not shortest <= len(text) <= longest:
        raise UnfitText(f"must have {shortest} to {longest} characters")


def check_text(wrong: str | None) -> None:
    """Raise UnfitText if there is something wrong with a text, as the end of a sentence."""
    if wrong is not None:
        raise UnfitText(wrong)
