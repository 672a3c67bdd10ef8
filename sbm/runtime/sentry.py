"""Reports failures to Sentry; it needs sentry-sdk, which the extra ``sentry`` installs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from attrs import define, field
from sentry_sdk import Client
from sentry_sdk.transport import HttpTransport
from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.logger import ILogObserver, LogEvent, Logger, LogPublisher, globalLogPublisher
from zope.interface import implementer

from sbm.runtime.failure_reports import FailureReport, ReportLimit, is_unexpected
from sbm.runtime.threads import in_thread

# Reports that wait for the SDK's thread. If Sentry is slow, more are dropped, and that is logged.
QUEUE_SIZE = 20

# How long stopping may wait for reports on their way.
FLUSH_SECONDS = 2.0
# A thread of the pool may have to become free first.
_THREAD_SECONDS = 0.5


@implementer(ILogObserver)
@define(eq=False, slots=False, kw_only=True)
class Sentry(Service):
    """Observes the log, and reports each failure that shows a defect.

    A report is made by the thread that logs, in about a millisecond, and the SDK's own thread sends
    it. ``tags`` and ``release`` are part of each report. Stopping waits for reports on their way,
    in another thread, for ``FLUSH_SECONDS`` at most.
    """

    _reactor: Any
    _dsn: str = field(repr=False)
    _release: str
    _tags: Mapping[str, str]
    _publisher: LogPublisher = field(default=globalLogPublisher)
    _seconds: Callable[[], float] = field(default=time.monotonic)
    _log: Logger = field(factory=Logger)

    def __attrs_post_init__(self) -> None:
        self._limit = ReportLimit(seconds=self._seconds)
        # Threads log, too.
        self._lock = Lock()
        self._client: Client | None = None
        self._has_reported = False

    def startService(self) -> None:
        Service.startService(self)
        self._client = _client(self._dsn, release=self._release, dropped=self._dropped)
        self._publisher.addObserver(self)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        self._publisher.removeObserver(self)
        return Deferred.fromCoroutine(self._flush())

    def __call__(self, event: LogEvent) -> None:
        if not is_unexpected(event):
            return
        report = FailureReport.of(event)
        with self._lock:
            if not self._limit.admits(report):
                return
            left_out, self._limit.left_out = self._limit.left_out, 0
            self._has_reported = True
        if self._client is not None:
            event_of_sentry: Any = report.payload()
            event_of_sentry |= {"tags": dict(self._tags), "extra": {"left_out": left_out}}
            self._client.capture_event(event_of_sentry)

    async def _flush(self) -> None:
        if self._limit.left_out:
            self._log.warn(
                "failures that were not reported to Sentry, because there were too many: {count}",
                count=self._limit.left_out,
            )
        client, self._client = self._client, None
        if client is None or not self._has_reported:
            return  # the SDK has no thread yet, and would begin one
        closing = in_thread(self._reactor, self._close, client)
        closing.addTimeout(FLUSH_SECONDS + _THREAD_SECONDS, self._reactor)
        try:
            is_done = await closing
        except TimeoutError:
            is_done = False
        if not is_done:
            self._log.warn("Sentry did not accept the last reports in time")

    def _close(self, client: Client) -> bool:
        """Wait for the reports on their way; returns whether the wait ended before its limit."""
        end = self._seconds() + FLUSH_SECONDS
        client.close(timeout=FLUSH_SECONDS)
        return self._seconds() < end

    def _dropped(self, reason: str) -> None:
        """The SDK has given up a report, in one of several threads."""
        self._reactor.callFromThread(
            self._log.warn, "a report could not be sent to Sentry: {reason}", reason=reason
        )


def _client(dsn: str, *, release: str, dropped: Callable[[str], None]) -> Client:
    """A client of the SDK that changes nothing in this process, and adds no data of its own.

    It is not made the client of the process (``sentry_sdk.init``), and has no integrations: the SDK
    sees only the events that it is given.
    """

    class Transport(HttpTransport):
        def on_dropped_event(self, _reason: str) -> None:
            dropped(_reason)

    return Client(
        dsn=dsn,
        release=release,
        # Without a name, the SDK would look up that of the machine, which is among the tags.
        server_name="",
        transport=Transport,
        transport_queue_size=QUEUE_SIZE,
        default_integrations=False,
        auto_enabling_integrations=False,
        auto_session_tracking=False,
        include_local_variables=False,
        include_source_context=False,
        max_breadcrumbs=0,
        send_client_reports=False,
        enable_backpressure_handling=False,
        spotlight=False,
        debug=False,
    )
