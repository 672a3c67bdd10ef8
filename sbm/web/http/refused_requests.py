"""Count refused and interrupted requests, and log them at a bounded rate.

A client may ignore its answer, so refusals must be visible here. Labels and log lines contain
patterns of paths, our own words and field names, and the X-Request-ID of the request. Nothing else
of them comes from a client.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import define, field, frozen
from twisted.logger import Logger

from sbm.telemetry import Telemetry
from sbm.web.http.http_errors import Reason
from sbm.web.http.targets import Paths

REFUSED = "http.refused"
NOT_DONE = "http.not_done"
CUT_OFF = "http.cut_off"

# For the same path, status and reason, one line is logged at once, and then one in each such time.
LOG_SECONDS = 60.0

# The paths that other services call: these services may not report refusals. The counters are shown
# from the start, with 0: a rate needs a value before the first event.
_CALLED_BY_SERVICES = (
    "/api/v1/subscriptions/request",
    "/api/v1/subscriptions/{id}/send",
    "/api/v1/schedule/{id}/send/",
)
_EXPECTED = (
    (400, "invalid"),
    (401, "no-credentials"),
    (401, "wrong-token"),
    (503, "database"),
)


def explain(request: Any, reason: Reason) -> None:
    """Store in a request why it is refused, for the counters."""
    request.reason = reason


@define(eq=False, kw_only=True)
class Refusals:
    """Counts and logs refused requests; ``reactor`` is its clock.

    The first refusal of a kind is logged. Others of the same kind are only counted for a while;
    then a line says how many there were.
    """

    reactor: Any
    telemetry: Telemetry = field(factory=Telemetry)
    paths: Paths = field(factory=Paths)
    _windows: dict[_RefusalKind, _Window] = field(factory=dict, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def __attrs_post_init__(self) -> None:
        for path in _CALLED_BY_SERVICES:
            for status, kind in _EXPECTED:
                self.telemetry.count(REFUSED, 0, path=path, status=str(status), reason=kind)

    def refused(
        self, target: bytes | None, status: int, reason: Reason, *, request_id: str = ""
    ) -> None:
        """A request was answered with this status, which is 400 or higher."""
        path = self.paths.pattern_of(target)
        kind = reason.kind or "other"
        self.telemetry.count(REFUSED, path=path, status=str(status), reason=kind)
        defect = "" if reason.failure is None else str(reason.failure.type)
        key = _RefusalKind(path=path, status=status, reason=kind, defect=defect)
        window = self._windows.get(key)
        if window is not None:
            window.left_out += 1
            window.fields |= set(reason.fields)
            return
        self._open_window(key)
        if reason.failure is not None:
            self._log.failure(
                "a request to {path} failed: answered with {status}{request}",
                failure=reason.failure,
                path=path,
                status=status,
                request=_identified(request_id),
            )
        else:
            self._log.warn(
                "refused a request to {path}: {status}, {reason}{fields}{request}",
                path=path,
                status=status,
                reason=kind,
                fields=_listed(reason.fields),
                request=_identified(request_id),
            )

    def not_done(self, target: bytes, reason: Reason) -> None:
        """A request was answered with success, but has changed nothing."""
        path = self.paths.pattern_of(target)
        self.telemetry.count(NOT_DONE, path=path, reason=reason.kind)

    def cut_off(self, target: bytes | None, cause: str) -> None:
        """A connection was closed before its request was answered."""
        self.telemetry.count(CUT_OFF, path=self.paths.pattern_of(target), cause=cause)

    def flush(self) -> None:
        """Log the numbers of all refusals that were not logged yet, at the end."""
        for key, window in list(self._windows.items()):
            window.end.cancel()
            self._close_window(key, reopens=False)

    def _open_window(self, key: _RefusalKind) -> None:
        end = self.reactor.callLater(LOG_SECONDS, self._close_window, key)
        self._windows[key] = _Window(end=end)

    def _close_window(self, key: _RefusalKind, *, reopens: bool = True) -> None:
        window = self._windows.pop(key)
        if not window.left_out:
            return
        if reopens:
            self._open_window(key)
        self._log.warn(
            "refused {count} more requests to {path}: {status}, {reason}{fields}",
            count=window.left_out,
            path=key.path,
            status=key.status,
            reason=key.reason,
            fields=_listed(window.fields),
        )


@frozen(kw_only=True)
class _RefusalKind:
    """The path, status and reason of refusals that are logged together."""

    path: str
    status: int
    reason: str
    defect: str


@define(eq=False, kw_only=True)
class _Window:
    """How many were not logged one by one, and the fields with errors in them."""

    end: Any
    left_out: int = 0
    fields: set[str] = field(factory=set)


def _identified(request_id: str) -> str:
    return f" (request {request_id})" if request_id else ""


def _listed(fields: Iterable[str]) -> str:
    listed = ", ".join(sorted(fields))
    return f" ({listed})" if listed else ""
