"""Ticks: how far each is, how its sends ended, and who got nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, get_args

from attrs import fields_dict, frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console import tick_words, wording
from sbm.console.actions import sentence_of
from sbm.console.answering import PageNeeds, Pages
from sbm.console.csv_streams import csv_headers, csv_stream
from sbm.console.cursors import ROWS, PagedList, moment_and_number
from sbm.console.masking import short
from sbm.console.texts import marked
from sbm.console.visit import View, Visit
from sbm.model.hold import WatchedTick
from sbm.model.ledger_entry import OUTCOMES, STAGES, LedgerEntry, LedgerFilter
from sbm.model.open_tick import OpenTick
from sbm.model.paging import EndlessPage, Page
from sbm.model.send_pause import SendPause
from sbm.model.tick import Source, Tick, UnsentCount
from sbm.model.user import PEOPLE_READ
from sbm.operations import ledger as operation
from sbm.store import (
    audit,
    clock,
    ledger,
    messagesets,
    schedules,
    send_pauses,
    ticks,
    watched_ticks,
)
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.http_errors import Invalid, NotFound
from sbm.web.http.wire import row_id
from sbm.web.resources.ledger import COLUMNS, shown
from sbm.web.schema.pages import BY_ID, Order

_PEOPLE = PageNeeds(get=PEOPLE_READ, post=PEOPLE_READ)

_TICKS: PagedList[Tick] = PagedList(name="ticks", order=BY_ID)
_ROWS_OF_TICK: PagedList[LedgerEntry] = PagedList(
    name="people of a tick",
    order=Order(written=lambda row: [row.settled_at.isoformat(), row.id], read=moment_and_number),
)

# The filters of its people, and their values.
_FILTERS: Mapping[str, Collection[str]] = {
    "outcome": OUTCOMES,
    "stage": STAGES,
    "reason_kind": tuple(wording.REASONS),
}

SOURCES = {"clock": marked("the clock"), "post-back": marked("the Scheduler, or a person")}
assert set(SOURCES) == set(get_args(Source))


@frozen(kw_only=True)
class TickView:
    """A tick with all that its page says; ``pauses`` are those that hold it, or a part of it."""

    tick: Tick
    now: datetime
    unsent: Sequence[UnsentCount]
    watched: WatchedTick | None
    pauses: Sequence[SendPause]
    sets: Sequence[str]

    @property
    def progress(self) -> OpenTick | None:
        """How fast it goes; None: it has ended."""
        if not self.tick.is_open or self.tick.schedule_id is None:
            return None
        known = fields_dict(OpenTick).keys() - {"now"}
        return OpenTick(now=self.now, **{name: getattr(self.tick, name) for name in known})

    @property
    def state(self) -> str:
        """A key of the words for states."""
        if self.tick.stopped_by is not None:
            return "stopped"
        return "ended" if self.tick.state == "expanded" and not self.tick.live else self.tick.state

    @property
    def is_paused(self) -> bool:
        """Whether all of it is held, and not only the people of one message set."""
        return any(one.messageset_id is None for one in self.pauses)

    @property
    def is_counted_in_part(self) -> bool:
        """Whether there are so many that got nothing that only a part of them was counted."""
        return any(one.is_part for one in self.unsent)


@frozen(eq=False, kw_only=True)
class TickPages:
    """The list of ticks, each tick, and its people."""

    app = Klein()

    pages: Pages

    @app.route("/")
    async def ticks(self, request: Request) -> bytes:
        return await self.pages.answer(request, PageNeeds(), get=self._list)

    @app.route("/<key>/")
    async def tick(self, request: Request, key: str) -> bytes:
        return await self.pages.answer(request, PageNeeds(), get=partial(self._tick, key))

    @app.route("/<key>/people")
    async def people(self, request: Request, key: str) -> bytes:
        return await self.pages.answer(
            request, _PEOPLE, get=partial(self._people, key), post=partial(self._asked, key)
        )

    async def _list(self, visit: Visit) -> View:
        told = visit.query.get("schedule", "")
        schedule_id = row_id(told) if told else None
        page, sets = await visit.read(_list_ticks, query=visit.query, schedule_id=schedule_id)
        links = _TICKS.links(visit.path, visit.query, _TICKS.window(visit.query), page)
        return View(
            template="ticks.html",
            values={
                "page": page,
                "links": links,
                "sets": sets,
                "schedule_id": schedule_id,
                "words": tick_words,
                "wording": wording,
                "sources": SOURCES,
            },
        )

    async def _tick(self, key: str, visit: Visit) -> View:
        values = {**await self.live(visit, key), "done": await sentence_of(visit)}
        return View(template="tick.html", values=values)

    async def live(self, visit: Visit, key: str) -> Mapping[str, Any]:
        """What is in the part of the page of a tick that changes by itself."""
        state = await visit.read(read_state, tick_id=row_id(key))
        return {
            "state": state,
            "tick": state.tick,
            "words": tick_words,
            "wording": wording,
            "sources": SOURCES,
        }

    async def _people(self, key: str, visit: Visit, *, is_open: bool = False) -> View:
        """The people of a tick; ``is_open``: with their identities."""
        tick_id = row_id(key)
        wanted = _wanted(tick_id, visit)
        after = _ROWS_OF_TICK.after(visit.query)
        tick, page = await visit.read(_list_people, wanted=wanted, after=after)
        return View(
            template="tick_people.html",
            values={
                "tick": tick,
                "wanted": wanted,
                "rows": [_told(row, is_open=is_open) for row in page.rows],
                "is_open": is_open,
                "links": _ROWS_OF_TICK.further(visit.path, visit.query, page),
                "words": tick_words,
                "wording": wording,
                "here": visit.request.uri.decode("ascii", "replace"),
            },
        )

    async def _asked(self, key: str, visit: Visit) -> View:
        """Show the identities, or write all rows as CSV; both is recorded."""
        what = visit.form.get("what")
        if what not in ("show", "csv"):
            raise Invalid({"what": ["It must be show or csv."]})
        wanted = _wanted(row_id(key), visit)
        await visit.change(_record, what=what, wanted=wanted, actor=visit.user.username)
        if what == "show":
            return await self._people(key, visit, is_open=True)
        _, first = await visit.read(_list_people, wanted=wanted, after=None, limit=operation.CHUNK)
        return View(
            headers=csv_headers(f"tick-{wanted.tick_id}.csv"),
            stream=csv_stream(COLUMNS, partial(self._lines, wanted, first)),
        )

    async def _lines(
        self, wanted: LedgerFilter, first: EndlessPage[LedgerEntry]
    ) -> AsyncGenerator[list[list[Any]], None]:
        async for rows in operation.pages(self.pages.database, wanted=wanted, first=first):
            yield [list(shown(row).values()) for row in rows]


async def read_state(transaction: Transaction, *, tick_id: int) -> TickView:
    """A tick of a schedule, as it is now; raises NotFound."""
    tick = await _found(transaction, tick_id)
    assert tick.schedule_id is not None
    paused = await send_pauses.list_open(transaction)
    return TickView(
        tick=tick,
        now=await clock.now(transaction),
        unsent=await ticks.count_unsent(transaction, ids=[tick_id]),
        watched=await watched_ticks.find(transaction, tick_id=tick_id),
        pauses=[
            one
            for one in paused
            if one.lane != "single" and one.schedule_id in (None, tick.schedule_id)
        ],
        sets=(await sets_by_schedule(transaction)).get(tick.schedule_id, []),
    )


async def sets_by_schedule(transaction: Transaction) -> dict[int, list[str]]:
    """The short names of the message sets of each schedule, by default."""
    found: dict[int, list[str]] = {}
    for one in await messagesets.list_all(transaction):
        found.setdefault(one.default_schedule_id, []).append(one.short_name)
    return found


async def _found(transaction: Transaction, tick_id: int) -> Tick:
    tick = await ticks.find(transaction, tick_id=tick_id)
    if tick is None or tick.schedule_id is None:
        raise NotFound
    return tick


async def _list_ticks(
    transaction: Transaction, *, query: Any, schedule_id: int | None
) -> tuple[Page[Tick], dict[int, list[str]]]:
    if schedule_id is not None and not await schedules.exists(transaction, row_id=schedule_id):
        raise NotFound
    page = await ticks.list_page(transaction, page=_TICKS.window(query), schedule_id=schedule_id)
    return page, await sets_by_schedule(transaction)


async def _list_people(
    transaction: Transaction, *, wanted: LedgerFilter, after: Any, limit: int = ROWS
) -> tuple[Tick, EndlessPage[LedgerEntry]]:
    assert wanted.tick_id is not None
    tick = await _found(transaction, wanted.tick_id)
    page = await operation.list_page(
        transaction, wanted=wanted, limit=limit, after=after or ledger.START
    )
    return tick, page


async def _record(transaction: Transaction, *, what: str, wanted: LedgerFilter, actor: str) -> None:
    """Record that somebody saw whom a tick concerned."""
    await audit.record(
        transaction,
        actor=actor,
        action="show people",
        reason="",
        details={
            "what": what,
            "tick": wanted.tick_id,
            "outcome": wanted.outcome,
            "stage": wanted.stage,
            "reason_kind": wanted.reason_kind,
        },
    )


def _wanted(tick_id: int, visit: Visit) -> LedgerFilter:
    """The rows of a tick that the address asks for; raises Invalid."""
    given: dict[str, Any] = {}
    for name, values in _FILTERS.items():
        value = visit.query.get(name)
        if value and value not in values:
            raise Invalid({name: [visit._("There is no such value.")]})
        given[name] = value or None
    return LedgerFilter(tick_id=tick_id, **given)


def _told(row: LedgerEntry, *, is_open: bool) -> dict[str, Any]:
    return {
        "entry": row,
        "identity": row.identity if is_open else short(row.identity),
    }
