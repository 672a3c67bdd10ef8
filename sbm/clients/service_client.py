"""One exchange with another service: one deadline, one connection, and whether it was begun."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from attrs import define, field, frozen
from hyperlink import DecodedURL
from treq.client import HTTPClient
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError  # noqa: A004
from twisted.python.failure import Failure
from twisted.web._newclient import RequestNotSent
from twisted.web.client import Agent, HTTPConnectionPool, ResponseNeverReceived
from twisted.web.http_headers import Headers

from sbm.clients.outcomes import (
    AnswerTooLong,
    Failed,
    Faulty,
    HeldBack,
    Unanswered,
    Unavailable,
    Unknown,
)
from sbm.clients.twisted_internals import BytesProducer, Gate, Pool, read_body
from sbm.model.durations import RequestTimeout
from sbm.settings.endpoints import MetricsAddress, ServiceAddress

# By how much a busy process may be late to end an exchange whose time is over.
LATE_SECONDS = 2.0

# Shorter than the services keep theirs (gunicorn 2 s): a POST on a connection that its other end
# is closing at that moment has an unknown outcome.
KEEP_ALIVE_SECONDS = 1.5


@frozen(kw_only=True)
class HttpResponse:
    """A complete answer: status, and the body as it came."""

    status: int
    headers: Headers
    body: bytes

    def json(self) -> Any:
        """The body as JSON; raises ValueError."""
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("nested too deeply") from None

    @property
    def retry_after(self) -> timedelta | None:
        """What ``Retry-After`` asks for: seconds, or a time, by the clock of who answered."""
        text = self._header("Retry-After")
        if text.isdecimal():
            return timedelta(seconds=int(text)) if len(text) < 7 else None
        until = _http_date(text)
        now = _http_date(self._header("Date")) or datetime.now(timezone.utc)
        return max(until - now, timedelta(0)) if until is not None else None

    def _header(self, name: str) -> str:
        text: str = self.headers.getRawHeaders(name, [""])[-1]
        return text.strip()

    @property
    def asks_to_slow_down(self) -> bool:
        """Whether it asks everybody to send less, or to wait: never the fault of one request."""
        return self.status == 429 or (self.status == 503 and self.retry_after is not None)

    def summary(self) -> str:
        """Status and the beginning of the body, for a reason that people read."""
        return f"{self.status} {self.body[:200].decode('utf-8', 'replace')}".strip()


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)


# Surely nothing was done: the request was turned away before anybody read it.
TURNED_AWAY = frozenset({401, 403, 404, 405})

# Answers that are mostly due to the service and not to what it was asked about.
AWAY = TURNED_AWAY | {429, 503}

_HINTS = {401: "is its token right?", 403: "is its token right?"} | dict.fromkeys(
    (404, 405), "is its address right?"
)


def unavailable(service: str, answer: HttpResponse) -> Unavailable:
    """What an answer means that is due to the service, and surely did nothing."""
    return Unavailable(
        said(service, answer), answer.retry_after, at_once=True, hint=hint_of(answer)
    )


def faulty(service: str, answer: HttpResponse) -> Faulty:
    """What an answer means that may be due to what the service was asked about."""
    return Faulty(said(service, answer), hint=hint_of(answer))


def said(service: str, answer: HttpResponse) -> str:
    """An answer as a reason that people read."""
    return f"{service} answered {answer.summary()}"


def hint_of(answer: HttpResponse) -> str:
    """What to look at if everybody is answered like this."""
    return _HINTS.get(answer.status, "")


def _unheard(_method: str, _failure: str) -> None:
    """Nobody counts failures."""


@define(eq=False, slots=False, kw_only=True)
class ServiceClient(Service):
    """HTTP with one service, under its address and with our authorization there.

    ``timeout`` is one deadline over connection, request and body; when it ends, the connection is
    aborted. At most ``connections`` are kept alive between exchanges. ``failed`` is told of each
    exchange that did, by its method: ``http_error.<status>``, ``timeout`` or ``connection_error``.
    """

    _reactor: Any
    _address: ServiceAddress | MetricsAddress
    _timeout: RequestTimeout
    _connections: int = 50
    _failed: Callable[[str, str], None] = _unheard
    _pool: HTTPConnectionPool = field(init=False)

    def __attrs_post_init__(self) -> None:
        pool: Any = Pool
        self._pool = pool(self._reactor, persistent=True)
        # Twisted would repeat a GET by itself, through a wrapper that cannot be aborted.
        self._pool.retryAutomatically = False
        self._pool.maxPersistentPerHost = self._connections
        self._pool.cachedConnectionTimeout = KEEP_ALIVE_SECONDS  # type: ignore[assignment]
        self._base = DecodedURL.from_text(self._address.url)
        self._headers: dict[str | bytes, str | bytes] = {"Accept": "application/json"}
        if self._address.authorization:
            self._headers["Authorization"] = self._address.authorization.encode()

    def stopService(self) -> Deferred[None]:
        """Close the connections that are kept alive."""
        Service.stopService(self)
        # Apart from what is returned: where nobody may wait any longer, that is broken off, and
        # the connections, which have been told, close all the same.
        closed: Deferred[None] = Deferred()
        self._pool.closeCachedConnections().chainDeferred(closed)
        return closed

    async def get(self, *path: str, query: tuple[tuple[str, str], ...] = ()) -> HttpResponse:
        """GET ``<url>/<path>``; each part of the path is quoted.

        Raises Unavailable: TooLong or Unanswered for what may be due to this question.
        """
        url = self._base.child(*path).replace(query=query)
        try:
            return await self._told("GET", self._ask(url))
        except AnswerTooLong as error:
            raise TooLong(str(error)) from error
        except Unknown as error:  # asking changes nothing
            kind = Unanswered if error.may_be_theirs else Unavailable
            raise kind(str(error)) from error

    async def _ask(self, url: DecodedURL) -> HttpResponse:
        try:
            return await self._exchange("GET", url, None, _always)
        except ConnectionDropped:
            return await self._exchange("GET", url, None, _always)

    def target(self, *path: str, query: tuple[tuple[str, str], ...] = ()) -> str:
        """What the first line of such a request names: path and query, as they are written."""
        uri = self._base.child(*path).replace(query=query).to_uri()
        return uri.replace(scheme="", host="", port=None, rooted=True).to_text()

    async def post(
        self, *path: str, body: Any, begin: Callable[[], bool] | None = None
    ) -> HttpResponse:
        """POST JSON, if ``begin()`` still says yes in the moment when a connection is there.

        Raises Unavailable where the request was surely not begun, else Unknown.
        """
        url = self._base.child(*path)
        return await self._told("POST", self._exchange("POST", url, body, begin or _always))

    async def _told(self, method: str, exchange: Coroutine[Any, Any, HttpResponse]) -> HttpResponse:
        """The answer; and whoever counts failures is told if it is, or is none for, a failure."""
        try:
            answer = await exchange
        except Failed as error:
            failure = _failure(error)
            if failure:
                self._failed(method, failure)
            raise
        if answer.status >= 400:
            self._failed(method, f"http_error.{answer.status}")
        return answer

    async def patch(self, *path: str, body: Any) -> HttpResponse:
        """PATCH JSON; the same again does no harm. Raises Unavailable, or Unknown."""
        return await self._exchange("PATCH", self._base.child(*path), body, _always)

    async def _exchange(
        self, method: str, url: DecodedURL, body: Any, begin: Callable[[], bool]
    ) -> HttpResponse:
        gate = Gate(pool=self._pool, begin=begin)
        agent: Any = Agent(self._reactor, pool=gate)
        client = HTTPClient(agent)
        headers = dict(self._headers)
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
            # A lone surrogate has no UTF-8, but its backslash form is its escape in JSON.
            data = BytesProducer(data=text.encode("utf-8", "backslashreplace"))
        request = client.request(
            method, url, headers=headers, data=data, unbuffered=True, allow_redirects=False
        )
        work = Deferred.fromCoroutine(_complete(request, gate))
        began_at = self._reactor.seconds()
        try:
            return await work.addTimeout(self._timeout.total_seconds(), self._reactor, _late)
        except HeldBack:
            raise
        except Exception as error:
            if not gate.begun or isinstance(error, RequestNotSent):
                raise Unavailable(_reason(error)) from error
            if isinstance(error, AnswerTooLong):
                raise
            if isinstance(_cause(error), CancelledError) or self._was_stopped(began_at):
                raise Unknown(_reason(error), may_be_theirs=False) from error
            if isinstance(error, ResponseNeverReceived):
                raise ConnectionDropped(_reason(error)) from error
            raise Unknown(_reason(error)) from error

    def _was_stopped(self, began_at: float) -> bool:
        """Whether this process was stopped during an exchange: its end is seen after the deadline.

        Then what it sees is the trace of its own absence, and says nothing about the other side.
        """
        elapsed = self._reactor.seconds() - began_at
        return bool(elapsed > self._timeout.total_seconds() + LATE_SECONDS)


class ConnectionDropped(Unknown):
    """The connection ended before any answer: mostly one that was kept alive too long."""


class TooLong(Faulty):
    """The same, to a question."""


def _always() -> bool:
    return True


async def _complete(request: Deferred[Any], gate: Gate) -> HttpResponse:
    response = await request
    body = await read_body(response, gate.connection.abort_at_once)
    return HttpResponse(status=response.code, headers=response.headers, body=body)


def _late(outcome: Any, seconds: float) -> Any:
    """The deadline came; what Twisted calls it depends on how far the exchange was."""
    if isinstance(outcome, Failure):
        raise TimeoutError(f"no whole answer within {seconds:g} s")
    return outcome


def _cause(error: BaseException) -> BaseException:
    causes = getattr(error, "reasons", None)
    if causes and isinstance(causes[0], Failure) and causes[0].value is not None:
        return causes[0].value
    return error


def _failure(error: Failed) -> str:
    """What kind of failure it was; empty if it was our own doing."""
    if isinstance(error, (HeldBack, AnswerTooLong)) or error.__cause__ is None:
        return ""
    cause = _cause(error.__cause__)
    if isinstance(cause, CancelledError):
        return ""
    return "timeout" if isinstance(cause, TimeoutError) else "connection_error"


def _reason(error: BaseException) -> str:
    cause = _cause(error)
    return f"{type(cause).__name__}: {cause}".rstrip(": ")
