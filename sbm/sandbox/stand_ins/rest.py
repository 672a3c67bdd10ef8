"""What all stand-ins have in common: JSON, authorization, errors and pages."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from inspect import isawaitable
from itertools import islice
from typing import Any, NoReturn, Protocol, TypeVar
from urllib.parse import urlencode

from attrs import field, frozen
from klein import Klein
from twisted.python.failure import Failure
from twisted.web.server import Request
from werkzeug.exceptions import MethodNotAllowed, NotFound

from sbm.sandbox.stand_ins.json_fields import InvalidValue, instant, parsed_instant

Given = TypeVar("Given")
Route = TypeVar("Route", bound=Callable[..., Any])

# A place in a list: when the row was created, and its number, which is unique.
Position = tuple[datetime, int]


@frozen(kw_only=True)
class Response:
    """A status with a value, which is written as JSON, or with HTML; without both, no body."""

    status: int = 200
    body: Any = None
    html: str | None = None
    headers: dict[str, str] = field(factory=dict)


class Refused(Exception):
    """Ends a request with this status and JSON body."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.reply = Response(status=status, body=body, headers=headers or {})


def server_error() -> Refused:
    """The answer of a service after an internal error: an HTML page, as for a browser."""
    refused = Refused(500, None)
    refused.reply = Response(status=500, html="<h1>Server Error (500)</h1>")
    return refused


def not_found() -> Refused:
    """The answer for a row or path that does not exist."""
    return Refused(404, {"detail": "Not found."})


def new_app() -> Klein:
    """A Klein app that answers unknown paths and methods with JSON, too."""

    def unknown_path(_stand_in: object, request: Request, _failure: Failure) -> bytes:
        return _written(request, not_found().reply)

    def unknown_method(_stand_in: object, request: Request, _failure: Failure) -> bytes:
        detail = f'Method "{request.method.decode("latin-1")}" not allowed.'
        return _written(request, Response(status=405, body={"detail": detail}))

    app = Klein()
    # Any, because Klein's type of an error function requires certain parameter names.
    on_error: Any = app.handle_errors
    on_error(NotFound)(unknown_path)
    on_error(MethodNotAllowed)(unknown_method)
    return app


def route(app: Klein, method: str, path: str) -> Callable[[Route], Route]:
    """Answer ``method`` on ``path``, with and without its last slash, by the decorated function.

    The function returns a ``Reply``, or an awaitable of one, or raises ``Refused``. It is looked up
    by name for each request, so that a subclass can override it to add a fault.
    """

    def routed(function: Route) -> Route:
        name = function.__name__

        async def answer(stand_in: object, request: Request, **parts: str) -> bytes:
            try:
                _require_authorization(request)
                reply = getattr(stand_in, name)(request, **parts)
                if isawaitable(reply):
                    reply = await reply
            except Refused as refusal:
                reply = refusal.reply
            return _written(request, reply)

        app.route(path, methods=[method], endpoint=name, strict_slashes=False)(answer)
        return function

    return routed


def compact_json(value: Any) -> bytes:
    """JSON in UTF-8, without blanks."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    # A lone surrogate cannot be encoded in UTF-8; its backslash form is an escape in JSON.
    return text.encode("utf-8", "backslashreplace")


def json_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body; an empty body is ``{}``.

    Errors: ``Refused`` with 415 if its type is not JSON, with 400 if it is not an object.
    """
    assert request.content is not None
    raw = request.content.read()
    if not raw:
        return {}
    content_type = request.getHeader("content-type") or ""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        detail = f'Unsupported media type "{content_type}" in request.'
        raise Refused(415, {"detail": detail})
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(400, {"detail": f"JSON parse error - {error}"}) from None
    if value is None:
        raise Refused(400, {"non_field_errors": ["No data provided"]})
    if not isinstance(value, dict):
        kind = type(value).__name__
        message = f"Invalid data. Expected a dictionary, but got {kind}."
        raise Refused(400, {"non_field_errors": [message]})
    return value


def parsed_fields(
    given: Mapping[str, Given], parsers: Mapping[str, Callable[[Given], Any]]
) -> dict[str, Any]:
    """The values that have a parser, parsed; others are ignored.

    Errors: ``Refused`` with 400 and a message for each wrong value, by name.
    """
    parsed: dict[str, Any] = {}
    wrong: dict[str, list[str]] = {}
    for name, parse in parsers.items():
        if name in given:
            try:
                parsed[name] = parse(given[name])
            except InvalidValue as error:
                wrong[name] = [str(error)]
    if wrong:
        raise Refused(400, wrong)
    return parsed


def query(request: Request) -> dict[str, list[str]]:
    """The parameters of the URL, each with its values in order; empty values are omitted."""
    decoded = {
        name.decode("utf-8", "replace"): [v.decode("utf-8", "replace") for v in values if v]
        for name, values in (request.args or {}).items()
    }
    return {name: values for name, values in decoded.items() if values}


def collection_url(request: Request, name: str) -> str:
    """The absolute URL of a collection, from the Host header and the path of the request."""
    path = request.path.decode("ascii", "replace")
    return _origin(request) + path[: path.rindex(f"/{name}") + len(name) + 1] + "/"


@frozen(kw_only=True)
class PageCursor:
    """Where a page begins: after a position, or backwards from it; without one, at the start."""

    position: Position | None = None
    backward: bool = False


class Positioned(Protocol):
    """A row of a list with pages."""

    @property
    def position(self) -> Position:
        """Its place in the order of creation."""


ListRow = TypeVar("ListRow", bound=Positioned)


def page(
    request: Request,
    find: Callable[[PageCursor], Iterable[ListRow]],
    describe: Callable[[ListRow], dict[str, Any]],
    *,
    size: int,
) -> Response:
    """One page of at most ``size`` rows, with the absolute URLs of the next and previous pages.

    ``find`` yields the rows beyond a cursor, in the order of the list, or in the opposite order if
    the cursor goes backwards. Errors: ``Refused`` with 404 if the cursor is not one of ours.
    """
    cursor = _requested_cursor(request)
    found = list(islice(find(cursor), size + 1))
    rows, more = found[:size], len(found) > size
    if cursor.backward:
        rows.reverse()
    has_next = more or cursor.backward
    has_previous = more if cursor.backward else cursor.position is not None
    return Response(
        body={
            "next": _link(request, rows[-1], backward=False) if rows and has_next else None,
            "previous": _link(request, rows[0], backward=True) if rows and has_previous else None,
            "results": [describe(row) for row in rows],
        }
    )


def _require_authorization(request: Request) -> None:
    if not (request.getHeader("authorization") or "").strip():
        detail = "Authentication credentials were not provided."
        raise Refused(401, {"detail": detail}, {"WWW-Authenticate": 'Basic realm="api"'})


def _written(request: Request, reply: Response) -> bytes:
    request.setResponseCode(reply.status)
    for name, value in reply.headers.items():
        request.setHeader(name, value)
    if reply.html is not None:
        body, content_type = reply.html.encode(), "text/html"
    elif reply.body is not None:
        body, content_type = compact_json(reply.body), "application/json"
    else:
        return b""
    request.setHeader("Content-Type", content_type)
    request.setHeader("Content-Length", str(len(body)))
    return body


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"Out of range float values are not JSON compliant: {name!r}")


def _origin(request: Request) -> str:
    scheme = "https" if request.isSecure() else "http"
    host = request.getHeader("host") or request.getRequestHostname().decode("ascii", "replace")
    return f"{scheme}://{host}"


def _link(request: Request, row: Positioned, *, backward: bool) -> str:
    created_at, number = row.position
    way = "back" if backward else "on"
    cursor = urlsafe_b64encode(f"{way} {number} {instant(created_at)}".encode("ascii")).decode()
    pairs = [(name, value) for name, values in query(request).items() for value in values]
    kept = [pair for pair in pairs if pair[0] != "cursor"]
    path = request.path.decode("ascii", "replace")
    return f"{_origin(request)}{path}?{urlencode([('cursor', cursor), *kept])}"


def _requested_cursor(request: Request) -> PageCursor:
    given = query(request).get("cursor")
    if given is None:
        return PageCursor()
    try:
        way, number, created_at = urlsafe_b64decode(given[-1]).decode("ascii").split(" ")
        position = (parsed_instant(created_at), int(number))
    except (InvalidValue, ValueError):
        raise Refused(404, {"detail": "Invalid cursor"}) from None
    return PageCursor(position=position, backward=way == "back")
