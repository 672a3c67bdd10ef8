"""HTTP with other services: one deadline for each request, and whether it was begun."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from attrs import define, field
from hyperlink import DecodedURL
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError  # noqa: A004
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from sbm.clients.http_agent import HttpAgent, PreparedBody, PreparedHeaders
from sbm.clients.http_connection import MAX_BODY_BYTES, NotBegun
from sbm.clients.outcomes import (
    AnswerTooLong,
    Failed,
    Faulty,
    HeldBack,
    OutcomeUnknown,
    Unanswered,
    Unavailable,
)
from sbm.clients.prepared_client import PreparedClient, PreparedResponse
from sbm.model.durations import RequestTimeout
from sbm.model.json_values import has_more_values
from sbm.model.text import one_line
from sbm.runtime.deadlines import Deadlines
from sbm.settings.endpoints import MetricsAddress, ServiceAddress

# How late a busy process may end a request whose deadline has passed.
LATE_SECONDS = 2.0

# The longest answers: about one thing, such as an address, and of a page of a list. What is posted
# comes back in the answer, and may be written in another way.
ONE_BYTES = 64 * 1024
PAGE_BYTES = MAX_BODY_BYTES
_TIMES_POSTED = 4

# An answer of so many bytes may have one value more. That is 1,024 for one thing, whose metadata
# has up to 1,000, and 65 for each of 1,000 outbounds of a page.
_BYTES_OF_A_VALUE = 64

_LONGEST_HEADER = 100

# So much of an answer is quoted in a reason.
_QUOTED = 200

# Shorter than the services keep a connection (gunicorn 2 s): if a service closes a connection just
# when a POST begins, the outcome of the POST is unknown.
KEEP_ALIVE_SECONDS = 1.5


@define(eq=False, kw_only=True)
class HttpResponse:
    """A complete answer: treq's response, and its whole body. That of an error may be cut."""

    _response: PreparedResponse
    status: int
    body: bytes

    def json(self) -> Any:
        """The body as JSON; raises ValueError."""
        if self._response.encoding:
            raise ValueError(f"it is encoded in {one_line(self._response.encoding, most=20)}")
        try:
            try:
                return _from_json(self.body.decode())
            except ValueError:
                return json.loads(self.body)  # which knows byte order marks and other encodings
        except RecursionError:
            raise ValueError("nested too deeply") from None

    @property
    def retry_after(self) -> timedelta | None:
        """The delay in ``Retry-After``, in seconds or as a time of the service's clock."""
        text = self._header("Retry-After")
        if text.isdecimal():
            return timedelta(seconds=int(text)) if len(text) < 7 else None
        until = _http_date(text)
        now = _http_date(self._header("Date")) or datetime.now(timezone.utc)
        return max(until - now, timedelta(0)) if until is not None else None

    def _header(self, name: str) -> str:
        text: str = self._response.headers.getRawHeaders(name, [""])[-1]
        return text.strip()[:_LONGEST_HEADER]

    @property
    def asks_to_slow_down(self) -> bool:
        """Whether it asks all clients to send less or to wait; one request is never the cause."""
        return self.status == 429 or (self.status == 503 and self.retry_after is not None)

    def summary(self) -> str:
        """Status and the beginning of the body on one line, for a reason that people read."""
        if self._response.encoding:
            return f"{self.status}, encoded in {one_line(self._response.encoding, most=20)}"
        text = self.body[: 4 * _QUOTED].decode("utf-8", "replace")
        return f"{self.status} {one_line(text, most=_QUOTED)}".strip()


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)


_from_json = json.JSONDecoder().decode
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

# Answers after which the request surely had no effect: it was refused before it was read.
TURNED_AWAY = frozenset({401, 403, 404, 405})

# The request was understood, and it is wrong itself.
REFUSALS = frozenset({400, 413, 415, 422})

# Answers whose cause is mostly the service, and not the thing that it was asked about.
AWAY = TURNED_AWAY | {429, 503}

_HINTS = {401: "is its token right?", 403: "is its token right?"} | dict.fromkeys(
    (404, 405), "is its address right?"
)


def unavailable(service: str, answer: HttpResponse) -> Unavailable:
    """The error for an answer whose cause is the service; the call surely had no effect."""
    return Unavailable(
        answered(service, answer), answer.retry_after, at_once=True, hint=hint_of(answer)
    )


def faulty(service: str, answer: HttpResponse) -> Faulty:
    """The error for an answer whose cause may be the thing that the service was asked about."""
    return Faulty(answered(service, answer), hint=hint_of(answer))


def answered(service: str, answer: HttpResponse) -> str:
    """An answer as a reason that people read."""
    return f"{service} answered {answer.summary()}"


def hint_of(answer: HttpResponse) -> str:
    """A question to the operator, for the case that all calls are answered like this."""
    return _HINTS.get(answer.status, "")


def _ignore_failure(_method: str, _failure: str) -> None:
    """Do not count failures."""


def _ignore_refusal(_kind: str) -> None:
    """Do not count refused answers."""


def _ignore_time(_seconds: float) -> None:
    """Do not note how long answers take."""


@define(eq=False, slots=False, kw_only=True)
class ServiceClient(Service):
    """HTTP with one service, with its address and our authorization.

    ``timeout`` is one deadline for connecting, the request and the body together; at the deadline,
    the connection is aborted. At most ``connections`` are kept alive between requests. ``failed``
    is called with the method of each GET or POST that failed, and with ``http_error.<status>``,
    ``timeout`` or ``connection_error``. ``refused`` is called with the limit that an answer
    exceeds; it was not read to its end. ``took`` is called with how many seconds each complete
    answer took, whatever its status.
    """

    reactor: Any
    _address: ServiceAddress | MetricsAddress
    _timeout: RequestTimeout
    _connections: int = 50
    _failed: Callable[[str, str], None] = _ignore_failure
    refused: Callable[[str], None] = _ignore_refusal
    _took: Callable[[float], None] = _ignore_time
    _agent: HttpAgent = field(init=False)
    _client: PreparedClient = field(init=False)
    _deadlines: Deadlines = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._deadlines = Deadlines(reactor=self.reactor, patience=self._timeout)
        self._agent = HttpAgent(
            reactor=self.reactor, connections=self._connections, keep_alive=KEEP_ALIVE_SECONDS
        )
        self._client = PreparedClient(self._agent)
        # Without a slash at its end. The host is in ASCII after this.
        self._base = DecodedURL.from_text(self._address.url).to_uri().to_text().rstrip("/")
        headers = {"Accept": ["application/json"], "Accept-Encoding": ["identity"]}
        if self._address.authorization:
            headers["Authorization"] = [self._address.authorization]
        self._headers = PreparedHeaders(headers)
        self._json_headers = PreparedHeaders({**headers, "Content-Type": ["application/json"]})

    def stopService(self) -> Deferred[None]:
        """Close the connections that are kept alive."""
        Service.stopService(self)
        # The caller gets another Deferred than the agent's. If it cancels that one because it
        # cannot wait any longer, the connections still close.
        closed: Deferred[None] = Deferred()
        self._agent.close().chainDeferred(closed)
        return closed

    async def get(
        self,
        *path: str,
        query: tuple[tuple[str, str], ...] = (),
        most_bytes: int = ONE_BYTES,
    ) -> HttpResponse:
        """GET ``<url>/<path>``; each part of the path is quoted.

        The body has ``most_bytes`` at most. Raises Unavailable; its subclasses TooLong or
        Unanswered if this request may be the cause.
        """
        try:
            return await self._counted("GET", self._url(path, query), most_bytes=most_bytes)
        except AnswerTooLong as error:
            raise TooLong(str(error)) from error
        except OutcomeUnknown as error:  # a GET has no effect
            kind = Unanswered if error.may_be_theirs else Unavailable
            raise kind(str(error)) from error

    def target(self, *path: str, query: tuple[tuple[str, str], ...] = ()) -> str:
        """The path and query in the first line of such a request."""
        url = self._url(path, query)
        return url[url.index("/", len("https://")) :]

    async def post(
        self, *path: str, body: Any, begin: Callable[[], bool] | None = None
    ) -> HttpResponse:
        """POST JSON, if ``begin()`` returns true at the moment when there is a connection.

        ``body`` is a value, or bytes that are JSON already. Raises Unavailable if the request
        was surely not begun, else Unknown.
        """
        data = _json(body, begin or _always)
        return await self._counted("POST", self._url(path), data, most_bytes=_most_bytes(data))

    async def patch(self, *path: str, body: Any) -> HttpResponse:
        """PATCH JSON; it can be repeated. Raises Unavailable or Unknown."""
        data = _json(body, _always)
        return await self._request("PATCH", self._url(path), data, most_bytes=_most_bytes(data))

    def _url(self, path: tuple[str, ...], query: tuple[tuple[str, str], ...] = ()) -> str:
        url = "/".join((self._base, *map(_quoted, path)))
        return f"{url}?{_encoded(query)}" if query else url

    async def _counted(
        self, method: str, url: str, body: PreparedBody | None = None, *, most_bytes: int
    ) -> HttpResponse:
        """The answer to a request; failures are reported to ``failed``."""
        try:
            try:
                answer = await self._request(method, url, body, most_bytes=most_bytes)
            except ConnectionDropped:
                if method != "GET":
                    raise
                answer = await self._request(method, url, body, most_bytes=most_bytes)
        except Failed as error:
            failure = _failure(error)
            if failure:
                self._failed(method, failure)
            raise
        if answer.status >= 400:
            self._failed(method, f"http_error.{answer.status}")
        return answer

    async def _request(
        self, method: str, url: str, body: PreparedBody | None, *, most_bytes: int
    ) -> HttpResponse:
        headers = self._headers if body is None else self._json_headers
        began_at = self.reactor.seconds()
        request = self._client.request(
            method, url, headers=headers, data=body, most_bytes=most_bytes
        )
        self._deadlines.add(request)
        try:
            try:
                response = await request
            finally:
                is_in_time = self._deadlines.remove(request)
            if response.code < 300:
                _check_values(response.body, most_bytes // _BYTES_OF_A_VALUE)
        except (NotBegun, ResponseFailed) as error:
            if isinstance(error, NotBegun) and isinstance(error.reason, HeldBack):
                raise error.reason from None
            cause = error if is_in_time else self._too_late(error)
            raise self._error_for(cause, began_at) from cause
        except AnswerTooLong as error:
            self.refused(error.kind)
            raise
        self._took(self.reactor.seconds() - began_at)
        return HttpResponse(response=response, status=response.code, body=response.body)

    def _error_for(self, error: NotBegun | ResponseFailed, began_at: float) -> Failed:
        """The error for the callers of a request that got no whole answer."""
        if isinstance(error, NotBegun):
            return Unavailable(_reason(error))
        if isinstance(_cause(error), CancelledError) or self._was_stopped(began_at):
            return OutcomeUnknown(_reason(error), may_be_theirs=False)
        if isinstance(error, ResponseNeverReceived):
            return ConnectionDropped(_reason(error))
        return OutcomeUnknown(_reason(error))

    def _too_late(self, error: NotBegun | ResponseFailed) -> NotBegun | ResponseFailed:
        """The failure of a request that was cancelled at its deadline."""
        late = TimeoutError(f"no complete answer within {self._timeout.total_seconds():g} s")
        return NotBegun(late) if isinstance(error, NotBegun) else ResponseFailed([Failure(late)])

    def _was_stopped(self, began_at: float) -> bool:
        """Whether this process was stopped during a request, so that it ended after the deadline.

        Then the failure was caused by that, and says nothing about the service.
        """
        elapsed = self.reactor.seconds() - began_at
        return bool(elapsed > self._timeout.total_seconds() + LATE_SECONDS)


class ConnectionDropped(OutcomeUnknown):
    """The connection ended before any answer; mostly it had been kept alive too long."""


class TooLong(Faulty):
    """The answer to a GET was larger than the limit, and no error."""


def _always() -> bool:
    return True


# All parts of almost all paths are like this.
_PLAIN = re.compile(r"[\w-]*", re.ASCII)


def _quoted(part: str) -> str:
    return part if _PLAIN.fullmatch(part) else quote(part, safe="")


@lru_cache(maxsize=8)
def _encoded(query: tuple[tuple[str, str], ...]) -> str:
    return urlencode(query, safe=":", quote_via=quote)


def _json(body: Any, begin: Callable[[], bool]) -> PreparedBody:
    if not isinstance(body, bytes):
        # A lone surrogate cannot be encoded in UTF-8; its backslash form is an escape in JSON.
        body = _to_json(body).encode("utf-8", "backslashreplace")
    return PreparedBody(data=body, begin=begin)


def _most_bytes(posted: PreparedBody) -> int:
    """The longest answer to a request that stores this."""
    return min(max(ONE_BYTES, _TIMES_POSTED * posted.length), MAX_BODY_BYTES)


def _check_values(body: bytes, most: int) -> None:
    if has_more_values(body, most):
        raise AnswerTooLong(f"an answer of more than {most} values", kind="values")


def _cause(error: BaseException) -> BaseException:
    if isinstance(error, NotBegun):
        return _cause(error.reason)
    causes = getattr(error, "reasons", None)
    if causes and isinstance(causes[0], Failure) and causes[0].value is not None:
        return causes[0].value
    return error


def _failure(error: Failed) -> str:
    """The kind of a failure; empty if we caused it ourselves."""
    if isinstance(error, (HeldBack, AnswerTooLong)) or error.__cause__ is None:
        return ""
    cause = _cause(error.__cause__)
    if isinstance(cause, CancelledError):
        return ""
    return "timeout" if isinstance(cause, TimeoutError) else "connection_error"


def _reason(error: BaseException) -> str:
    cause = _cause(error)
    return one_line(f"{type(cause).__name__}: {cause}".rstrip(": "), most=300)
