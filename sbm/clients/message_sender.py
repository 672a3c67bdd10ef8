"""The Message Sender, which accepts outbounds and delivers them to people."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from attrs import define, field, frozen

from sbm.clients.links import PageLimits, PageTrail, QueryPairs
from sbm.clients.outcomes import CannotBeAsked, Faulty, OutcomeUnknown, Rejected, Unavailable
from sbm.clients.service_client import (
    AWAY,
    PAGE_BYTES,
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
from sbm.model.service_values import service_id, service_moment
from sbm.model.text import one_line
from sbm.runtime.time_slices import TimeSlice

# The limits of one question: the web server of the service accepts request lines of 4,094 bytes,
# and a link to the next page is a little longer than the question.
MOST_IDENTITIES = 75
LONGEST_REQUEST_LINE = 4000

# What one question about unknown outcomes reads: 75 people have a page of outbounds in a day. If it
# is not enough, the answer proves nothing, and each person is asked about alone.
QUESTION = PageLimits(
    pages=20, rows=20_000, time=timedelta(minutes=1), bytes_per_second=4 * 1024 * 1024
)

# Before so many outbounds of one send, the Message Sender is wrong.
MOST_OUTBOUNDS = 100

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

    async def post(self, outbound: bytes, *, begin: Callable[[], bool]) -> str:
        """POST an outbound, which is JSON, if ``begin()`` still allows it at the last moment.

        Returns its id. Raises Unavailable (surely not done; Faulty if this outbound may be the
        cause), Rejected (this outbound is refused) or Unknown.
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

    async def find(
        self,
        identities: Sequence[str],
        *,
        keys: Collection[str],
        after: datetime,
        limits: PageLimits = QUESTION,
    ) -> Found:
        """The outbounds to these identities that were stored since then, by the ids of these sends.

        All pages are read, within the limits; of their rows, only those of the sends are kept.
        Raises Unavailable (Faulty if this question may be the cause), or CannotBeAsked if there is
        no such list.
        """
        asked = _Question(
            identities=frozenset(identity.casefold() for identity in identities),
            keys=frozenset(keys),
        )
        trail = self._trail(_question(identities, after), limits)
        while trail.query is not None and not asked.doubt:
            try:
                answer = await self._client.get(*_LIST, query=trail.query, most_bytes=PAGE_BYTES)
            except TooLong as error:
                asked.doubt = str(error)
                break
            if answer.status in (404, 405) and not trail.pages:
                raise CannotBeAsked(answered(_SERVICE, answer))
            if answer.asks_to_slow_down:
                raise unavailable(_SERVICE, answer)
            if answer.status in AWAY or answer.status >= 500:
                raise faulty(_SERVICE, answer)
            await self._read(answer, asked, trail)
        if trail.limit:
            self._client.refused(trail.limit)
            asked.doubt = asked.doubt or trail.excess
        return asked.found()

    async def _read(self, answer: HttpResponse, asked: _Question, trail: PageTrail) -> None:
        """Read a page, and go to the next one, if there is one."""
        slices = TimeSlice(reactor=self._client.reactor)
        try:
            if answer.status != 200:
                raise ValueError(f"it answered {answer.summary()}")
            page = answer.json()
            rows, link = page["results"], page["next"]
            if not isinstance(rows, list):
                raise ValueError("its results are not a list")
            for row in rows:
                asked.take(row)
                if slices.is_over:
                    await slices.next_turn()
            trail.go_on(link, rows=len(rows))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            why = one_line(f"{type(error).__name__}: {error}", most=300)
            asked.doubt = asked.doubt or f"a page could not be read: {why}"
            return
        await trail.rest(len(answer.body))

    def _trail(self, query: QueryPairs, limits: PageLimits) -> PageTrail:
        return PageTrail(query=query, reactor=self._client.reactor, limits=limits)

    async def pages(
        self, *, after: datetime, limits: PageLimits, most: int | None = None
    ) -> AsyncGenerator[list[OwnOutbound], None]:
        """The outbounds of installations of sbm that were stored since then, newest first.

        The first ``most`` pages are enough; None: all are read. Raises Unavailable (Faulty if the
        answer cannot be read, TooManyPages beyond the limits), or CannotBeAsked if there is no such
        list, or it is not for us.
        """
        async for rows in self._rows(_question([], after), limits, most):
            yield await self._own(rows)

    async def outbounds_between(
        self, after: datetime, before: datetime, *, limits: PageLimits
    ) -> AsyncGenerator[OutboundPage, None]:
        """The outbounds that were stored in this time, oldest first.

        Later ones are left out, also if the service does not. Raises as ``pages`` does.
        """
        query = (*_question([], after), ("before", _moment(before)), ("ordering", "created_at"))
        is_ordered, last, newest = True, _LONG_AGO, _LONG_AGO
        async for rows in self._rows(query, limits):
            own = [one for one in await self._own(rows) if one.created_at <= before]
            times = [last, *(at for at in map(_stored_at, rows) if at is not None)]
            is_ordered = is_ordered and times == sorted(times)
            newest = max(newest, *times)
            if is_ordered:
                last = times[-1]
            yield OutboundPage(own=own, until=min(max(last, after), before))
        if not is_ordered:
            yield OutboundPage(own=[], until=min(max(newest, after), before))

    async def _rows(
        self, query: QueryPairs, limits: PageLimits, most: int | None = None
    ) -> AsyncGenerator[list[Any], None]:
        """The rows of each page of a list, from this query on."""
        trail = self._trail(query, limits)
        while trail.query is not None and (most is None or trail.pages < most):
            answer = await self._client.get(*_LIST, query=trail.query, most_bytes=PAGE_BYTES)
            if answer.status in TURNED_AWAY:
                raise CannotBeAsked(answered(_SERVICE, answer))
            if answer.asks_to_slow_down:
                raise unavailable(_SERVICE, answer)
            if answer.status != 200:
                raise faulty(_SERVICE, answer)
            try:
                page = answer.json()
                rows = list(page["results"])
                trail.go_on(page["next"], rows=len(rows))
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise Faulty(f"{_SERVICE} answered with a page that cannot be read") from error
            yield rows
            await trail.rest(len(answer.body))
        if trail.limit:
            self._client.refused(trail.limit)
        trail.check_end()

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
        return service_moment(row["created_at"], zone=timezone.utc)
    except (LookupError, TypeError, ValueError):
        return None


@define(eq=False, kw_only=True)
class _Question:
    """A question about the sends with these ids, and what the pages of the answer say."""

    identities: frozenset[str]
    keys: frozenset[str]
    doubt: str = ""
    _outbounds: dict[str, set[tuple[datetime, str]]] = field(factory=dict)

    def found(self) -> Found:
        outbounds = {
            key: tuple(outbound_id for _, outbound_id in sorted(found))
            for key, found in self._outbounds.items()
        }
        return Found(outbounds=outbounds, doubt=self.doubt)

    def take(self, row: Any) -> None:
        """Add a row. If the row is wrong, the absence of other rows proves nothing."""
        try:
            identity, metadata = row["to_identity"], row["metadata"]
            outbound_id = service_id(row["id"])
            created_at = service_moment(row["created_at"], zone=timezone.utc)
        except (LookupError, TypeError, ValueError):
            self.doubt = _NO_OUTBOUND
            return
        if not isinstance(identity, str) or identity.casefold() not in self.identities:
            self.doubt = "it listed an identity that it was not asked about"
        # Other clients store any JSON there; our metadata is always an object.
        key = metadata.get(SEND_KEY) if isinstance(metadata, dict) else None
        if isinstance(key, str) and key in self.keys:
            self._keep(key, (created_at, outbound_id))

    def _keep(self, key: str, outbound: tuple[datetime, str]) -> None:
        found = self._outbounds.setdefault(key, set())
        found.add(outbound)
        if len(found) > MOST_OUTBOUNDS:
            found.remove(max(found))  # the oldest are kept
            self.doubt = f"it listed more than {MOST_OUTBOUNDS} outbounds of a send"


_NO_OUTBOUND = "a row is not an outbound"


def _outbound_id(answer: HttpResponse) -> str:
    try:
        return service_id(answer.json()["id"])
    except (ValueError, LookupError, TypeError):
        raise OutcomeUnknown(answered(_SERVICE, answer)) from None
