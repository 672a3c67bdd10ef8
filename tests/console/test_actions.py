"""Actions: shown first, done once, and only if it is still what was seen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import define, frozen
from klein import Klein
from twisted.internet.defer import Deferred, gatherResults
from twisted.web.server import Request

from sbm.console.actions import Done, Proposal, perform, sentence_of, show
from sbm.console.answering import PageNeeds, Pages
from sbm.console.visit import View, Visit
from sbm.model.signature import MAX_REASON
from sbm.store import users
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.passwords import Passwords
from tests.arrange import Arranged
from tests.console.conftest import Served, mounted
from tests.console.content import ADMIN, USUAL
from tests.console.reader import Page, Reader, query_of
from tests.web.conftest import served

PLACE = "/console/probe/"
PLAIN = {"Content-Type": "text/plain"}


@define(eq=False)
class Probe:
    """What the action of the test would do, and how often it did it."""

    count: int = 3
    seen: str = "a"
    objection: str = ""
    needs_reason: bool = True
    place: str = PLACE
    worked: int = 0
    told: int = 0


@frozen(eq=False, kw_only=True)
class ProbeScreen:
    """One action, which grants a user a permission."""

    app = Klein()

    pages: Pages
    probe: Probe

    @app.route("/probe/")
    async def answered(self, request: Request) -> bytes:
        return await self.pages.answer(request, PageNeeds(), get=self._show, post=self._perform)

    async def _show(self, visit: Visit) -> View:
        if "done" in visit.query:
            return View(raw=(await sentence_of(visit) or "nothing").encode(), headers=PLAIN)
        return await show(visit, self._propose)

    async def _perform(self, visit: Visit) -> View:
        return await perform(visit, self._propose, self._work)

    async def _propose(self, _transaction: Transaction) -> Proposal:
        return Proposal(
            title="Grant it",
            button="Grant",
            sentences=["It grants a permission."],
            count=self.probe.count,
            back="/console/",
            fields={"which": 'all & <some> "quoted"'},
            seen=[self.probe.seen],
            objection=self.probe.objection,
            needs_reason=self.probe.needs_reason,
        )

    async def _work(self, transaction: Transaction) -> Done:
        self.probe.worked += 1
        await users.grant(transaction, user_id=1, permission="probe")
        return Done(sentence="Granted.", place=self.probe.place, then=self._then)

    def _then(self) -> None:
        self.probe.told += 1


@frozen(kw_only=True)
class Mounted:
    """What the site needs of a console."""

    resource: Any
    upload_places: Any


@pytest.fixture
def probe() -> Probe:
    return Probe()


@pytest_twisted.async_yield_fixture
async def site(
    database_uri: str, postgres_uri: str, tmp_path: Path, direct: Arranged, probe: Probe
) -> AsyncIterator[Served]:
    """The site, with only this screen in its console."""

    def mount(database: Database, passwords: Passwords) -> Any:
        console = mounted(database, passwords)
        screen = ProbeScreen(pages=console.pages, probe=probe)
        return Mounted(resource=screen.app.resource, upload_places=console.upload_places)

    async with served(database_uri, tmp_path, mount=mount) as api:
        yield Served(api=api, direct=direct, server_uri=postgres_uri)


def granted(site: Served) -> list[dict[str, Any]]:
    return site.direct.rows("SELECT * FROM user_permissions WHERE permission = 'probe'")


async def sent(reader: Reader, page: Page, **fields: Any) -> Page:
    """The answer to the form, which is not followed."""
    return await reader.post(PLACE, **page.fields() | {"reason": "asked by phone"} | fields)


@pytest_twisted.ensureDeferred
async def test_it_says_first_what_it_would_do(site: Served, probe: Probe) -> None:
    page = await site.reader().get(PLACE)

    assert (page.status, page.heading) == (200, "Grant it")
    assert page.says("It grants a permission.")
    assert page.fields()["which"] == 'all & <some> "quoted"'
    assert page.main.one("input", name="reason").has("required")
    assert (probe.worked, granted(site)) == (0, [])


@pytest_twisted.ensureDeferred
async def test_it_is_done_with_the_reason_and_the_name_in_the_audit(
    site: Served, probe: Probe
) -> None:
    reader = site.reader()
    page = await sent(reader, await reader.get(PLACE))

    assert page.status == 303
    assert page.place.startswith(f"{PLACE}?done=")
    assert (probe.worked, probe.told, len(granted(site))) == (1, 1, 1)
    assert (await reader.get(page.place)).text == "Granted."
    (row,) = site.direct.rows("SELECT * FROM audit ORDER BY id DESC LIMIT 1")
    assert (row["actor"], row["reason"]) == (ADMIN, "asked by phone")
    assert row["action"].startswith("console /console/probe/")


@pytest_twisted.ensureDeferred
async def test_a_form_that_is_sent_twice_is_done_once(site: Served, probe: Probe) -> None:
    reader = site.reader()
    page = await reader.get(PLACE)
    first, second = await sent(reader, page), await sent(reader, page)

    assert first.place == second.place
    assert (probe.worked, probe.told) == (1, 1)


@pytest_twisted.ensureDeferred
async def test_a_form_that_is_sent_many_times_at_once_is_done_once(
    site: Served, probe: Probe
) -> None:
    page = await site.reader().get(PLACE)
    reader = site.reader()
    page = await reader.get(PLACE)
    answers = await gatherResults([Deferred.fromCoroutine(sent(reader, page)) for _ in range(8)])

    assert {answer.place for answer in answers} == {answers[0].place}
    assert (probe.worked, probe.told) == (1, 1)


@pytest.mark.parametrize("change", [{"count": 4}, {"seen": "b"}, {"objection": "It is late."}])
@pytest_twisted.ensureDeferred
async def test_if_it_has_changed_nothing_is_done_and_the_new_picture_is_shown(
    site: Served, probe: Probe, change: dict[str, Any]
) -> None:
    reader = site.reader()
    page = await reader.get(PLACE)
    for name, value in change.items():
        setattr(probe, name, value)
    answer = await sent(reader, page)

    assert (answer.status, probe.worked, granted(site)) == (409, 0, [])
    assert answer.says("Nothing was done: it has changed since you looked.")
    if probe.objection:
        assert answer.says("It is late.")
        assert not answer.main.all("form")
        return
    again = await sent(reader, answer)
    assert (again.status, probe.worked) == (303, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"reason": ""},
        {"reason": "  "},
        {"reason": None},
        {"reason": "x" * (MAX_REASON + 1)},
        {"reason": "a\nb"},
    ],
)
@pytest_twisted.ensureDeferred
async def test_without_a_reason_of_one_line_nothing_is_done(
    site: Served, probe: Probe, fields: dict[str, Any]
) -> None:
    reader = site.reader()
    answer = await sent(reader, await reader.get(PLACE), **fields)

    assert (answer.status, probe.worked, granted(site)) == (400, 0, [])
    described = answer.main.one("input", name="reason")["aria-describedby"].split()
    assert "errors" in described
    assert answer.heading == "Grant it"


@pytest_twisted.ensureDeferred
async def test_if_no_reason_is_needed_none_is_asked_for(site: Served, probe: Probe) -> None:
    probe.needs_reason = False
    reader = site.reader()
    page = await reader.get(PLACE)
    answer = await sent(reader, page, reason="")

    assert not page.main.one("input", name="reason").has("required")
    assert (answer.status, probe.worked) == (303, 1)


@pytest.mark.parametrize("once", ["", "a b", "x" * 65, "é", None, "<script>"])
@pytest_twisted.ensureDeferred
async def test_a_form_without_a_key_is_refused(
    site: Served, probe: Probe, once: str | None
) -> None:
    reader = site.reader()
    answer = await sent(reader, await reader.get(PLACE), once=once)

    assert (answer.status, probe.worked) == (400, 0)


@pytest_twisted.ensureDeferred
async def test_nobody_else_reads_what_was_done(site: Served, probe: Probe) -> None:
    reader = site.reader()
    page = await sent(reader, await reader.get(PLACE))

    assert (await site.reader(USUAL).get(page.place)).text == "nothing"
    assert (await reader.get(f"{PLACE}?done=")).text == "nothing"
    assert (await reader.get(f"{PLACE}?done={'x' * 500}")).text == "nothing"


@pytest_twisted.ensureDeferred
async def test_the_same_key_of_another_user_is_another_form(site: Served, probe: Probe) -> None:
    reader, other = site.reader(), site.reader(USUAL)
    page = await reader.get(PLACE)
    await sent(reader, page)
    own = await other.get(PLACE)
    await sent(other, own, once=page.fields()["once"])

    assert probe.worked == 2


@pytest.mark.parametrize(
    ("place", "start"),
    [
        ("/console/a/?b=c", "/console/a/?b=c&done="),
        ("/console/a/#part", "/console/a/?done="),
        ("/console/a/?b=c#part", "/console/a/?b=c&done="),
    ],
)
@pytest_twisted.ensureDeferred
async def test_where_it_leads(site: Served, probe: Probe, place: str, start: str) -> None:
    probe.place = place
    reader = site.reader()
    answer = await sent(reader, await reader.get(PLACE))

    assert answer.place.startswith(start)
    assert answer.place.endswith("#part") == place.endswith("#part")
    assert len(query_of(answer.place)["done"]) == 32
