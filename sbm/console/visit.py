"""A request to the console, and the page that answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode

from attrs import field, frozen
from babel.support import NullTranslations
from twisted.web.server import Request

from sbm.console.reading_turns import ReadingTurns
from sbm.console.retelling import retold
from sbm.model.author import Author
from sbm.model.signature import MAX_REASON
from sbm.model.user import User
from sbm.store.console_sessions import ConsoleSession
from sbm.store.postgres.database import Database
from sbm.web.http.http_errors import Invalid

Result = TypeVar("Result")

MAX_ACTION = 200


@frozen(kw_only=True)
class View:
    """A page: its template, and the values in it; or the place to go to instead.

    ``raw`` is an answer that is no page, with the headers that say what it is.
    """

    template: str = ""
    values: Mapping[str, Any] = field(factory=dict)
    status: int = 200
    goes_to: str | None = None
    raw: bytes | None = None
    headers: Mapping[str, str] = field(factory=dict)
    stream: Callable[[Request], Awaitable[None]] | None = None


def go_to(path: str, /, **parameters: str) -> View:
    """Send the browser to another page, which it reads with GET."""
    query = f"?{urlencode(parameters)}" if parameters else ""
    return View(status=303, goes_to=f"{path}{query}")


@frozen(eq=False, kw_only=True)
class Visit:
    """A request of a user who is logged in.

    ``query`` has the parameters of the address, and ``form`` the fields of a form that was sent;
    ``files`` are those of its fields that are no text.
    """

    session: ConsoleSession
    origin: str
    path: str
    query: Mapping[str, str]
    language: str
    request_id: str
    request: Request
    texts: NullTranslations
    _database: Database
    _turns: ReadingTurns
    form: Mapping[str, str] = field(factory=dict)
    files: Mapping[str, Any] = field(factory=dict)

    @property
    def user(self) -> User:
        """Who it is."""
        return self.session.user

    def _(self, text: str) -> str:
        """A text in the language of the reader."""
        return str(self.texts.ugettext(text))

    def retold(self, sentence: str) -> str:
        """A sentence of another layer in the language of the reader; see ``retold``."""
        return retold(self.texts, sentence)

    def counted(self, one: str, many: str, number: int, **told: object) -> str:
        """A text with a number, ``%(num)s``, in the form that the number wants.

        ``told`` are other values in it.
        """
        return str(self.texts.ungettext(one, many, number)) % {"num": number, **told}

    async def read(self, work: Callable[..., Awaitable[Result]], **arguments: Any) -> Result:
        """Do work that only reads, in a transaction."""
        return await self._in_turn(partial(self._database.read, work, **arguments))

    async def read_snapshot(
        self, work: Callable[..., Awaitable[Result]], **arguments: Any
    ) -> Result:
        """The same, with all statements at one moment."""
        return await self._in_turn(partial(self._database.read_snapshot, work, **arguments))

    async def rehearse(self, work: Callable[..., Awaitable[Result]], **arguments: Any) -> Result:
        """Do work as ``change`` does it, without a reason, and roll it back."""
        rehearse = self._database.rehearse
        return await self._in_turn(
            partial(rehearse, self._authored, self._author(""), work, arguments)
        )

    async def _in_turn(self, work: Callable[[], Awaitable[Result]]) -> Result:
        return await self._turns.read(self.session.id, work)

    async def change(self, work: Callable[..., Awaitable[Result]], **arguments: Any) -> Result:
        """Do work in a transaction whose changes are those of the user, with the form's reason."""
        return await self._database.transact(self._authored, self.author(), work, arguments)

    @staticmethod
    async def _authored(
        transaction: Any,
        author: Author,
        work: Callable[..., Awaitable[Result]],
        arguments: Mapping[str, Any],
    ) -> Result:
        transaction.author = author
        return await work(transaction, **arguments)

    @property
    def reason(self) -> str:
        """Why the user makes a change; raises Invalid if it is not one line of a usual length."""
        told = self.form.get("reason", "").strip()
        if len(told) > MAX_REASON or not told.isprintable():
            told = self._("At most %(most)s printable characters, in one line.")
            raise Invalid({"reason": [told % {"most": MAX_REASON}]})
        return told

    def author(self) -> Author:
        """The author of the changes that this request makes."""
        return self._author(self.reason)

    def _author(self, reason: str) -> Author:
        key = self.form.get("once", "")
        return Author(
            actor=self.user.username,
            user_id=self.user.id,
            action=f"console {self.path}"[:MAX_ACTION],
            reason=reason,
            request_id=self.request_id,
            idempotency_key=key if key.isascii() and key.isalnum() else None,
        )
