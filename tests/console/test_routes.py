"""Every address of the console, by everybody who may not use it, and as no page of ours would."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from attrs import field, frozen

from sbm.console.answering import Handler, PageNeeds, Pages
from sbm.console.console import SCREENS, Console
from sbm.model.user import PERMISSIONS, User
from tests.arrange import Arranged
from tests.console.conftest import Served
from tests.console.content import ADMIN, NOBODY, THANDI, USUAL
from tests.console.reader import Page, Reader

# Open to whoever has no session: these ask for the password, or need none.
OPEN = ("/login", "/link", "/language", "/static/<name>")

# What stands for each part of an address. A screen that takes an id for something else says it is
# unknown, which is after all checks.
SAMPLES = {"identity": str(THANDI), "name": "nothing", "lang": "eng_ZA", "language": "eng_ZA"}

# A route has no page, or takes no form.
NO = "-"

# What a page needs, and what its form needs, written once more beside what the routes declare.
AGREED: dict[str, tuple[str | None, str | None]] = {
    "/": (None, NO),
    "/audit/": ("administer", NO),
    "/audit/<entry>/": ("administer", "administer"),
    "/audit/<entry>/undo-request/": ("administer", "administer"),
    "/audit/<entry>/undo/": ("administer", "administer"),
    "/behind/": ("people.read", NO),
    "/behind/csv": (NO, "people.read"),
    "/behind/do/forward": ("operate", "operate"),
    "/behind/do/search-behind": ("operate", "operate"),
    "/behind/do/search-silent": ("operate", "operate"),
    "/behind/do/send": ("operate", "operate"),
    "/behind/silent/": ("people.read", NO),
    "/behind/undelivered/": ("people.read", NO),
    "/content/": (None, NO),
    "/content/<key>/": (None, NO),
    "/content/<key>/<number>/<lang>/": (None, "content.edit"),
    "/content/<key>/<number>/<lang>/count/": (NO, "content.edit"),
    "/content/<key>/<number>/<lang>/delete/": ("content.edit", "content.edit"),
    "/content/<key>/<number>/<lang>/file/": (NO, "content.edit"),
    "/content/<key>/<number>/<lang>/file/remove/": ("content.edit", "content.edit"),
    "/content/<key>/<number>/<lang>/preview/": (NO, "people.read"),
    "/content/<key>/clone/": ("content.edit", "content.edit"),
    "/content/<key>/delete/": ("content.edit", "content.edit"),
    "/content/<key>/edit/": ("content.edit", "content.edit"),
    "/content/new/": ("content.edit", "content.edit"),
    "/content/schedules/": (None, NO),
    "/content/schedules/<key>/": (None, NO),
    "/content/schedules/<key>/delete/": ("content.edit", "content.edit"),
    "/content/schedules/<key>/edit/": ("content.edit", "content.edit"),
    "/content/schedules/new/": ("content.edit", "content.edit"),
    "/help/": (None, NO),
    "/help/<topic>/": (None, NO),
    "/intake/": ("people.read", NO),
    "/intake/<entry>/": ("people.read", "people.read"),
    "/live/<name>": (None, NO),
    "/logout": (NO, None),
    "/operations/": (None, NO),
    "/operations/pauses/<pause>/end/": ("operate", "operate"),
    "/operations/pauses/begin/": ("operate", "operate"),
    "/operations/pauses/new/": ("operate", NO),
    "/people/": ("people.read", "people.read"),
    "/people/<identity>/<subscription>/language": ("people.act", "people.act"),
    "/people/<identity>/<subscription>/place": ("people.act", "people.act"),
    "/people/<identity>/<subscription>/resend": ("operate", "operate"),
    "/people/<identity>/<subscription>/schedule": ("people.act", "people.act"),
    "/people/<identity>/<subscription>/send": ("operate", "operate"),
    "/people/<identity>/<subscription>/start": ("people.act", "people.act"),
    "/people/<identity>/<subscription>/stop": ("people.act", "people.act"),
    "/people/<identity>/undo/<entry>": ("people.act", "people.act"),
    "/people/<told>/": ("people.read", "people.read"),
    "/sessions/": (None, NO),
    "/sessions/<session>/end/": (None, None),
    "/sessions/of/<user>/<session>/end/": ("administer", "administer"),
    "/sessions/of/<user>/end/": ("administer", "administer"),
    "/sessions/others/": (None, None),
    "/sessions/password/": (None, None),
    "/start/": ("people.read", NO),
    "/start/<key>/": ("people.read", "operate"),
    "/ticks/": (None, NO),
    "/ticks/<key>/": (None, NO),
    "/ticks/<key>/pause": ("operate", "operate"),
    "/ticks/<key>/people": ("people.read", "people.read"),
    "/ticks/<key>/release": ("operate", "operate"),
    "/ticks/<key>/resume": ("operate", "operate"),
    "/ticks/<key>/stop": ("operate", "operate"),
    "/tokens/<token>/revoke/": ("administer", "administer"),
    "/tokens/new/<user>/": ("administer", "administer"),
    "/trouble/": ("people.read", NO),
    "/trouble/group": ("people.read", NO),
    "/trouble/owe": ("operate", "operate"),
    "/users/": ("administer", NO),
    "/users/<user>/": ("administer", NO),
    "/users/<user>/active/": ("administer", "administer"),
    "/users/<user>/edit/": ("administer", "administer"),
    "/users/<user>/password/": ("administer", "administer"),
    "/users/new/": ("administer", "administer"),
}

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@frozen(kw_only=True)
class Declared:
    """What a route says that it needs, and which methods it has."""

    rule: str
    path: str
    needs: PageNeeds = field(factory=PageNeeds)
    has_get: bool = False
    has_post: bool = False

    def needed(self, method: str) -> str | None:
        return self.needs.post if method == "POST" else self.needs.get

    def has(self, method: str) -> bool:
        return self.has_post if method == "POST" else self.has_get


def rules() -> Iterator[tuple[str, str]]:
    """Each route below /console, and an address that it matches."""
    for rule in Console.app.url_map.iter_rules():
        if rule.rule not in OPEN:
            yield rule.rule, "/console" + re.sub(r"<[^>]*>", _sample, rule.rule)


def _sample(part: re.Match[str]) -> str:
    return SAMPLES.get(part[0].strip("<>").rpartition(":")[2], "1")


ROUTES = dict(rules())


_declared: list[Declared] = []


async def declared(site: Served, monkeypatch: pytest.MonkeyPatch) -> list[Declared]:
    """What all routes declare: they are asked once, and stopped before they do anything."""
    if not _declared:
        _declared.extend(await _asked(site, monkeypatch))
    return _declared


async def _asked(site: Served, monkeypatch: pytest.MonkeyPatch) -> list[Declared]:
    told: list[tuple[PageNeeds, bool, bool]] = []

    async def answer(
        _pages: Pages,
        _request: Any,
        needs: PageNeeds,
        *,
        get: Handler | None = None,
        post: Handler | None = None,
    ) -> bytes:
        told.append((needs, get is not None, post is not None))
        return b""

    found = []
    with monkeypatch.context() as patch:
        patch.setattr(Pages, "answer", answer)
        for rule, path in ROUTES.items():
            told.clear()
            await site.api.send("GET", path, None, {})
            assert len(told) == 1, f"{rule} is not answered by Pages.answer"
            needs, has_get, has_post = told[0]
            made = Declared(rule=rule, path=path, needs=needs, has_get=has_get, has_post=has_post)
            found.append(made)
    return found


def state(direct: Arranged) -> dict[str, Any]:
    """A digest of all that is stored, besides the sessions."""
    tables = direct.rows(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        " AND relname NOT IN ('console_sessions', 'clock_readings') ORDER BY relname"
    )
    parts = [
        f"(SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {row['relname']} t)"  # noqa: S608
        f' AS "{row["relname"]}"'
        for row in tables
    ]
    (digests,) = direct.rows(f"SELECT {', '.join(parts)}")
    return digests


def user_called(direct: Arranged, username: str) -> User:
    (row,) = direct.rows(
        "SELECT id, username, is_admin, is_active, is_limited, ARRAY(SELECT permission"
        " FROM user_permissions WHERE user_id = users.id) AS permissions FROM users"
        " WHERE username = %s",
        username,
    )
    return User(**row | {"permissions": frozenset(row["permissions"])})


async def send(reader: Reader, method: str, path: str, body: str = "", **headers: str) -> Page:
    """A request as a script of another site could send it, unless the headers say otherwise."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if method == "GET":
        return await reader.send("GET", path, None, sent)
    return await reader.send(method, path, body, {**FORM, **sent})


async def secret_of(reader: Reader) -> str:
    """A secret for a form of this session."""
    page = await reader.get("/console/")
    return page.tree.all("input", name="secret")[0]["value"]


@pytest_twisted.ensureDeferred
async def test_without_a_session_each_address_leads_to_the_login(
    site: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(site.direct)
    stranger = site.reader(None)
    stranger.cookies["sbm-local"] = "made-up"
    for path in ROUTES.values():
        for method in ("GET", "POST"):
            page = await send(stranger, method, path, "secret=x", Sec_Fetch_Site="same-origin")
            assert page.status == 303, (method, path)
            assert page.place.startswith("/console/login?next="), (method, path)

    assert state(site.direct) == before


@pytest.mark.parametrize(
    ("username", "language"),
    [(ADMIN, "en"), (ADMIN, "fr"), *((name, "en") for name in (USUAL, NOBODY, *PERMISSIONS))],
)
@pytest_twisted.ensureDeferred
async def test_each_address_needs_what_it_declares(
    site: Served, monkeypatch: pytest.MonkeyPatch, username: str, language: str
) -> None:
    """Those who may not are refused, and nothing is changed. Those who may get another answer."""
    user = user_called(site.direct, username)
    reader = site.reader(username)
    secret = await secret_of(reader)
    before = state(site.direct)
    allowed = []
    for one in await declared(site, monkeypatch):
        for method in ("GET", "POST"):
            needed = one.needed(method)
            if not one.has(method):
                page = await send(reader, method, one.path, f"secret={secret}")
                assert page.status == 405, (method, one.rule)
            elif needed is not None and not user.may(needed):
                body = f"secret={secret}"
                page = await send(reader, method, one.path, body, Sec_Fetch_Site="same-origin")
                assert page.status == 403, (method, one.rule)
                assert needed in page.main.text, (method, one.rule)
            elif method == "GET":
                allowed.append(one)
    assert state(site.direct) == before

    for one in allowed:
        page = await send(reader, "GET", one.path, Accept_Language=language)
        answered = [200, 303, 400, 404, 409]
        if "content.publish" in page.text and not user.may("content.publish"):
            answered.append(403)  # people are under way
        assert page.status in answered, (one.rule, page.status, page.text[:2000])
        assert len(gzip.compress(page.text.encode("utf-8", "surrogateescape"))) <= 20_000


@pytest.mark.parametrize(
    ("headers", "has_secret"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, False),
        ({}, False),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "https://evil.example"}, True),
        ({"Origin": "null"}, True),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_form_of_another_site_changes_nothing(
    site: Served, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], has_secret: bool
) -> None:
    reader, other = site.reader(), site.reader(USUAL)
    secrets = [await secret_of(reader)] if has_secret else ["", "x", await secret_of(other)]
    routes = await declared(site, monkeypatch)
    before = state(site.direct)
    sessions = "SELECT count(*) FROM console_sessions"
    count = site.direct.value(sessions)
    for one in routes:
        for secret in secrets if one.has_post else []:
            page = await reader.send("POST", one.path, f"secret={secret}", {**FORM, **headers})
            assert page.status == 403, one.rule
            assert page.says("No page of your present session has sent this form."), one.rule

    assert state(site.direct) == before
    assert site.direct.value(sessions) == count


@pytest_twisted.ensureDeferred
async def test_no_page_fails_for_what_a_stranger_writes_into_its_address(
    site: Served,
) -> None:
    """Nonsense in the place of each part and of each parameter."""
    reader, asked = site.reader(), set[str]()
    nonsense = ("99999999999999999999", "%00", "%ff", "%22%3E%3Cscript%3E")
    parameters = "&".join(
        f"{name}=%00%22%3E{number}"
        for number, name in enumerate(
            ("after", "before", "q", "lang", "number", "state", "reason", "tick", "page", "limit")
        )
    )
    for rule in ROUTES:
        for value in nonsense:
            path = "/console" + re.sub(r"<[^>]*>", value, rule)
            for url in {path, f"{path}?{parameters}"} - asked:
                asked.add(url)
                page = await reader.get(url)
                assert page.status < 500, (url, page.text[:500])
                assert "<script>" not in page.text.lower()


@pytest_twisted.ensureDeferred
async def test_no_form_that_lacks_its_fields_fails(
    site: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty form, and one with nonsense: both are refused, or do nothing that is not undone."""
    for one in await declared(site, monkeypatch):
        if not one.has_post or one.rule == "/logout":
            continue
        reader = site.reader()
        secret = await secret_of(reader)
        for body in ("", "&once=%00&seen=%ff&reason=%00", f"&once=abc&reason={'x' * 300}"):
            page = await send(
                reader, "POST", one.path, f"secret={secret}{body}", Sec_Fetch_Site="same-origin"
            )
            assert page.status < 500, (one.rule, body, page.text[:800])


@pytest_twisted.ensureDeferred
async def test_each_route_needs_what_was_agreed(
    site: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {
        one.rule: (one.needs.get if one.has_get else NO, one.needs.post if one.has_post else NO)
        for one in await declared(site, monkeypatch)
    }

    assert found == AGREED


def test_all_screens_are_mounted() -> None:
    mounted = {endpoint.split(" ")[0] for endpoint in Console.app.endpoints if " " in endpoint}

    assert mounted == SCREENS.keys()
