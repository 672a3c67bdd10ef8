"""What to do about what is wrong: short pages, which agree with the manual."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from attrs import frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console.answering import PageNeeds, Pages
from sbm.console.texts import marked
from sbm.console.visit import View, Visit
from sbm.web.http.http_errors import NotFound

# The titles of the topics, in the order of the list. Their texts are in ``help.html``.
TOPICS: Mapping[str, str] = {
    "daemons": marked("No daemon sends, or one is silent"),
    "paused": marked("Daemons do no work by themselves"),
    "away": marked("Another service is away"),
    "unknown": marked("The outcome of a send is unknown"),
    "queue": marked("Messages are owed for long"),
    "held": marked("A tick waits for a person"),
    "pauses": marked("What a pause of sends does"),
    "ticks": marked("A tick is missing"),
    "doubles": marked("A message was sent twice"),
    "ledger": marked("A tick is unbalanced"),
    "scheduler": marked("Calls to the Scheduler fail"),
    "clock": marked("The database’s clock was set"),
    "servers": marked("The servers of the database"),
    "database": marked("The database becomes slow"),
    "partitions": marked("A partition is missing"),
    "migrations": marked("The schema is of another release"),
}


@frozen(eq=False, kw_only=True)
class HelpPages:
    """The list of topics, and a page for each; for everybody who is logged in."""

    app = Klein()

    pages: Pages

    @app.route("/")
    async def topics(self, request: Request) -> bytes:
        return await self.pages.answer(request, PageNeeds(), get=self._topics)

    @app.route("/<topic>/")
    async def topic(self, request: Request, topic: str) -> bytes:
        return await self.pages.answer(request, PageNeeds(), get=partial(self._topic, topic=topic))

    async def _topics(self, visit: Visit) -> View:
        titles = {topic: visit._(title) for topic, title in TOPICS.items()}
        return View(template="help_topics.html", values={"topics": titles})

    async def _topic(self, visit: Visit, *, topic: str) -> View:
        if topic not in TOPICS:
            raise NotFound
        return View(template="help.html", values={"topic": topic, "name": visit._(TOPICS[topic])})
