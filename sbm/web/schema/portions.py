"""Long pages: read and written a portion at a time, no faster than the client takes them.

Each portion is read in a transaction of its own, when it is the turn of its user among those who
read lists. So a page takes little memory, and a slow reader holds no connection of the database.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Generic, TypeVar

from attrs import field, frozen
from twisted.web.server import Request

from sbm.model.paging import PortionSize
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.endpoint import Endpoint
from sbm.web.http.flow import Flow
from sbm.web.http.reply import Reply
from sbm.web.http.wire import compact_json, written_in_slices

Page = TypeVar("Page")

# So much is in memory for each page that is being written.
FIRST = PortionSize(rows=100, bytes=128 * 2**10)
_MOST_ROWS = 400


def size_after(rows: int) -> PortionSize:
    """The size of a portion after one with so many rows.

    It grows, so that a page of a thousand small rows takes few portions; after a portion that was
    cut for its bytes, few rows are looked at.
    """
    return PortionSize(rows=min(_MOST_ROWS, max(1, 2 * rows)), bytes=FIRST.bytes)


@frozen(eq=False, kw_only=True)
class LongPage(Generic[Page]):
    """A page that goes on after its first portion.

    ``read`` reads the portion after one; ``goes_on`` says whether there is one. ``shown`` has the
    rows of a portion as clients see them. ``head`` has the members of the answer that come before
    the rows, and ``tail`` makes those that are known only after the last portion: they follow them.
    """

    endpoint: Endpoint
    username: str
    first: Page
    read: Callable[[Transaction, Page], Awaitable[Page]]
    goes_on: Callable[[Page], bool]
    shown: Callable[[Page], Iterable[Mapping[str, Any]]]
    head: Mapping[str, Any]
    tail: Callable[[Page], Mapping[str, Any]] = field(default=lambda _: {})

    async def reply(self) -> Reply:
        """The reply, whose first portion is written in memory."""
        written = await self._written(self.first)
        if not self.goes_on(self.first):
            head = {**self.head, **self.tail(self.first)}
            return Reply(json=b"%s%s]}" % (_beginning(head), written))
        return Reply(
            headers={"Content-Type": "application/json"}, stream=partial(self._stream, written)
        )

    async def _stream(self, written: bytes, request: Request) -> None:
        """Write all portions."""
        flow, portion = Flow(), self.first
        with flow.of(request):
            request.write(_beginning(self.head) + written)
            while self.goes_on(portion):
                await flow.ready()
                portion, written = await self.endpoint.lists.go_on(
                    self.username, partial(self._next, portion)
                )
                if written:
                    request.write(b",%s" % written)
            tail = compact_json(self.tail(portion))[1:-1]
            request.write(b"]%s}" % (b",%s" % tail if tail else b""))

    async def _next(self, portion: Page) -> tuple[Page, bytes]:
        following = await self.endpoint.database.read(self.read, portion)
        return following, await self._written(following)

    async def _written(self, portion: Page) -> bytes:
        return await written_in_slices(self.endpoint.database.reactor, self.shown(portion))


def _beginning(head: Mapping[str, Any]) -> bytes:
    """The text of an answer up to its first row."""
    members = compact_json(head)[1:-1]
    return b'{%s"results":[' % (b"%s," % members if members else b"")
