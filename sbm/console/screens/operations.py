"""Operations: is it us or them, and what do I do?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console.actions import sentence_of
from sbm.console.answering import PageNeeds, Pages
from sbm.console.screens.red_lines import (
    SERVICES,
    Situation,
    read_situation,
    red_lines,
)
from sbm.console.visit import View, Visit
from sbm.model.paging import PageRequest
from sbm.model.send_pause import SendPause
from sbm.model.task import TaskRecord
from sbm.store import send_pauses, tasks
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry

# So many tasks are shown of each state, and so many migrations.
_SHOWN = 10


@frozen(kw_only=True)
class Operating:
    """What the page shows."""

    situation: Situation
    pauses: list[SendPause]
    tasks: list[TaskRecord]


@frozen(eq=False, kw_only=True)
class Operations:
    """The page for the person who is on call; everybody may read it."""

    app = Klein()

    pages: Pages
    telemetry: Telemetry

    @app.route("/")
    async def operations(self, request: Request) -> bytes:
        return await self.pages.answer(request, PageNeeds(), get=self._operations)

    async def _operations(self, visit: Visit) -> View:
        values = {**await self.live(visit, ""), "done": await sentence_of(visit)}
        return View(template="operations.html", values=values)

    async def live(self, visit: Visit, _key: str) -> Mapping[str, Any]:
        """What is in the part of the page that changes by itself: all of it."""
        shown = await visit.read(_read)
        return {
            "red_lines": red_lines(visit, shown.situation, self.telemetry),
            "found": shown.situation,
            "now": shown.situation.now,
            "pauses": shown.pauses,
            "tasks": shown.tasks,
            "calls": _calls(shown.situation),
            "services": SERVICES,
            "own": self.telemetry.services,
            "latencies": self.telemetry.latencies,
            "migrations_shown": _SHOWN,
        }


@frozen(kw_only=True)
class ServiceSeen:
    """A service as a daemon sees it; ``next_try`` is None if it is not away."""

    name: str
    host: str
    pid: int
    is_away: bool
    reason: str
    next_try: datetime | None


def _calls(found: Situation) -> list[ServiceSeen]:
    """All services as all living daemons see them, those that are away first."""
    seen = [
        ServiceSeen(
            name=SERVICES.get(name, name),
            host=one.host,
            pid=one.pid,
            is_away=service["is_away"],
            reason=service["reason"],
            next_try=datetime.fromisoformat(service["next_try"]) if service["next_try"] else None,
        )
        for one in found.daemons
        if not one.is_silent
        for name, service in one.services.items()
    ]
    return sorted(seen, key=lambda one: (not one.is_away, one.name, one.host, one.pid))


async def _read(transaction: Transaction) -> Operating:
    found: list[TaskRecord] = []
    for state in ("begun", "waiting", "failed"):
        page = await tasks.list_page(
            transaction,
            page=PageRequest(limit=_SHOWN, count=0),
            state=state,
        )
        found += page.rows
    return Operating(
        situation=await read_situation(transaction),
        pauses=await send_pauses.list_open(transaction),
        tasks=found,
    )
