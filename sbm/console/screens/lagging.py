"""Behind and silent: who is late, who will get nothing, and whose messages do not arrive."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console import wording
from sbm.console.actions import sentence_of
from sbm.console.answering import PageNeeds, Pages
from sbm.console.csv_streams import Rows, csv_headers, csv_stream
from sbm.console.cursors import PagedList, PageLinks, moment_and_number, natural
from sbm.console.lag_filters import BEHIND, SILENT, UNDELIVERED, LagFilter, LagTab
from sbm.console.masking import short
from sbm.console.screens.helpdesk import place_of
from sbm.console.visit import View, Visit
from sbm.model.behind import BehindSubscription
from sbm.model.delivery import UndeliveredPerson
from sbm.model.identity import canonical_uuid
from sbm.model.paging import Page, PageRequest
from sbm.model.silence import CAUSES, SilentRecord
from sbm.model.task import TaskKind, TaskRecord
from sbm.model.user import PEOPLE_READ
from sbm.store import (
    audit,
    behind_subscriptions,
    deliveries,
    messagesets,
    silent_subscriptions,
    tasks,
)
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.http_errors import NotFound
from sbm.web.schema.pages import BY_ID, Order

# The rows of a part of a file.
PART = 500

_NEEDS = PageNeeds(get=PEOPLE_READ)


def _numbers(key: list[Any]) -> tuple[int, int]:
    in_row, row_id = key
    return natural(in_row), natural(row_id)


_BEHIND: PagedList[BehindSubscription] = PagedList(
    name="behind",
    order=Order(written=lambda row: [row.created_at.isoformat(), row.id], read=moment_and_number),
)
_SILENT: PagedList[SilentRecord] = PagedList(name="silent", order=BY_ID)
_UNDELIVERED: PagedList[UndeliveredPerson] = PagedList(
    name="undelivered", order=Order(written=lambda row: [row.in_row, row.id], read=_numbers)
)


@frozen(eq=False, kw_only=True)
class Lagging:
    """The three lists, and each as a file for a call centre."""

    app = Klein()

    pages: Pages

    @app.route("/")
    async def behind(self, request: Request) -> bytes:
        return await self.pages.answer(request, _NEEDS, get=self._behind)

    @app.route("/silent/")
    async def silent(self, request: Request) -> bytes:
        return await self.pages.answer(request, _NEEDS, get=self._silent)

    @app.route("/undelivered/")
    async def undelivered(self, request: Request) -> bytes:
        return await self.pages.answer(request, _NEEDS, get=self._undelivered)

    @app.route("/csv")
    async def download(self, request: Request) -> bytes:
        return await self.pages.answer(request, PageNeeds(post=PEOPLE_READ), post=self._file)

    async def _behind(self, visit: Visit) -> View:
        wanted = LagFilter.read(visit.query, BEHIND)
        window = _BEHIND.window(visit.query)

        async def read(transaction: Transaction) -> dict[str, Any]:
            page = await behind_subscriptions.list_page(
                transaction, page=window, **wanted.of_behind()
            )
            return {
                "page": page,
                "links": _BEHIND.links(visit.path, visit.query, window, page),
                "sets": await messagesets.list_all(transaction),
                "search": await _last_task(transaction, "find-behind-subscriptions"),
            }

        return await self._page(visit, "behind.html", BEHIND, wanted, read)

    async def _silent(self, visit: Visit) -> View:
        wanted = LagFilter.read(visit.query, SILENT)
        window = _SILENT.window(visit.query)

        async def read(transaction: Transaction) -> dict[str, Any]:
            page = await silent_subscriptions.list_page(
                transaction, page=window, cause=wanted.cause
            )
            counts = await silent_subscriptions.find_counts(transaction)
            return {
                "page": page,
                "links": _SILENT.links(visit.path, visit.query, window, page),
                "counts": counts,
                "by_cause": {} if counts is None else counts.by_cause(),
                "causes": {one: wording.CAUSES[one] for one in CAUSES},
                "search": await _last_task(transaction, "find-silent-subscriptions"),
            }

        return await self._page(visit, "silent.html", SILENT, wanted, read)

    async def _undelivered(self, visit: Visit) -> View:
        wanted = LagFilter.read(visit.query, UNDELIVERED)
        window = _UNDELIVERED.window(visit.query)

        async def read(transaction: Transaction) -> dict[str, Any]:
            page = await deliveries.list_people(transaction, page=window, in_row=wanted.at_least)
            return {
                "page": page,
                "links": _UNDELIVERED.links(visit.path, visit.query, window, page),
                "places": {
                    one.identity: place_of(one.identity)
                    for one in page.rows
                    if canonical_uuid(one.identity)
                },
            }

        return await self._page(visit, "undelivered.html", UNDELIVERED, wanted, read)

    @staticmethod
    async def _page(
        visit: Visit, template: str, tab: LagTab, wanted: LagFilter, read: Callable[..., Any]
    ) -> View:
        shared = {
            "tab": tab,
            "wanted": wanted,
            "asked": wanted.written(),
            "short": short,
            "place_of": place_of,
            "links": PageLinks(),
            "done": await sentence_of(visit),
        }
        return View(template=template, values={**shared, **await visit.read(read)})

    async def _file(self, visit: Visit) -> View:
        """The whole list, with the identities, as a file. That it was taken is in the audit."""
        tab = visit.form.get("tab", "")
        if tab not in _FILES:
            raise NotFound
        wanted = LagFilter.read(visit.form, tab)
        await visit.change(
            audit.record,
            actor=visit.user.username,
            action="console download",
            reason="",
            details={"downloaded": tab, "filters": wanted.written()},
        )
        head, parts = _FILES[tab]
        return View(
            headers=csv_headers(f"{tab}.csv"),
            stream=csv_stream(head, partial(self._parts, parts, wanted)),
        )

    async def _parts(
        self, part: Callable[..., Any], wanted: LagFilter
    ) -> AsyncGenerator[Rows, None]:
        """The rows, some at a time, each time in a transaction of its own."""
        key: tuple[Any, ...] | None = None
        more = True
        while more:
            window = PageRequest(limit=PART, key=key, count=0)
            rows, key, more = await self.pages.database.read(part, window=window, wanted=wanted)
            yield rows


Part = tuple[Rows, tuple[Any, ...] | None, bool]


async def _behind_part(transaction: Transaction, *, window: PageRequest, wanted: LagFilter) -> Part:
    page = await behind_subscriptions.list_page(transaction, page=window, **wanted.of_behind())
    rows = [
        (
            one.identity,
            str(one.subscription_id),
            one.messages_behind,
            one.current_messageset_name,
            one.current_sequence_number,
            one.expected_messageset_name,
            one.expected_sequence_number,
            one.created_at,
        )
        for one in page.rows
    ]
    return rows, _key(page, lambda row: (row.created_at, row.id)), page.more


async def _silent_part(transaction: Transaction, *, window: PageRequest, wanted: LagFilter) -> Part:
    page = await silent_subscriptions.list_page(transaction, page=window, cause=wanted.cause)
    rows = [
        (
            one.identity,
            str(one.subscription_id),
            one.cause,
            one.messageset,
            one.lang,
            one.next_sequence_number,
            one.found_at,
        )
        for one in page.rows
    ]
    return rows, _key(page, lambda row: (row.id,)), page.more


async def _undelivered_part(
    transaction: Transaction, *, window: PageRequest, wanted: LagFilter
) -> Part:
    page = await deliveries.list_people(transaction, page=window, in_row=wanted.at_least)
    rows = [(one.identity, one.in_row, one.since, one.last_at) for one in page.rows]
    return rows, _key(page, lambda row: (row.in_row, row.id)), page.more


def _key(page: Page[Any], of: Callable[[Any], tuple[Any, ...]]) -> tuple[Any, ...] | None:
    return of(page.rows[-1]) if page.rows else None


_FILES: Mapping[str, tuple[Sequence[str], Callable[..., Any]]] = {
    BEHIND: (
        (
            *("identity", "subscription", "messages_behind", "messageset", "next_number"),
            *("expected_messageset", "expected_number", "found_at"),
        ),
        _behind_part,
    ),
    SILENT: (
        ("identity", "subscription", "cause", "messageset", "lang", "next_number", "found_at"),
        _silent_part,
    ),
    UNDELIVERED: (("identity", "undelivered_in_a_row", "since", "last_at"), _undelivered_part),
}


async def _last_task(transaction: Transaction, kind: TaskKind) -> TaskRecord | None:
    page = await tasks.list_page(transaction, page=PageRequest(limit=1, count=0), kind=kind)
    return page.rows[0] if page.rows else None
