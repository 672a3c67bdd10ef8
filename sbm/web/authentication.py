"""Who asks: the one place that reads the Authorization header."""

from __future__ import annotations

import hmac

from attrs import field, frozen
from twisted.web.server import Request

from sbm.model.user import SCHEDULER, User
from sbm.store import users
from sbm.store.database import Database
from sbm.web.errors import Unauthenticated

NOT_PROVIDED = "Authentication credentials were not provided."
INVALID_TOKEN = "Invalid token."
INACTIVE = "User inactive or deleted."


@frozen(eq=False)
class Authentication:
    """Knows users by their tokens, and the Scheduler by the one token that it was given."""

    _database: Database
    _scheduler_token: str | None = field(repr=False)

    async def user_of(self, request: Request) -> User:
        """Whose request this is; raises Unauthenticated, or DatabaseUnavailable."""
        token = _token(_header(request))
        if self._is_schedulers(token):
            return SCHEDULER
        user = await self._database.transact(users.find_user_by_token, token=token)
        if user is None:
            raise Unauthenticated(INVALID_TOKEN)
        if not user.is_active:
            raise Unauthenticated(INACTIVE)
        return user

    def _is_schedulers(self, token: str) -> bool:
        """Compared in constant time, and without a look into the database."""
        if self._scheduler_token is None:
            return False
        return hmac.compare_digest(token.encode("utf-8"), self._scheduler_token.encode("utf-8"))


def _header(request: Request) -> bytes:
    return b", ".join(request.requestHeaders.getRawHeaders(b"authorization", []))


def _token(header: bytes) -> str:
    """The token in an Authorization header; raises Unauthenticated in the words of the wire."""
    words = header.split()
    if not words or words[0].lower() != b"token":
        raise Unauthenticated(NOT_PROVIDED)
    if len(words) == 1:
        raise Unauthenticated("Invalid token header. No credentials provided.")
    if len(words) > 2:
        raise Unauthenticated("Invalid token header. Token string should not contain spaces.")
    try:
        return words[1].decode("ascii")
    except UnicodeDecodeError:
        raise Unauthenticated(
            "Invalid token header. Token string should not contain invalid characters."
        ) from None
