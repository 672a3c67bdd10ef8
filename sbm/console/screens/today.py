"""Today: did it go out this morning, and is anything wrong?"""

from __future__ import annotations

from attrs import frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console.actions import sentence_of
from sbm.console.answering import PageNeeds, Pages
from sbm.console.visit import View, Visit
from sbm.store import status


@frozen(eq=False, kw_only=True)
class Today:
    """The first page."""

    app = Klein()

    pages: Pages

    @app.route("/")
    async def today(self, request: Request) -> bytes:
        return await self.pages.answer(request, PageNeeds(), get=self._today)

    async def _today(self, visit: Visit) -> View:
        ticks = await visit.read(status.list_open_ticks)
        return View(
            template="today.html", values={"ticks": ticks, "done": await sentence_of(visit)}
        )
