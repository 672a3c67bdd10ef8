"""The Seed Scheduler, which keeps schedules and calls our endpoint at each of their times."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from datetime import datetime, timedelta
from typing import Any

from attrs import define, field, frozen

from sbm.clients.links import PageLimits, PageTrail
from sbm.clients.outcomes import (
    AnswerTooLong,
    Faulty,
    NotKnown,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from sbm.clients.service_client import (
    PAGE_BYTES,
    REFUSALS,
    HttpResponse,
    ServiceClient,
    TooLong,
    unavailable,
)
from sbm.model.scheduler_call import CallBack
from sbm.model.service_values import service_id, service_moment, service_text
from sbm.model.text import one_line

# What one look for schedules reads. It ends at the schedules that are older than the call.
LOOK = PageLimits(
    pages=1000, rows=1_000_000, time=timedelta(minutes=5), bytes_per_second=4 * 1024 * 1024
)

# Of more schedules for one endpoint, only the newest are looked at. `sbm scheduler sync` finds the
# others.
MOST_FOR_ENDPOINT = 100

# Caused by the Scheduler and not by this request: a wrong token, too many requests, closed.
_AWAY = frozenset({401, 403, 429, 503})

# There is no such path, or no such method. If this is the answer to a request for the first page of
# the list, the address of the Scheduler is wrong.
_NOWHERE = frozenset({404, 405})

# Answers after which it surely did nothing.
_NOT_DONE = frozenset(range(400, 500)) - {408}


class FaultyUnknown(OutcomeUnknown):
    """A useless answer to a call that may have had its effect, while other calls succeed."""


@frozen(kw_only=True)
class Entry:
    """A schedule as the Scheduler holds it; times are by its clock."""

    id: str
    endpoint: str
    cron_definition: str | None
    auth_token: str | None = field(repr=False)
    enabled: bool
    created_at: datetime
    updated_at: datetime | None = None

    @property
    def made_with(self) -> str | None:
        """The cron that it was made with; None if it was changed since, because that is not known.

        When the Scheduler makes a schedule, it sets both times, ``updated_at`` first.
        """
        is_as_made = self.updated_at is not None and self.updated_at <= self.created_at
        return self.cron_definition if is_as_made else None


@frozen(kw_only=True)
class Made:
    """A schedule that was made: its id, and when by the Scheduler's clock, if it said so."""

    id: str
    created_at: datetime | None


@define(eq=False, slots=False, kw_only=True)
class Scheduler:
    """Makes and changes schedules in the Scheduler, which has no idempotency key."""

    _client: ServiceClient

    async def create(self, call_back: CallBack, *, begin: Callable[[], bool]) -> Made:
        """Make a schedule, if ``begin()`` allows it at the last moment.

        Raises Unavailable (surely not made), Rejected or Unknown. Raises Faulty (surely not made)
        or FaultyUnknown if this schedule may be the cause, because a request for the list succeeds.
        """
        try:
            answer = await self._client.post("schedule", "", body=call_back.payload(), begin=begin)
        except AnswerTooLong as error:
            raise await self._faulty_unknown(str(error)) from error
        reason = f"the Scheduler answered {answer.summary()}"
        if 200 <= answer.status < 300:
            made = _made(answer)
            if made is None:
                raise await self._faulty_unknown(reason)
            return made
        if answer.status in REFUSALS:
            raise Rejected(reason)
        if answer.status in _AWAY:
            if answer.status == 503:  # it may have come from a proxy in between
                raise OutcomeUnknown(reason, answer.retry_after)
            raise unavailable("the Scheduler", answer)
        if answer.status in _NOT_DONE:
            await self._is_there()
            raise Faulty(reason, answer.retry_after)
        raise await self._faulty_unknown(reason)

    async def change(self, remote_id: str, fields: dict[str, Any]) -> datetime | None:
        """Set some fields of a schedule; it can be repeated.

        Returns when it was changed, by the Scheduler's clock, if the answer says so. Raises
        NotKnown if there is no such schedule, Rejected, Faulty if this schedule may be the cause,
        or Unavailable.
        """
        try:
            answer = await self._client.patch("schedule", remote_id, "", body=fields)
        except AnswerTooLong as error:
            await self._is_there()
            raise Faulty(str(error)) from error
        except OutcomeUnknown as error:
            raise Unavailable(str(error), error.retry_after) from error
        if 200 <= answer.status < 300:
            return _moment_in(answer, "updated_at")
        await self._check(answer)
        raise Faulty(f"the Scheduler answered {answer.summary()}", answer.retry_after)

    async def read(self, remote_id: str) -> Entry:
        """One schedule. Raises the same errors as ``change``."""
        try:
            answer = await self._client.get("schedule", remote_id, "")
        except TooLong as error:
            await self._is_there()
            raise Faulty(str(error)) from error
        if answer.status != 200:
            await self._check(answer)
            raise Faulty(f"the Scheduler answered {answer.summary()}", answer.retry_after)
        try:
            return _entry(answer.json())
        except _UNREADABLE as error:
            raise _unreadable("a schedule", error) from None

    async def _check(self, answer: HttpResponse) -> None:
        """Raise the error for a failure, unless the schedule itself may be its cause."""
        if answer.status in REFUSALS:
            raise Rejected(f"the Scheduler answered {answer.summary()}")
        if answer.status in _AWAY:
            raise unavailable("the Scheduler", answer)
        await self._is_there()
        if answer.status == 404:
            raise NotKnown("the Scheduler does not know the schedule")

    async def _faulty_unknown(self, reason: str) -> OutcomeUnknown:
        """The error for a useless answer; if the list fails as well, the Scheduler is the cause."""
        try:
            await self._is_there()
        except Unavailable as error:
            return OutcomeUnknown(reason, error.retry_after, at_once=error.at_once)
        return FaultyUnknown(reason)

    async def find(self, endpoints: Collection[str], *, since: datetime) -> dict[str, list[Entry]]:
        """The schedules that call these endpoints and were made since then, oldest first.

        Raises Unavailable if the list cannot be read completely, because then it proves nothing.
        """
        found: dict[str, list[Entry]] = {endpoint: [] for endpoint in endpoints}
        async for page in self.pages(limits=LOOK):
            for entry in page:
                if len(found.get(entry.endpoint, ())) < MOST_FOR_ENDPOINT:
                    found.get(entry.endpoint, []).append(entry)
            if page and page[-1].created_at < since:
                break
        for entries in found.values():
            entries.sort(key=lambda entry: entry.created_at)
        return found

    async def pages(self, *, limits: PageLimits) -> AsyncIterator[list[Entry]]:
        """All schedules, newest first, a page at a time.

        Raises Unavailable, or Faulty if the cause may be this one page, or TooManyPages.
        """
        trail = PageTrail(query=(), reactor=self._client.reactor, limits=limits)
        while trail.query is not None:
            query = trail.query
            try:
                answer = await self._client.get("schedule", "", query=query, most_bytes=PAGE_BYTES)
            except TooLong as error:
                raise Faulty(f"a page of the Scheduler cannot be read: {error}") from None
            if answer.status in (_AWAY if query else _AWAY | _NOWHERE):
                raise unavailable("the Scheduler", answer)
            if answer.status != 200:
                raise Faulty(f"the Scheduler answered {answer.summary()}", answer.retry_after)
            try:
                body = answer.json()
                entries = [_entry(row) for row in body["results"]]
                trail.go_on(body["next"], rows=len(entries))
            except _UNREADABLE as error:
                raise _unreadable("a page", error) from None
            yield entries
            await trail.rest(len(answer.body))
        if trail.limit:
            self._client.refused(trail.limit)
        trail.check_end()

    async def _is_there(self) -> None:
        """Raise Unavailable if the Scheduler does not answer a request for its list either.

        Then a 404 came from a wrong address, and an error says nothing about one schedule.
        """
        try:
            answer = await self._client.get("schedule", "")
        except TooLong:
            return  # the list is larger than the limit, but it answers
        if answer.status in _AWAY | _NOWHERE:
            raise unavailable("the Scheduler", answer)
        if answer.status != 200:
            raise Unavailable(f"the Scheduler answered {answer.summary()}", answer.retry_after)


_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError)


def _unreadable(what: str, error: Exception) -> Faulty:
    why = one_line(f"{type(error).__name__}: {error}", most=300)
    return Faulty(f"{what} of the Scheduler cannot be read: {why}")


def _made(answer: HttpResponse) -> Made | None:
    try:
        remote_id = service_id(answer.json()["id"])
    except _UNREADABLE:
        return None
    return Made(id=remote_id, created_at=_moment_in(answer, "created_at"))


def _moment_in(answer: HttpResponse, name: str) -> datetime | None:
    try:
        return service_moment(answer.json()[name])
    except _UNREADABLE:
        return None


def _entry(row: Any) -> Entry:
    updated_at = row.get("updated_at")
    cron, token = row["cron_definition"], row.get("auth_token")
    return Entry(
        id=service_id(row["id"]),
        endpoint=service_text(row["endpoint"]),
        cron_definition=None if cron is None else service_text(cron),
        auth_token=None if token is None else service_text(token),
        enabled=row["enabled"] is not False,
        created_at=service_moment(row["created_at"]),
        updated_at=None if updated_at is None else service_moment(updated_at),
    )
