"""Logging in and out."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console import cookies, forms
from sbm.console.answering import ForeignForm, PageNeeds, Pages
from sbm.console.texts import LANGUAGES
from sbm.console.throttle import Throttle
from sbm.console.visit import View, Visit, go_to
from sbm.model.user import MAX_USERNAME
from sbm.store import console_sessions, users
from sbm.telemetry import Telemetry
from sbm.web.http.http_errors import Reason
from sbm.web.http.passwords import Passwords
from sbm.web.http.refused_requests import explain

HOME = "/console/"
_MAX_BROWSER = 200
_MAX_PLACE = 2000


@frozen(eq=False, kw_only=True)
class Login:
    """The page that asks for a name and a password, the links that log in once, and the way out."""

    app = Klein()

    pages: Pages
    passwords: Passwords
    throttle: Throttle
    telemetry: Telemetry

    @app.route("/login")
    async def login(self, request: Request) -> bytes:
        return await self.pages.answer_stranger(request, self._login)

    @app.route("/link")
    async def link(self, request: Request) -> bytes:
        return await self.pages.answer_stranger(request, self._link)

    @app.route("/logout")
    async def logout(self, request: Request) -> bytes:
        return await self.pages.answer(request, PageNeeds(), post=self._logout)

    @app.route("/language")
    async def language(self, request: Request) -> bytes:
        return await self.pages.answer_stranger(request, self._language)

    async def _login(self, request: Request, origin: str) -> View:
        place = _inside(_given(request, b"next"))
        if not cookies.is_private(origin):
            return _page(place, "plain", status=403)
        if request.method != b"POST":
            return _page(place, "")
        if not forms.is_from_here(request, origin):
            raise ForeignForm
        form = self.pages.form_of(request)
        name, password = str(form.get("username", "")), str(form.get("password", ""))
        place = _inside(str(form.get("next", "")))
        address = self.pages.proxies.address(request)
        wait = self.throttle.begin(name, address)
        if wait:
            explain(request, Reason(kind="too-many-logins"))
            return _page(place, "wait", status=429, seconds=int(wait) + 1, name=name)
        user = await self.passwords.user_with(name, password)
        if user is None or user.id is None:
            explain(request, Reason(kind="wrong-password"))
            return _page(place, "wrong", status=403, name=name)
        self.throttle.succeed(name, address)
        await self._begin(request, origin, user.id)
        return go_to(place)

    async def _link(self, request: Request, origin: str) -> View:
        """A GET shows a button: some programs fetch every link that they see."""
        secret = _given(request, b"key")
        if not cookies.is_private(origin):
            return _page(HOME, "plain", status=403)
        if request.method != b"POST":
            return View(template="link.html", values={"key": secret})
        if not forms.is_from_here(request, origin):
            raise ForeignForm
        key = str(self.pages.form_of(request).get("key", ""))
        user_id = await self.pages.database.transact(console_sessions.use_link, secret=key)
        user = None
        if user_id is not None:
            user = await self.pages.database.read(users.find, user_id=user_id)
        if user is None or not user.is_active:
            return _page(HOME, "link", status=403)
        self.throttle.succeed(user.username, self.pages.proxies.address(request))
        await self._begin(request, origin, user.id)
        return go_to(HOME)

    async def _begin(self, request: Request, origin: str, user_id: int) -> None:
        secret = await self.pages.database.transact(
            console_sessions.begin,
            user_id=user_id,
            address=self.pages.proxies.address(request),
            browser=_printable(request.getHeader("user-agent") or ""),
        )
        cookies.begin_session(request, origin, secret)

    async def _logout(self, visit: Visit) -> View:
        await visit.change(console_sessions.end, session_id=visit.session.id)
        cookies.end_session(visit.request, visit.origin)
        return go_to("/console/login")

    async def _language(self, request: Request, origin: str) -> View:
        chosen = _given(request, b"to")
        if chosen in LANGUAGES:
            cookies.choose_language(request, origin, chosen)
        return go_to(_inside(_given(request, b"next")))


def _page(place: str, problem: str, *, status: int = 200, **values: Any) -> View:
    name = str(values.pop("name", ""))[:MAX_USERNAME]
    shown = {"next": place, "problem": problem, "name": name, "seconds": 0, **values}
    return View(template="login.html", values=shown, status=status)


def _given(request: Request, name: bytes) -> str:
    given: bytes = (request.args or {}).get(name, [b""])[0]
    return given.decode("utf-8", "replace")


def _inside(place: str) -> str:
    """A place in the console; anything else is not gone to."""
    is_plain = place.isprintable() and "\\" not in place and len(place) <= _MAX_PLACE
    return place if is_plain and place.startswith(HOME) else HOME


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)[:_MAX_BROWSER]
