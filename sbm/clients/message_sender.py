"""The Message Sender, which accepts outbounds and delivers them to people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from attrs import define, field, frozen

from sbm.clients.links import QueryPairs, next_query
from sbm.clients.outcomes import CannotBeAsked, Faulty, OutcomeUnknown, Rejected, Unavailable
from sbm.clients.service_client import (
    AWAY,
    REFUSALS,
    TURNED_AWAY,
    HttpResponse,
    ServiceClient,
    TooLong,
    answered,
    faulty,
    unavailable,
)
from sbm.model.outbound import SEND_KEY, OwnOutbound, own_outbound
from sbm.runtime.time_slices import TimeSlice

# The limits of one question: the web server of the service accepts request lines of 4,094 bytes,
# and a link to the next page is a little longer than the question.
MOST_IDENTITIES = 75
LONGEST_REQUEST_LINE = 4000

_LIST = ("outbound", "")
_SERVICE = "the Message Sender"

# An identity that no person has, and a time after which no outbound was stored.
NO_IDENTITY = "00000000-0000-0000-0000-000000000000"
_NEVER = datetime(2100, 1, 1, tzinfo=timezone.utc)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)


@frozen(kw_only=True)
class Found:
    """The ids of outbounds with the id of a send, by that id; oldest first.

    If ``doubt`` is empty, the answer was complete: an outbound that is not in it did not exist when
    the question was asked. Otherwise ``doubt`` says why the absence of an outbound proves nothing.
    """

    outbounds: Mapping[str, tuple[str, ...]]
    doubt: str = ""


@frozen(kw_only=True)
class OutboundPage:
    """The outbounds of installations of sbm on a page.

    All that were stored until then were on this page or on earlier ones, as far as their order
    shows: if the service ignores the order that was asked for, ``until`` stays as it was.
    """

    own: list[OwnOutbound]
    until: datetime


@define(eq=False, slots=False, kw_only=True)
class MessageSender:
    """Posts and finds outbounds. There is no idempotency key: each POST that arrives is sent."""

    _client: ServiceClient

    async def post(self, outbound: dict[str, Any], *, begin: Callable[[], bool]) -> str:
        """POST an outbound, if ``begin()`` still allows it at the last moment; returns its id.

        Raises Unavailable (surely not done; Faulty if this outbound may be the cause), Rejected
        (this outbound is refused) or Unknown.
        """
        answer = await self._client.post("outbound", "", body=outbound, begin=begin)
        if 200 <= answer.status < 300:
            return _outbound_id(answer)
        reason = answered(_SERVICE, answer)
        if answer.status in REFUSALS:
            raise Rejected(reason)
        if answer.status in TURNED_AWAY:
            raise faulty(_SERVICE, answer)
        if answer.status == 429:
            raise unavailable(_SERVICE, answer)
        if answer.asks_to_slow_down:  # a 503 may come after it has stored the outbound
            raise OutcomeUnknown(reason, answer.retry_after, at_once=True, may_be_theirs=False)
        raise OutcomeUnknown(reason)

    async def is_well(self, *, but: str = NO_IDENTITY) -> bool | None:  # noqa: ARG002
        """Whether it answers a question about an identity that no person has, and so not ``but``.

        None means that it does not offer this question, or that its address is wrong.
        """
        try:
            answer = await self._client.get(*_LIST, query=_question([NO_IDENTITY], _NEVER))
        except Unavailable:
            return False
        return None if answer.status in (404, 405) else answer.status == 200

    def questions(self, identities: Iterable[str], *, after: datetime) -> list[tuple[str, ...]]:
        """The identities in groups, each of which fits into one question."""
        groups: list[tuple[str, ...]] = []
        group: tuple[str, ...] = ()
        for identity in dict.fromkeys(identities):
            longer = (*group, identity)
            if group and (len(longer) > MOST_IDENTITIES or not self._fits(longer, after)):
                groups.append(group)
                longer = (identity,)
            group = longer
        return [*groups, group] if group else groups

    async def find(self, identities: Sequence[str], *, after: datetime) -> Found:
        """The outbounds to these identities that were stored since then with the id of a send.

        All pages are read. Raises Unavailable (Faulty if this question may be the cause), or
        CannotBeAsked if there is no such list.
        """
        pages = _Pages(identities=frozenset(identity.casefold() for identity in identities))
        query: QueryPairs | None = _question(identities, after)
        while query is not None and not pages.doubt:
            try:
                answer = await self._client.get(*_LIST, query=query)
            except TooLong as error:
                pages.doubt = str(error)
                break
            if answer.status in (404, 405) and not pages.queries:
                raise CannotBeAsked(answered(_SERVICE, answer))
            if answer.asks_to_slow_down:
                raise unavailable(_SERVICE, answer)
            if answer.status in AWAY or answer.status >= 500:
                raise faulty(_SERVICE, answer)
            pages.queries.add(query)
            query = pages.read(answer)
        return pages.found()

    async def pages(
        self, *, after: datetime, most: int | None = None
    ) -> AsyncGenerator[list[OwnOutbound], None]:
        """The outbounds of installations of sbm that were stored since then, newest first.

        At most ``most`` pages are read; None: all. Raises Unavailable (Faulty if the answer cannot
        be read), or CannotBeAsked if there is no such list, or it is not for us.
        """
        async for rows in self._rows(_question([], after), most):
            yield await self._own(rows)

    async def outbounds_between(
        self, after: datetime, before: datetime
    ) -> AsyncGenerator[OutboundPage, None]:
        """The outbounds that were stored in this time, oldest first.

        Later ones are left out, also if the service does not. Raises as ``pages`` does.
        """
        query = (*_question([], after), ("before", _moment(before)), ("ordering", "created_at"))
        is_ordered, last, newest = True, _LONG_AGO, _LONG_AGO
        async for rows in self._rows(query, None):
            own = [one for one in await self._own(rows) if one.created_at <= before]
            times = [last, *(at for at in map(_stored_at, rows) if at is not None)]
            is_ordered = is_ordered and times == sorted(times)
            newest = max(newest, *times)
            if is_ordered:
                last = times[-1]
            yield OutboundPage(own=own, until=min(max(last, after), before))
        if not is_ordered:
            yield OutboundPage(own=[], until=min(max(newest, after), before))

    async def _rows(self, first: QueryPairs, most: int | None) -> AsyncGenerator[list[Any], None]:
        """The rows of each page of a list, from this query on."""
        seen: set[QueryPairs] = set()
        query: QueryPairs | None = first
        while query is not None and (most is None or len(seen) < most):
            answer = await self._client.get(*_LIST, query=query)
            if answer.status in TURNED_AWAY:
                raise CannotBeAsked(answered(_SERVICE, answer))
            if answer.asks_to_slow_down:
                raise unavailable(_SERVICE, answer)
            if answer.status != 200:
                raise faulty(_SERVICE, answer)
            seen.add(query)
            try:
                page = answer.json()
                query = next_query(page["next"], seen)
                rows = list(page["results"])
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise Faulty(f"{_SERVICE} answered with a page that cannot be read") from error
            yield rows

    async def _own(self, rows: Iterable[Any]) -> list[OwnOutbound]:
        own, slices = [], TimeSlice(reactor=self._client.reactor)
        for row in rows:
            outbound = own_outbound(row)
            if outbound is not None:
                own.append(outbound)
            if slices.is_over:
                await slices.next_turn()
        return own

    def _fits(self, identities: Sequence[str], after: datetime) -> bool:
        target = self._client.target(*_LIST, query=_question(identities, after))
        return len(f"GET {target} HTTP/1.1") <= LONGEST_REQUEST_LINE


def _question(identities: Sequence[str], after: datetime) -> QueryPairs:
    return (*(("to_identity", identity) for identity in identities), ("after", _moment(after)))


def _moment(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _stored_at(row: Any) -> datetime | None:
    """When an outbound was stored; None: the row does not say."""
    try:
        stored_at = datetime.fromisoformat(row["created_at"].replace("Z", "+00:00"))
    except (LookupError, TypeError, ValueError, AttributeError):
        return None
    return stored_at if stored_at.tzinfo else stored_at.replace(tzinfo=timezone.utc)


@define(eq=False, kw_only=True)
class _Pages:
    """The content of all pages of one list."""

    identities: frozenset[str]
    queries: set[QueryPairs] = field(factory=set)
    doubt: str = ""
    _outbounds: dict[str, set[tuple[str, str]]] = field(factory=lambda: defaultdict(set))

    def found(self) -> Found:
        outbounds = {
            key: tuple(outbound_id for _, outbound_id in sorted(found))
            for key, found in self._outbounds.items()
        }
        return Found(outbounds=outbounds, doubt=self.doubt)

    def read(self, answer: HttpResponse) -> QueryPairs | None:
        """Add a page; returns the query of the next one, if there is one."""
        try:
            if answer.status != 200:
                raise ValueError(f"it answered {answer.summary()}")
            page = answer.json()
            rows, following = page["results"], page["next"]
            if not isinstance(rows, list):
                raise ValueError("its results are not a list")
            for row in rows:
                self._take(row)
            return next_query(following, self.queries)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            self.doubt = self.doubt or f"a page could not be read: {type(error).__name__}: {error}"
            return None

    def _take(self, row: Any) -> None:
        """Add a row. If the row is wrong, the absence of other rows proves nothing."""
        try:
            identity, outbound_id, metadata = row["to_identity"], row["id"], row["metadata"]
            created_at = row["created_at"]
        except (LookupError, TypeError):
            self.doubt = _NO_OUTBOUND
            return
        if type(outbound_id) not in (str, int) or not isinstance(created_at, str):
            self.doubt = _NO_OUTBOUND
            return
        if not isinstance(identity, str) or identity.casefold() not in self.identities:
            self.doubt = "it listed an identity that it was not asked about"
        # Other clients store any JSON there; our metadata is always an object.
        key = metadata.get(SEND_KEY) if isinstance(metadata, dict) else None
        if isinstance(key, str):
            self._outbounds[key].add((created_at, str(outbound_id)))


_NO_OUTBOUND = "a row is not an outbound"


def _outbound_id(answer: HttpResponse) -> str:
    try:
        outbound_id = answer.json()["id"]
    except (ValueError, LookupError, TypeError):
        outbound_id = None
    if not outbound_id or type(outbound_id) not in (str, int):  # true is no id
        raise OutcomeUnknown(answered(_SERVICE, answer))
    return str(outbound_id)
