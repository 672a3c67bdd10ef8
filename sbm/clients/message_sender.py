"""The Message Sender: takes outbounds, and delivers them to people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from attrs import define, field, frozen

from sbm.clients.links import Query, next_query
from sbm.clients.outcomes import CannotBeAsked, Rejected, Unavailable, Unknown
from sbm.clients.service_client import (
    AWAY,
    TURNED_AWAY,
    HttpResponse,
    ServiceClient,
    TooLong,
    faulty,
    said,
    unavailable,
)
from sbm.model.outbound import SEND_KEY

# Understood, and this message is at fault.
_REFUSALS = frozenset({400, 413, 415, 422})

# What one question may hold: the web server in front of the service takes request lines of 4,094
# bytes, and a link to the next page is a little longer than the question.
MOST_IDENTITIES = 75
LONGEST_REQUEST_LINE = 4000

_LIST = ("outbound", "")
_SERVICE = "the Message Sender"

# An identity that nobody has, and a time after which nothing was stored.
NOBODY = "00000000-0000-0000-0000-000000000000"
_NEVER = datetime(2100, 1, 1, tzinfo=timezone.utc)


@frozen(kw_only=True)
class Found:
    """The outbounds that carry a send's key, by that key; the ids are in order, oldest first.

    ``doubt`` is empty where the answer was complete: what is not in it was not there when the
    question was asked. Else it says why the absence of something proves nothing.
    """

    outbounds: Mapping[str, tuple[str, ...]]
    doubt: str = ""


@define(eq=False, slots=False, kw_only=True)
class MessageSender:
    """Hands outbounds over. It has no idempotency key: every POST that arrives is a message."""

    _client: ServiceClient

    async def post(self, outbound: dict[str, Any], *, begin: Callable[[], bool]) -> str:
        """POST an outbound, if ``begin()`` still allows it at the last moment; returns its id.

        Raises Unavailable (surely not done; Faulty where it may be due to this outbound), Rejected
        (this outbound is refused) or Unknown.
        """
        answer = await self._client.post("outbound", "", body=outbound, begin=begin)
        if 200 <= answer.status < 300:
            return _outbound_id(answer)
        reason = said(_SERVICE, answer)
        if answer.status in _REFUSALS:
            raise Rejected(reason)
        if answer.status in TURNED_AWAY:
            raise faulty(_SERVICE, answer)
        if answer.status == 429:
            raise unavailable(_SERVICE, answer)
        if answer.asks_to_slow_down:  # a 503, which may come after it has stored the outbound
            raise Unknown(reason, answer.retry_after, at_once=True, may_be_theirs=False)
        raise Unknown(reason)

    async def is_well(self, *, but: str = NOBODY) -> bool | None:  # noqa: ARG002
        """Whether it answers a question about nobody, and so not about ``but`` either.

        None: it does not offer the question, or this is not its address.
        """
        try:
            answer = await self._client.get(*_LIST, query=_question([NOBODY], _NEVER))
        except Unavailable:
            return False
        return None if answer.status in (404, 405) else answer.status == 200

    def questions(self, identities: Iterable[str], *, after: datetime) -> list[tuple[str, ...]]:
        """The identities, in groups that one question each can be asked about."""
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
        """What it holds for these identities since then that carries the key of a send.

        All pages are read, of each link to the next one only its query. Raises Unavailable (Faulty
        where it may be due to this question), or CannotBeAsked where there is no such list.
        """
        pages = _Pages(identities=frozenset(identity.casefold() for identity in identities))
        query: Query | None = _question(identities, after)
        while query is not None and not pages.doubt:
            try:
                answer = await self._client.get(*_LIST, query=query)
            except TooLong as error:
                pages.doubt = str(error)
                break
            if answer.status in (404, 405) and not pages.queries:
                raise CannotBeAsked(said(_SERVICE, answer))
            if answer.asks_to_slow_down:
                raise unavailable(_SERVICE, answer)
            if answer.status in AWAY or answer.status >= 500:
                raise faulty(_SERVICE, answer)
            pages.queries.add(query)
            query = pages.read(answer)
        return pages.found()

    def _fits(self, identities: Sequence[str], after: datetime) -> bool:
        target = self._client.target(*_LIST, query=_question(identities, after))
        return len(f"GET {target} HTTP/1.1") <= LONGEST_REQUEST_LINE


def _question(identities: Sequence[str], after: datetime) -> Query:
    since = after.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (*(("to_identity", identity) for identity in identities), ("after", since))


@define(eq=False, kw_only=True)
class _Pages:
    """What the pages of one list say, taken together."""

    identities: frozenset[str]
    queries: set[Query] = field(factory=set)
    doubt: str = ""
    _outbounds: dict[str, set[tuple[str, str]]] = field(factory=lambda: defaultdict(set))

    def found(self) -> Found:
        outbounds = {
            key: tuple(outbound_id for _, outbound_id in sorted(found))
            for key, found in self._outbounds.items()
        }
        return Found(outbounds=outbounds, doubt=self.doubt)

    def read(self, answer: HttpResponse) -> Query | None:
        """Take in a page; returns the query of the next one, if there is one."""
        try:
            if answer.status != 200:
                raise ValueError(f"it answered {answer.summary()}")
            page = answer.json()
            rows, following = page["results"], page["next"]
            if not isinstance(rows, list):
                raise ValueError("its results are no list")
            for row in rows:
                self._take(row)
            return next_query(following, self.queries)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            self.doubt = self.doubt or f"a page could not be read: {type(error).__name__}: {error}"
            return None

    def _take(self, row: Any) -> None:
        """Note a row. One that should not be there, or is none, leaves what is missing in doubt."""
        try:
            identity, outbound_id, metadata = row["to_identity"], row["id"], row["metadata"]
            created_at = row["created_at"]
        except (LookupError, TypeError):
            self.doubt = "a row is not that of an outbound"
            return
        if type(outbound_id) not in (str, int) or not isinstance(created_at, str):
            self.doubt = "a row is not that of an outbound"
            return
        if not isinstance(identity, str) or identity.casefold() not in self.identities:
            self.doubt = "it told of an identity that it was not asked about"
        # Others store what they like there; ours is always an object.
        key = metadata.get(SEND_KEY) if isinstance(metadata, dict) else None
        if isinstance(key, str):
            self._outbounds[key].add((created_at, str(outbound_id)))


def _outbound_id(answer: HttpResponse) -> str:
    try:
        outbound_id = answer.json()["id"]
    except (ValueError, LookupError, TypeError):
        outbound_id = None
    if not outbound_id or type(outbound_id) not in (str, int):  # true is no id
        raise Unknown(said(_SERVICE, answer))
    return str(outbound_id)
