"""How a request to the console gets its page, and the order of all checks.

First the origin, then the session, the permission, and for a form where it comes from and its
secret. Then the screen makes the page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from attrs import Factory, evolve, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.server import Request

from sbm.console import cookies, forms
from sbm.console.reading_turns import ReadingTurns
from sbm.console.rendering import Renderer, compressed
from sbm.console.texts import preferred, translations
from sbm.console.visit import View, Visit, go_to
from sbm.model.user import NOBODY, User
from sbm.operations.refusals import OperationRefused
from sbm.runtime.fair_turns import FairTurns
from sbm.runtime.places import Places
from sbm.store import console_sessions
from sbm.store.console_sessions import ConsoleSession
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import CommitUnknown, DatabaseUnavailable
from sbm.web.http import http_errors
from sbm.web.http.api_request import content_of
from sbm.web.http.bodies import FORM, parse
from sbm.web.http.http_errors import Reason
from sbm.web.http.origin import Proxies
from sbm.web.http.refused_requests import explain
from sbm.web.http.targets import parameters_of
from sbm.web.http.uploads import Upload

LOGIN = "/console/login"

_METHODS = (b"GET", b"HEAD", b"POST")

# What the pages may load, and from where. Pictures and sounds may come from SBM_MEDIA_URL, too.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:{media};"
    " media-src 'self'{media}; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)

Handler = Callable[[Visit], Awaitable[View]]


@frozen(kw_only=True)
class PageNeeds:
    """The permissions of a page: to see it, and to send its form. None: everybody logged in."""

    get: str | None = None
    post: str | None = None


@frozen(eq=False, kw_only=True)
class Pages:
    """What all pages share. ``media_origin`` is where the files of messages are, if elsewhere."""

    database: Database
    proxies: Proxies
    renderer: Renderer
    media_origin: str = ""
    turns: ReadingTurns = field(
        default=Factory(
            lambda self: ReadingTurns(most=max(1, self.database.size // 2)), takes_self=True
        )
    )
    # So that all who claim to have a session leave some connections to others.
    _lookups: Places = field(
        default=Factory(lambda self: Places(max(1, self.database.size // 2)), takes_self=True),
        init=False,
    )
    _writing: FairTurns = field(
        default=Factory(lambda self: FairTurns(reactor=self.database.reactor), takes_self=True),
        init=False,
    )

    async def answer(
        self,
        request: Request,
        needs: PageNeeds,
        *,
        get: Handler | None = None,
        post: Handler | None = None,
    ) -> bytes:
        """Answer with the page that ``get`` or ``post`` makes, or with why there is none."""
        language = preferred(cookies.language_of(request), request.getHeader("accept-language"))
        visit: Visit | None = None
        try:
            origin = self.proxies.origin(request)
            is_post = request.method == b"POST"
            handler = post if is_post else get
            session = await self._session(request, origin)
            if session is None:
                view = self._to_login(request, origin)
                return await self._written(request, view, language)
            visit = self._visit(request, session, origin, language)
            if handler is None or request.method not in _METHODS:
                raise http_errors.MethodNotAllowed(request.method.decode("ascii", "replace"))
            self._check(visit, needs.post if is_post else needs.get)
            if is_post:
                visit = await self._with_form(request, visit)
            view = await handler(visit)
        except CancelledError:
            raise  # the browser has gone
        except Exception as error:
            view = self._told(request, error)
        return await self._written(request, view, language, visit)

    async def answer_stranger(
        self, request: Request, handler: Callable[[Request, str], Awaitable[View]]
    ) -> bytes:
        """Answer a request that needs no session; the handler gets its origin."""
        language = preferred(cookies.language_of(request), request.getHeader("accept-language"))
        try:
            if request.method not in _METHODS:
                raise http_errors.MethodNotAllowed(request.method.decode("ascii", "replace"))
            view = await handler(request, self.proxies.origin(request))
        except CancelledError:
            raise
        except Exception as error:
            view = self._told(request, error)
        return await self._written(request, view, language)

    async def _session(self, request: Request, origin: str) -> ConsoleSession | None:
        secret = cookies.session_of(request, origin)
        if not secret or not cookies.is_private(origin):
            return None
        found: ConsoleSession | None = await self._lookups.run(
            lambda: Deferred.fromCoroutine(self.database.read(console_sessions.find, secret=secret))
        )
        if found is not None and found.is_use_noted_long_ago and _is_of_a_person(request):
            await self.database.transact(console_sessions.note_use, session_id=found.id)
        return found

    @staticmethod
    def _to_login(request: Request, origin: str) -> View:
        """To the page that asks for the password, and back from there; what was sent is lost.

        If a script asks for a part of a page, the whole page has to go there.
        """
        explain(request, Reason(kind="no-session"))
        if not _is_part(request):
            return go_to(LOGIN, next=_place_asked(request, origin))
        page = (request.getHeader("hx-current-url") or "").removeprefix(origin)
        return View(
            raw=b"", status=401, headers={"HX-Redirect": f"{LOGIN}?{urlencode({'next': page})}"}
        )

    def _visit(
        self, request: Request, session: ConsoleSession, origin: str, language: str
    ) -> Visit:
        return Visit(
            session=session,
            origin=origin,
            path=request.path.decode("ascii", "replace"),
            query=dict(parameters_of(request.uri)),
            language=language,
            request_id=str(getattr(request, "request_id", "")),
            request=request,
            texts=translations(language),
            database=self.database,
            turns=self.turns,
        )

    @staticmethod
    def form_of(request: Request) -> Mapping[str, Any]:
        """The fields of a form; raises TooLarge, Malformed or UnsupportedMediaType."""
        if getattr(request, "is_too_large", False):
            raise http_errors.TooLarge(request.body_limit)  # type: ignore[attr-defined]
        kind = request.getHeader("content-type") or FORM
        body = parse(content_of(request), kind)
        if not body.is_form:
            raise http_errors.UnsupportedMediaType(kind)
        return body.as_object()

    @staticmethod
    def _check(visit: Visit, permission: str | None) -> None:
        """Raise Forbidden if the user may not do this."""
        if permission is not None and not visit.user.may(permission):
            raise NotPermitted(permission)

    async def _with_form(self, request: Request, visit: Visit) -> Visit:
        """The visit with the form that was sent; raises ForeignForm unless a page of ours made it.

        The secret is read last: it is in the body, which may be long.
        """
        if not forms.is_from_here(request, visit.origin):
            raise ForeignForm
        upload: Upload | None = getattr(request, "upload", None)
        if upload is None:
            fields = self.form_of(request)
        elif getattr(request, "is_too_large", False):
            raise http_errors.TooLarge(upload.limit)
        else:
            fields = (await upload.body()).value
        form = {name: value for name, value in fields.items() if isinstance(value, str)}
        secret = cookies.session_of(request, visit.origin) or ""
        if not forms.is_secret(form.get("secret", ""), forms.secret_of(secret)):
            raise ForeignForm
        files = {name: value for name, value in fields.items() if name not in form}
        return evolve(visit, form=form, files=files)

    async def admit(self, request: Request, *, permission: str) -> None:
        """Raise an error unless a user with this permission is logged in, and a page of ours asks.

        It reads only the headers: the body of an upload comes after it. The secret of the form is
        checked as that of any other, before the file is kept.
        """
        origin = self.proxies.origin(request)
        session = await self._session(request, origin)
        if session is None:
            raise http_errors.Unauthenticated("Nobody is logged in.", kind="no-session")
        if not session.user.may(permission):
            raise http_errors.Forbidden(permission)
        if not forms.is_from_here(request, origin):
            raise ForeignForm

    def _told(self, request: Request, error: Exception) -> View:
        """The page that tells an error, which is counted; if it is a defect, the log has it."""
        status = http_errors.status_of(error)
        headers = http_errors.headers_of(error)
        if status is None and isinstance(error, OperationRefused):
            explain(request, Reason(kind="refused"))
            return _refused([("", str(error))], status=409)
        explain(request, http_errors.reason_of(error))
        if isinstance(error, DatabaseUnavailable):
            values = {"is_unknown": isinstance(error, CommitUnknown)}
            return View(template="away.html", values=values, status=503, headers=headers)
        if isinstance(error, ForeignForm):
            return _refused([], status=403, is_foreign=True)
        if isinstance(error, NotPermitted):
            return _refused([], status=403, permission=error.permission)
        if status in (None, 404, 405):
            return _refused([], status=status or 500)
        told = _sentences(http_errors.body_of(error))
        return _refused(told, status=status or 500, headers=headers)

    async def _written(
        self, request: Request, view: View, language: str, visit: Visit | None = None
    ) -> bytes:
        """Write the head of the answer, and return its body."""
        request.setResponseCode(view.status)
        for name, value in {**self._headers(), **view.headers}.items():
            request.setHeader(name.encode("ascii"), value.encode("utf-8"))
        if view.goes_to is not None:
            request.setHeader(b"Location", quote(view.goes_to, safe="/?&=%:+,;@~!*'()#").encode())
            return b""
        if view.stream is not None:
            if request.method != b"HEAD":
                await view.stream(request)
            return b""
        body = view.raw
        if body is None:
            # A page takes two milliseconds, and many may be read at the same time.
            await self._writing.turn(
                self.proxies.address(request) if visit is None else visit.session.id
            )
            body = self._page(request, view, language, visit).encode("utf-8")
            request.setHeader(b"Content-Type", b"text/html; charset=utf-8")
        if "Vary" not in view.headers:
            body, headers = compressed(body, request.getHeader("accept-encoding"))
            for name, value in headers.items():
                request.setHeader(name.encode("ascii"), value.encode("ascii"))
        request.setHeader(b"Content-Length", b"%d" % len(body))
        return body

    def _page(self, request: Request, view: View, language: str, visit: Visit | None) -> str:
        """The page of a view; if that fails, the one that says so."""
        try:
            return self._rendered(request, view, language, visit)
        except Exception as error:
            view = self._told(request, error)
            request.setResponseCode(view.status)
            return self._rendered(request, view, language, visit)

    def _rendered(self, request: Request, view: View, language: str, visit: Visit | None) -> str:
        user: User = NOBODY if visit is None else visit.user
        shared = {
            "user": user,
            "status": view.status,
            "path": request.path.decode("ascii", "replace"),
            "secret": self._secret(request, visit),
            "is_part": _is_part(request),
        }
        return self.renderer.render(view.template, language, {**shared, **view.values})

    def _secret(self, request: Request, visit: Visit | None) -> str:
        if visit is None:
            return ""
        session = cookies.session_of(request, visit.origin) or ""
        return forms.masked(forms.secret_of(session))

    def _headers(self) -> dict[str, str]:
        media = f" {self.media_origin}" if self.media_origin else ""
        return {
            "Content-Security-Policy": _POLICY.format(media=media),
            "Cache-Control": "no-store",
            "Referrer-Policy": "same-origin",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Opener-Policy": "same-origin",
        }


class ForeignForm(http_errors.Forbidden):
    """A form that no page of this session has made."""

    def __init__(self) -> None:
        super().__init__(None)
        self.kind = "foreign-form"


class NotPermitted(http_errors.Forbidden):
    """The user does not have the permission that a page needs."""

    def __init__(self, permission: str) -> None:
        super().__init__(permission)
        self.permission = permission


def _refused(
    told: Sequence[tuple[str, str]],
    *,
    status: int,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> View:
    """The page that says in sentences, by fields or about all, why something was not done."""
    shown = {"told": told, "is_foreign": False, "permission": "", **values}
    return View(template="refused.html", values=shown, status=status, headers=headers or {})


def _is_part(request: Request) -> bool:
    """Whether a script of ours asks, and puts what it gets into a page."""
    return bool(request.getHeader("hx-request") == "true")


def _place_asked(request: Request, origin: str) -> str:
    """The page that was asked for; of a form, the page that it was on: its own may have no GET."""
    if request.method != b"POST":
        return str(request.uri.decode("ascii", "replace"))
    before = request.getHeader("referer") or ""
    if before.startswith(f"{origin}/"):
        return before.removeprefix(origin)
    return str(request.path.decode("ascii", "replace"))


def _is_of_a_person(request: Request) -> bool:
    """Whether somebody has done something. A page that is only open asks for its parts, too."""
    if request.method == b"POST":
        return True
    return not _is_part(request) and request.getHeader("accept") != "text/event-stream"


def _sentences(body: Any, field: str = "") -> list[tuple[str, str]]:
    """The sentences in the body of a refusal, each with its field; "" is for all of it."""
    if isinstance(body, str):
        return [(field, body)]
    if isinstance(body, list | tuple):
        return [told for one in body for told in _sentences(one, field)]
    if isinstance(body, dict):
        return [
            told
            for name, one in body.items()
            for told in _sentences(one, "" if name in ("detail", "non_field_errors") else name)
        ]
    return []
