"""Lists, a page at a time.

``limit`` and ``offset`` say which page, and are all that a client needs. The links to the next and
the previous page also have a ``cursor``: the row at which the present page ends or begins, and
the count from the first page. A client that follows the links misses no row and sees none twice,
even if rows are made and deleted meanwhile, and a page costs the same at any offset.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from attrs import evolve, frozen

from sbm.model.paging import EndlessPage, Page, PageRequest
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import Endpoint, InTransaction
from sbm.web.http.http_errors import Malformed
from sbm.web.http.reply import Reply
from sbm.web.schema.filters import Filter, read_filters
from sbm.web.schema.portions import FIRST, LongPage, size_after
from sbm.web.schema.seals import INVALID, bound_to, is_old, sealed, unsealed

MAX_LIMIT = 1000

# No table has so many rows; a larger offset would not be a number for the database.
MAX_OFFSET = 2**62

_NAMES = ("limit", "offset", "cursor")

Row = TypeVar("Row")


@frozen(kw_only=True)
class Order(Generic[Row]):
    """The order of a list: the key of a row as JSON, and as the store takes it.

    ``read`` raises ValueError for an invalid key.
    """

    written: Callable[[Row], list[Any]]
    read: Callable[[list[Any]], tuple[Any, ...]]


def _id_of(key: list[Any]) -> tuple[int]:
    (number,) = key
    return (_natural(number),)


def _moment_of(key: list[Any]) -> tuple[datetime, UUID]:
    moment, row_id = key
    created_at = datetime.fromisoformat(moment)
    if created_at.tzinfo is None:
        raise ValueError("a time without a zone")
    return created_at.astimezone(timezone.utc), UUID(row_id)


BY_ID: Order[Any] = Order(written=lambda row: [row.id], read=_id_of)
NEWEST_FIRST: Order[Any] = Order(
    written=lambda row: [row.created_at.isoformat(), row.id.hex], read=_moment_of
)


@frozen(kw_only=True)
class _Portion(Generic[Row]):
    """A portion of the page in a window; ``wanted`` are the parameters of the filters."""

    window: PageRequest
    wanted: Mapping[str, Any]
    page: Page[Row]


@frozen(kw_only=True)
class Listing(Generic[Row]):
    """A list: its name, its filters, its order, and the functions that read and show its rows.

    ``list_page`` is the store's function: it takes a transaction, and by name the page and the
    parameters of the filters.
    """

    name: str
    list_page: Callable[..., Awaitable[Page[Row]]]
    shown: Callable[[ApiRequest, Row], Mapping[str, Any]]
    order: Order[Row] = BY_ID
    filters: Sequence[Filter] = ()

    def method(self, endpoint: Endpoint) -> InTransaction[Any]:
        """The method that reads a page in a transaction, and writes it after that."""
        return InTransaction(
            work=self._read, reply=partial(self._reply, endpoint), only_reads=True, lane="list"
        )

    async def _read(self, transaction: Transaction, request: ApiRequest) -> _Portion[Row]:
        """The first portion; raises Invalid for its filters, Malformed for its cursor."""
        window = self._window(request)
        wanted = await read_filters(transaction, self.filters, request.query)
        page = await self.list_page(transaction, page=evolve(window, portion=FIRST), **wanted)
        return _Portion(window=window, wanted=wanted, page=page)

    async def _read_after(self, transaction: Transaction, portion: _Portion[Row]) -> _Portion[Row]:
        """The next portion, up to the end of the page as it was found.

        A row that was inserted before that end meanwhile is shown, too: ``next`` begins after it.
        """
        page = portion.page
        window = PageRequest(
            limit=MAX_LIMIT,
            key=self._key(page.rows[-1]),
            until=self._key(page.end),
            count=page.count,
            portion=size_after(len(page.rows)),
        )
        following = await self.list_page(transaction, page=window, **portion.wanted)
        return evolve(portion, page=evolve(following, end=page.end))

    def _key(self, row: Row) -> tuple[Any, ...]:
        return tuple(self.order.read(self.order.written(row)))

    async def _reply(
        self, endpoint: Endpoint, request: ApiRequest, portion: _Portion[Row]
    ) -> Reply:
        following, preceding = self._neighbours(request, portion.window, portion.page)
        return await LongPage(
            endpoint=endpoint,
            username=request.user.username,
            first=portion,
            read=self._read_after,
            goes_on=lambda portion: bool(portion.page.rest and portion.page.rows),
            shown=lambda portion: (self.shown(request, row) for row in portion.page.rows),
            head={"count": portion.page.count, "next": following, "previous": preceding},
        ).reply()

    def _window(self, request: ApiRequest) -> PageRequest:
        window = asked_for(request.query)
        cursor = request.query.get("cursor")
        if not cursor or is_old(cursor):
            return window
        backwards, offset, count, *key = self._unsealed(cursor, request)
        if window.offset != offset:  # the client has changed the offset, and gets that page
            return window
        return evolve(window, key=tuple(key), backwards=backwards, count=count)

    def _neighbours(
        self, request: ApiRequest, window: PageRequest, page: Page[Row]
    ) -> tuple[str | None, str | None]:
        """The URLs of the next and the previous page, from the first portion of a page."""
        end = window.offset + len(page.rows) + page.rest
        start = max(window.offset - window.limit, 0)
        if window.backwards:
            has_next, has_previous = True, page.more
        else:
            has_next, has_previous = page.more, window.offset > 0 or window.key is not None

        def url(offset: int, *, backwards: bool) -> str:
            cursor = None
            if page.rows:
                edge = page.rows[0] if backwards else page.end
                key = self.order.written(edge)
                cursor = self._sealed([backwards, offset, page.count, *key], request)
            return _url(request, limit=window.limit, offset=offset, cursor=cursor)

        return (
            url(end, backwards=False) if has_next else None,
            url(start, backwards=True) if has_previous else None,
        )

    def _sealed(self, contents: list[Any], request: ApiRequest) -> str:
        return sealed(contents, self._bound(request))

    def _unsealed(self, cursor: str, request: ApiRequest) -> list[Any]:
        """Direction, offset, count, and the parts of the key; raises Malformed."""
        backwards, offset, count, *key = unsealed(cursor, self._bound(request))
        try:
            return [bool(backwards), _natural(offset), _natural(count), *self.order.read(key)]
        except (ValueError, TypeError, OverflowError, AttributeError):
            raise Malformed(INVALID, kind="cursor") from None

    def _bound(self, request: ApiRequest) -> list[Any]:
        return bound_to(self.name, self.filters, request)


@frozen(kw_only=True)
class EndlessPortion(Generic[Row]):
    """A portion of a page: with it, ``count`` rows of at most ``limit`` have been read.

    ``wanted`` are the parameters of the filters.
    """

    limit: int
    wanted: Mapping[str, Any]
    count: int
    page: EndlessPage[Row]


@frozen(kw_only=True)
class EndlessListing(Generic[Row]):
    """A list that is too long to count its rows, or to go to an offset: it only goes on.

    ``order`` is that of its key. ``list_page`` takes a transaction, and by name the ``size`` of the
    portion, the key ``after`` which it begins (None: at the beginning), and the parameters of the
    filters.
    """

    name: str
    list_page: Callable[..., Awaitable[EndlessPage[Row]]]
    shown: Callable[[Row], Mapping[str, Any]]
    order: Order[Row]
    filters: Sequence[Filter] = ()

    def method(self, endpoint: Endpoint) -> InTransaction[Any]:
        """The method that reads a page in a transaction, and writes it after that."""
        return InTransaction(
            work=self.read, reply=partial(self.reply, endpoint), only_reads=True, lane="list"
        )

    async def read(self, transaction: Transaction, request: ApiRequest) -> EndlessPortion[Row]:
        """The first portion; raises Invalid for its filters, Malformed for its cursor."""
        cursor, key = request.query.get("cursor"), None
        if cursor:
            contents = unsealed(cursor, bound_to(self.name, self.filters, request))
            try:
                key = self.order.read(contents[1:])
            except (ValueError, TypeError, OverflowError, AttributeError):
                raise Malformed(INVALID, kind="cursor") from None
        wanted = await read_filters(transaction, self.filters, request.query)
        limit = asked_for(request.query).limit
        size = evolve(FIRST, rows=min(limit, FIRST.rows))
        page = await self.list_page(transaction, size=size, after=key, **wanted)
        return EndlessPortion(limit=limit, wanted=wanted, count=len(page.rows), page=page)

    async def _read_after(
        self, transaction: Transaction, portion: EndlessPortion[Row]
    ) -> EndlessPortion[Row]:
        rows = portion.page.rows
        size = size_after(len(rows))
        size = evolve(size, rows=min(size.rows, portion.limit - portion.count))
        page = await self.list_page(
            transaction,
            size=size,
            after=self.order.read(self.order.written(rows[-1])),
            **portion.wanted,
        )
        return evolve(portion, count=portion.count + len(page.rows), page=page)

    async def reply(
        self,
        endpoint: Endpoint,
        request: ApiRequest,
        portion: EndlessPortion[Row],
        **first: Any,
    ) -> Reply:
        """The page; ``first`` are members that come before the others."""
        return await LongPage(
            endpoint=endpoint,
            username=request.user.username,
            first=portion,
            read=self._read_after,
            goes_on=lambda portion: portion.page.more and portion.count < portion.limit,
            shown=lambda portion: map(self.shown, portion.page.rows),
            head=first,
            tail=lambda portion: {"next": self._next(request, portion)},
        ).reply()

    def _next(self, request: ApiRequest, portion: EndlessPortion[Row]) -> str | None:
        """The URL of the next page, if there is one, from the last portion of a page."""
        if not portion.page.more:
            return None
        contents = [False, *self.order.written(portion.page.rows[-1])]
        cursor = sealed(contents, bound_to(self.name, self.filters, request))
        return _url(request, limit=portion.limit, offset=0, cursor=cursor)


@frozen(kw_only=True)
class ShortPage:
    """A page of a list that is always short, read by its offset alone."""

    limit: int
    offset: int

    @classmethod
    def asked_for(cls, query: Mapping[str, str]) -> ShortPage:
        """Read the page from the query; texts that are not numbers are ignored."""
        window = asked_for(query)
        return cls(limit=window.limit, offset=window.offset)

    def reply(self, request: ApiRequest, *, count: int, results: Sequence[Any]) -> Reply:
        """The page, with the absolute URLs of its neighbours."""
        following = self.offset + self.limit
        preceding = max(self.offset - self.limit, 0)
        next_url = _url(request, limit=self.limit, offset=following, cursor=None)
        previous_url = _url(request, limit=self.limit, offset=preceding, cursor=None)
        return Reply(
            body={
                "count": count,
                "next": next_url if following < count else None,
                "previous": previous_url if self.offset else None,
                "results": results,
            }
        )


def asked_for(query: Mapping[str, str]) -> PageRequest:
    """The page request of limit and offset; values that are not valid numbers are ignored."""
    limit = _number(query.get("limit")) or MAX_LIMIT
    offset = _number(query.get("offset")) or 0
    return PageRequest(limit=min(limit, MAX_LIMIT), offset=min(offset, MAX_OFFSET))


def _url(request: ApiRequest, *, limit: int, offset: int, cursor: str | None) -> str:
    """The URL of another page of the list; all other parameters stay the same."""
    query = [pair for pair in request.parameters if pair[0] not in _NAMES]
    query.append(("limit", str(limit)))
    if offset:
        query.append(("offset", str(offset)))
    if cursor is not None:
        query.append(("cursor", cursor))
    query.sort(key=lambda pair: pair[0])
    return f"{request.url(request.path)}?{urlencode(query)}"


def _number(text: str | None) -> int | None:
    """A number that is not negative, in any spelling that Python reads."""
    try:
        number = int(text[:1000]) if text is not None else -1
    except ValueError:
        return None
    return number if number >= 0 else None


def _natural(number: Any) -> int:
    """A whole number that the database can hold; raises ValueError for anything else."""
    if type(number) is not int or not 0 <= number < 2**63:
        raise ValueError("no number")
    return number
