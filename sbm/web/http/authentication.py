"""Authenticate users: the only module that reads the Authorization header."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Sequence

from attrs import field, frozen
from twisted.web.server import Request

from sbm.model.user import NOBODY, SCHEDULER, User
from sbm.store import users
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.credential_guard import CredentialGuard
from sbm.web.http.http_errors import Unauthenticated
from sbm.web.http.origin import Proxies
from sbm.web.http.passwords import INVALID_PASSWORD, WRONG, Passwords

NOT_PROVIDED = "Authentication credentials were not provided."
INVALID_TOKEN = "Invalid token."  # noqa: S105 (a sentence)
EXPIRED = "Token expired."
INACTIVE = "User inactive or deleted."


@frozen(eq=False, kw_only=True)
class Token:
    """The token of a request, before it is looked up.

    ``used`` is called with the id of a token whose last use was noted more than an hour ago. A
    token that ``is_schedulers`` can also be that of a user; otherwise its user is the SCHEDULER.
    """

    _token: str = field(repr=False)
    _used: Callable[[int], None]
    _guard: CredentialGuard
    _address: str
    _is_schedulers: bool = False

    async def user(self, transaction: Transaction) -> User:
        """The active user of the token; raises Unauthenticated."""
        try:
            user = await self._find(transaction)
        except Unauthenticated as error:
            self._guard.refuse(self.digest, self._address, error)
            raise
        self._guard.accept(self.digest, self._address)
        return user

    @property
    def digest(self) -> bytes:
        """By what the token is known without being told."""
        return self._guard.digest("token", self._token)

    def check(self) -> None:
        """Raise Unauthenticated or TooManyGuesses if it need not be looked up."""
        self._guard.check(self.digest, self._address)

    async def _find(self, transaction: Transaction) -> User:
        found = await users.find_user_by_token(transaction, token=self._token)
        if self._is_schedulers and (found is None or found.is_expired):
            return SCHEDULER
        if found is None:
            raise Unauthenticated(INVALID_TOKEN, kind="wrong-token")
        if found.is_expired:
            raise Unauthenticated(EXPIRED, kind="expired-token")
        if not found.user.is_active:
            raise Unauthenticated(INACTIVE, kind="inactive-user")
        if found.is_use_noted_long_ago:
            self._used(found.token_id)
        return found.user


@frozen(eq=False, kw_only=True)
class Authentication:
    """Finds users by a token or a password, and the Scheduler by the tokens for its calls.

    ``token_used`` is called with the id of a token whose last use has to be noted.
    """

    _database: Database
    _passwords: Passwords
    _scheduler_tokens: Sequence[str] = field(repr=False)
    _token_used: Callable[[int], None]
    _proxies: Proxies = field(factory=Proxies)

    async def user_of(
        self, request: Request, *, needed: bool = True, calls_back: bool = False
    ) -> User:
        """The user of a request; raises Unauthenticated, Busy, or DatabaseUnavailable.

        If there are no credentials, and none are ``needed``, the user is NOBODY. Where the
        Scheduler ``calls_back``, its tokens are not looked up in the database.
        """
        credentials = await self.credentials(request, needed=needed, calls_back=calls_back)
        if isinstance(credentials, User):
            return credentials
        return await self._database.transact(credentials.user)

    async def credentials(
        self, request: Request, *, needed: bool = True, calls_back: bool = False
    ) -> User | Token:
        """The user of a request, or the token by which the transaction of the work finds the user.

        Raises the errors of ``user_of``, and TooManyGuesses. A password is checked here: that takes
        too long for a transaction.
        """
        header = _header(request)
        scheme = header[:1]
        address = self._proxies.address(request)
        if scheme == [b"basic"]:
            return await self._user_with(*_username_and_password(header), address=address)
        if scheme == [b"token"]:
            token = _token(header)
            is_schedulers = self._is_schedulers(token)
            if is_schedulers and calls_back:
                self._passwords.guard.welcome(address)
                return SCHEDULER
            found = Token(
                token=token,
                used=self._token_used,
                guard=self._passwords.guard,
                address=address,
                is_schedulers=is_schedulers,
            )
            if not is_schedulers:
                found.check()
            return found
        if needed:
            raise Unauthenticated(NOT_PROVIDED, kind="no-credentials")
        return NOBODY

    async def _user_with(self, username: str, password: str, *, address: str) -> User:
        user = await self._passwords.user_with(username, password, address=address)
        if user is None:
            raise Unauthenticated(INVALID_PASSWORD, kind=WRONG)
        return user

    def _is_schedulers(self, token: str) -> bool:
        """Compare in constant time, and without the database."""
        given = token.encode("utf-8")
        same = [hmac.compare_digest(given, one.encode("utf-8")) for one in self._scheduler_tokens]
        return any(same)


def _header(request: Request) -> list[bytes]:
    """The words of the Authorization header; the first one, the scheme, in lower case."""
    lines = request.requestHeaders.getRawHeaders(b"authorization", [])
    scheme, *words = b", ".join(lines).split() or [b""]
    return [scheme.lower(), *words]


def _malformed(detail: str) -> Unauthenticated:
    return Unauthenticated(detail, kind="malformed-credentials")


def _token(header: list[bytes]) -> str:
    """The token in the header; raises Unauthenticated in the words of the wire."""
    if len(header) == 1:
        raise _malformed("Invalid token header. No credentials provided.")
    if len(header) > 2:
        raise _malformed("Invalid token header. Token string should not contain spaces.")
    try:
        return header[1].decode("ascii")
    except UnicodeDecodeError:
        raise _malformed(
            "Invalid token header. Token string should not contain invalid characters."
        ) from None


def _username_and_password(header: list[bytes]) -> tuple[str, str]:
    """The credentials in the header; raises Unauthenticated with the message that clients know.

    Clients write UTF-8. Old clients write Latin-1, in which any bytes are text.
    """
    if len(header) == 1:
        raise _malformed("Invalid basic header. No credentials provided.")
    if len(header) > 2:
        raise _malformed("Invalid basic header. Credentials string should not contain spaces.")
    try:
        raw = base64.b64decode(header[1])
    except ValueError:
        raise _malformed(
            "Invalid basic header. Credentials not correctly base64 encoded."
        ) from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    username, _, password = text.partition(":")
    return username, password
