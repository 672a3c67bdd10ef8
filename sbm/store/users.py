"""Users and their tokens."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from hashlib import sha256

from sbm.model.user import User
from sbm.store.database import Transaction
from sbm.store.queries import load

QUERIES = load("users")

TOKEN_BYTES = 20
MAX_USERNAME = 150


async def create_token(
    transaction: Transaction,
    *,
    email: str,
    admin: bool,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> str:
    """A new token, 40 hexadecimal digits, of the user with this e-mail, who is made if need be.

    With ``admin`` the user becomes an administrator; without, stays what she is. Only a digest of
    the token is stored. Raises ValueError if the e-mail is empty or too long for a user name.
    """
    if not 1 <= len(email) <= MAX_USERNAME:
        raise ValueError(f"must have 1 to {MAX_USERNAME} characters")
    user = await transaction.row(QUERIES.upsert_user, username=email, email=email, is_admin=admin)
    assert user is not None
    token = random_bytes(TOKEN_BYTES).hex()
    await transaction.execute(QUERIES.insert_token, user_id=user["id"], digest=_digest(token))
    return token


async def find_user_by_token(transaction: Transaction, *, token: str) -> User | None:
    """The user, active or not, whom this token belongs to, unless it is unknown or revoked."""
    row = await transaction.row(QUERIES.find_user_by_digest, digest=_digest(token))
    return User(**row) if row else None


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8")).digest()
