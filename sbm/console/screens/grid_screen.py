"""A message set as a grid: what is missing, what is too long, and who stands where."""

from __future__ import annotations

from functools import partial
from urllib.parse import quote, urlencode

from attrs import frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console.actions import sentence_of
from sbm.console.answering import PageNeeds, Pages
from sbm.console.asked import number_asked
from sbm.console.cursors import PageLinks
from sbm.console.language_tags import tag
from sbm.console.media_kinds import kind_of
from sbm.console.screens.set_fields import find_set, named, policy_in_words, schedule_words
from sbm.console.visit import View, Visit, go_to
from sbm.model.content import MessageSet, Schedule, is_language
from sbm.operations.content_grid import ContentGrid, GridFilter, ShownNumbers, read_grid
from sbm.store import messagesets, schedules
from sbm.store.postgres.transaction import Transaction

_LONGEST_SEARCH = 200

_SHOWN: dict[str, ShownNumbers] = {"missing": "missing", "long": "long"}


@frozen(kw_only=True)
class _GridFound:
    messageset: MessageSet
    schedule: Schedule
    next_set: MessageSet | None
    grid: ContentGrid


@frozen(eq=False, kw_only=True)
class GridScreen:
    """The page of a set."""

    app = Klein()

    pages: Pages

    @app.route("/")
    async def grid(self, request: Request, key: str) -> bytes:
        return await self.pages.answer(request, PageNeeds(), get=partial(self._grid, key))

    async def _grid(self, key: str, visit: Visit) -> View:
        number, lang = visit.query.get("number", ""), visit.query.get("lang", "").strip()
        is_asked = "number" in visit.query
        if is_asked and number_asked(visit.query, "number") is not None and is_language(lang):
            return go_to(f"/console/content/{quote(key)}/{int(number)}/{quote(lang)}/")
        wanted = GridFilter(
            shown=_SHOWN.get(visit.query.get("show", ""), "all"),
            text=visit.query.get("text", "").strip()[:_LONGEST_SEARCH],
            after=number_asked(visit.query, "after"),
            before=number_asked(visit.query, "before"),
        )
        found = await visit.read_snapshot(_read, key=key, wanted=wanted)
        grid = found.grid
        kept = {"show": wanted.shown, "text": wanted.text}
        link = partial(_link, {name: value for name, value in kept.items() if value})
        return View(
            template="content_grid.html",
            values={
                "found": found.messageset,
                "next_set": found.next_set,
                "schedule": schedule_words(visit, found.schedule),
                "policy": policy_in_words(visit, found.messageset.on_missing_translation),
                "grid": grid,
                "wanted": wanted,
                "names": {lang: named(visit, lang) for lang in grid.languages},
                "tags": {lang: tag(lang) for lang in grid.languages},
                "kind_of": kind_of,
                "links": PageLinks(
                    previous=link("before", grid.rows[0].number) if grid.previous else None,
                    next=link("after", grid.rows[-1].number) if grid.following else None,
                ),
                "wrong_place": is_asked,
                "asked": {"number": number, "lang": lang},
                "done": await sentence_of(visit),
            },
            status=400 if is_asked else 200,
        )


async def _read(transaction: Transaction, *, key: str, wanted: GridFilter) -> _GridFound:
    messageset = await find_set(transaction, key=key)
    schedule = await schedules.find(transaction, schedule_id=messageset.default_schedule_id)
    assert schedule is not None
    next_set = None
    if messageset.next_set_id is not None:
        next_set = await messagesets.find(transaction, messageset_id=messageset.next_set_id)
    return _GridFound(
        messageset=messageset,
        schedule=schedule,
        next_set=next_set,
        grid=await read_grid(transaction, messageset=messageset, wanted=wanted),
    )


def _link(kept: dict[str, str], name: str, number: int) -> str:
    return f"?{urlencode({**kept, name: str(number)})}"
