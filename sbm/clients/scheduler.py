"""The Seed Scheduler: keeps schedules, and calls an endpoint of ours at each of their times."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

from attrs import define, field, frozen

from sbm.clients.exchange import AWAY, Answer, Exchanges, TooLong, unavailable
from sbm.clients.links import Query, next_query
from sbm.clients.outcomes import Faulty, NotKnown, Rejected, Unavailable, Unknown
from sbm.model.chore import CallBack

# Understood, and this schedule is at fault.
_REFUSALS = frozenset({400, 413, 415, 422})


@frozen(kw_only=True)
class Entry:
    """A schedule as the Scheduler lists it; ``created_at`` is a time by its clock."""

    id: str
    endpoint: str
    cron_definition: str | None
    auth_token: str | None = field(repr=False)
    enabled: bool
    created_at: datetime


@define(eq=False, slots=False)
class Scheduler:
    """Has schedules made and changed. It takes no id of ours: every POST makes one."""

    _exchanges: Exchanges

    async def create(self, call_back: CallBack, *, begin: Callable[[], bool]) -> str:
        """Have a schedule made, if ``begin()`` allows it at the last moment; returns its id.

        Raises Unavailable (surely not done), Rejected, or Unknown.
        """
        answer = await self._exchanges.post("schedule", "", body=call_back.payload(), begin=begin)
        if 200 <= answer.status < 300:
            return _id_of(answer)
        if answer.status in _REFUSALS:
            raise Rejected(f"the Scheduler answered {answer.summary()}")
        if answer.status in AWAY and answer.status != 503:
            raise unavailable("the Scheduler", answer)
        raise Unknown(f"the Scheduler answered {answer.summary()}", answer.retry_after)

    async def change(self, remote_id: str, fields: dict[str, Any]) -> None:
        """Set some fields of a schedule; doing it twice does no harm.

        Raises NotKnown where there is no such schedule, Rejected, Faulty for what may be due to
        this one, or Unavailable.
        """
        try:
            answer = await self._exchanges.patch("schedule", remote_id, "", body=fields)
        except Unknown as error:
            raise Unavailable(str(error), error.retry_after) from error
        if 200 <= answer.status < 300:
            return
        if answer.status == 404:
            await self._is_there()
            raise NotKnown("the Scheduler does not know the schedule")
        if answer.status in _REFUSALS:
            raise Rejected(f"the Scheduler answered {answer.summary()}")
        if answer.status in AWAY:
            raise unavailable("the Scheduler", answer)
        await self._is_there()
        raise Faulty(f"the Scheduler answered {answer.summary()}", answer.retry_after)

    async def find(self, endpoint: str, *, since: datetime) -> list[Entry]:
        """The schedules that call this endpoint and were made since then, oldest first.

        Raises Unavailable: an answer that is not complete proves nothing.
        """
        found = []
        async for page in self.pages():
            found += [entry for entry in page if entry.endpoint == endpoint]
            if page and page[-1].created_at < since:
                break
        return sorted(found, key=lambda entry: entry.created_at)

    async def pages(self) -> AsyncIterator[list[Entry]]:
        """All schedules, newest first, a page at a time. Raises Unavailable."""
        query: Query | None = ()
        seen: set[Query] = set()
        while query is not None:
            seen.add(query)
            try:
                answer = await self._exchanges.get("schedule", "", query=query)
            except TooLong as error:
                raise Faulty(f"a page of the Scheduler cannot be read: {error}") from None
            if answer.status in AWAY:
                raise unavailable("the Scheduler", answer)
            if answer.status != 200:
                raise Faulty(f"the Scheduler answered {answer.summary()}", answer.retry_after)
            try:
                body = answer.json()
                entries = [_entry(row) for row in body["results"]]
                query = next_query(body["next"], seen)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                reason = f"a page of the Scheduler cannot be read: {type(error).__name__}: {error}"
                raise Faulty(reason) from None
            yield entries

    async def _is_there(self) -> None:
        """Raise Unavailable where it does not even list what it has.

        Then a 404 was that of a wrong address, and an error says nothing about one schedule.
        """
        answer = await self._exchanges.get("schedule", "")
        if answer.status != 200:
            raise unavailable("the Scheduler", answer)


def _id_of(answer: Answer) -> str:
    try:
        remote_id = answer.json()["id"]
    except (ValueError, LookupError, TypeError):
        remote_id = None
    if not remote_id or type(remote_id) not in (str, int):  # true is no id
        raise Unknown(f"the Scheduler answered {answer.summary()}")
    return str(remote_id)


def _entry(row: Any) -> Entry:
    created_at = datetime.fromisoformat(_padded(row["created_at"]))
    if created_at.tzinfo is None:
        raise ValueError("a time without a zone")
    return Entry(
        id=str(row["id"]),
        endpoint=str(row["endpoint"]),
        cron_definition=row["cron_definition"],
        auth_token=row.get("auth_token"),
        enabled=row["enabled"] is not False,
        created_at=created_at,
    )


def _padded(moment: str) -> str:
    """With six digits of a second and +00:00 for Z, as Python 3.10 reads times."""
    text = moment.replace("Z", "+00:00")
    whole, dot, rest = text.partition(".")
    if not dot:
        return text
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return f"{whole}.{digits[:6]:0<6}{rest[len(digits) :]}"
