"""Lists, a page at a time.

``limit`` and ``offset`` say which page, and are all that a client needs. The links to the next and
the previous page also have a ``cursor``: the row at which the present page ends or begins, and
the count from the first page. A client that follows the links misses no row and sees none twice,
even if rows are made and deleted meanwhile, and a page costs the same at any offset.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
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
from sbm.web.http.endpoint import InTransaction
from sbm.web.http.http_errors import Malformed
from sbm.web.http.reply import Reply
from sbm.web.http.wire import compact_json, written_in_slices
from sbm.web.schema.filters import Filter, read_filters

MAX_LIMIT = 1000

# No table has so many rows; a larger offset would not be a number for the database.
MAX_OFFSET = 2**62

_NAMES = ("limit", "offset", "cursor")
_LONGEST = 512
_INVALID = "Invalid cursor: it was changed, or is one of another list."
_SEAL_BYTES = 9
# Each cursor has a direction and a key of two columns or more, or an offset, a count and an id.
_FEWEST = 3

# What is in a cursor of the service that this one replaces.
_OLD_CURSOR = re.compile(rb"[opr]=[ -~]*")

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

    def method(self, reactor: Any) -> InTransaction[Any]:
        """The method that reads a page in a transaction, and writes it after that."""
        return InTransaction(
            work=self._read,
            reply=partial(self._reply, reactor),
            only_reads=True,
            lane="list",
        )

    async def _read(
        self, transaction: Transaction, request: ApiRequest
    ) -> tuple[PageRequest, Page[Row]]:
        """The requested page; raises Invalid for its filters, Malformed for its cursor."""
        window = self._window(request)
        wanted = await read_filters(transaction, self.filters, request.query)
        return window, await self.list_page(transaction, page=window, **wanted)

    async def _reply(
        self, reactor: Any, request: ApiRequest, found: tuple[PageRequest, Page[Row]]
    ) -> Reply:
        window, page = found
        results = await written_in_slices(reactor, (self.shown(request, row) for row in page.rows))
        following, preceding = self._neighbours(request, window, page)
        head = compact_json({"count": page.count, "next": following, "previous": preceding})
        return Reply(json=b'%s,"results":%s}' % (head[:-1], results))

    def _window(self, request: ApiRequest) -> PageRequest:
        window = asked_for(request.query)
        cursor = request.query.get("cursor")
        if not cursor or _is_old(cursor):
            return window
        backwards, offset, count, *key = self._unsealed(cursor, request)
        if window.offset != offset:  # the client has changed the offset, and gets that page
            return window
        return evolve(window, key=tuple(key), backwards=backwards, count=count)

    def _neighbours(
        self, request: ApiRequest, window: PageRequest, page: Page[Row]
    ) -> tuple[str | None, str | None]:
        """The URLs of the next and the previous page."""
        end = window.offset + len(page.rows)
        start = max(window.offset - window.limit, 0)
        if window.backwards:
            has_next, has_previous = True, page.more
        else:
            has_next, has_previous = page.more, window.offset > 0 or window.key is not None

        def url(offset: int, *, backwards: bool) -> str:
            cursor = None
            if page.rows:
                edge = page.rows[0] if backwards else page.rows[-1]
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
            raise Malformed(_INVALID, kind="cursor") from None

    def _bound(self, request: ApiRequest) -> list[Any]:
        return bound_to(self.name, self.filters, request)


def bound_to(name: str, filters: Sequence[Filter], request: ApiRequest) -> list[Any]:
    """What a cursor belongs to: a list and its filters."""
    return [name, [[one.name, request.query.get(one.name) or None] for one in filters]]


def sealed(contents: list[Any], bound: list[Any]) -> str:
    """A cursor with these contents, for the list and the filters in ``bound``."""
    payload = json.dumps(contents, separators=(",", ":")).encode("ascii")
    told = urlsafe_b64encode(_seal(payload, bound) + payload)
    return told.decode("ascii").rstrip("=")


def unsealed(cursor: str, bound: list[Any]) -> list[Any]:
    """The contents of a cursor, as a list; raises Malformed."""
    try:
        if len(cursor) > _LONGEST:
            raise ValueError("too long for a cursor")
        told = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        seal, payload = told[:_SEAL_BYTES], told[_SEAL_BYTES:]
        if seal != _seal(payload, bound):
            raise ValueError("not sealed for this list")
        contents = json.loads(payload)
        if not isinstance(contents, list) or len(contents) < _FEWEST:
            raise ValueError("not the contents of a cursor")
        return contents
    except (ValueError, TypeError, RecursionError):
        raise Malformed(_INVALID, kind="cursor") from None


def _seal(payload: bytes, bound: list[Any]) -> bytes:
    """A digest that belongs to a list and its filters, and to the rest of the cursor.

    It is not a secret: it detects mistakes. A forged one shows no more than an offset does.
    """
    told = json.dumps(bound).encode("ascii")
    return hashlib.sha256(told + b"\n" + payload).digest()[:_SEAL_BYTES]


@frozen(kw_only=True)
class EndlessListing(Generic[Row]):
    """A list that is too long to count its rows, or to go to an offset: it only goes on.

    ``order`` is that of its key. ``list_page`` takes a transaction, and by name the ``limit``, the
    key ``after`` which the page begins (None: at the beginning), and the parameters of the filters.
    """

    name: str
    list_page: Callable[..., Awaitable[EndlessPage[Row]]]
    shown: Callable[[Row], Mapping[str, Any]]
    order: Order[Row]
    filters: Sequence[Filter] = ()

    def method(self, reactor: Any) -> InTransaction[Any]:
        """The method that reads a page in a transaction, and writes it after that."""
        return InTransaction(
            work=self.read, reply=partial(self.reply, reactor), only_reads=True, lane="list"
        )

    async def read(self, transaction: Transaction, request: ApiRequest) -> EndlessPage[Row]:
        """The requested page; raises Invalid for its filters, Malformed for its cursor."""
        cursor, key = request.query.get("cursor"), None
        if cursor:
            contents = unsealed(cursor, bound_to(self.name, self.filters, request))
            try:
                key = self.order.read(contents[1:])
            except (ValueError, TypeError, OverflowError, AttributeError):
                raise Malformed(_INVALID, kind="cursor") from None
        wanted = await read_filters(transaction, self.filters, request.query)
        limit = asked_for(request.query).limit
        return await self.list_page(transaction, limit=limit, after=key, **wanted)

    async def reply(
        self, reactor: Any, request: ApiRequest, page: EndlessPage[Row], **first: Any
    ) -> Reply:
        """The page; ``first`` are members that come before the others."""
        results = await written_in_slices(reactor, (self.shown(row) for row in page.rows))
        following = None
        if page.more:
            contents = [False, *self.order.written(page.rows[-1])]
            cursor = sealed(contents, bound_to(self.name, self.filters, request))
            limit = asked_for(request.query).limit
            following = _url(request, limit=limit, offset=0, cursor=cursor)
        head = compact_json({**first, "next": following})
        return Reply(json=b'%s,"results":%s}' % (head[:-1], results))


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


def _is_old(cursor: str) -> bool:
    """Whether this is a cursor of the replaced service: its clients begin at the first page."""
    try:
        contents = b64decode(cursor.encode("ascii"))
    except ValueError:
        return False
    return _OLD_CURSOR.fullmatch(contents) is not None


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
