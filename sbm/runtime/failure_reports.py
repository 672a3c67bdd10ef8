"""What is reported of a failure: its type and its place, and no value that the program handled.

Identities, addresses, texts and tokens can stand in the message of an exception (psycopg2 quotes a
row), in local variables, and in the values of a log line. So none of these is ever copied.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from itertools import islice
from traceback import walk_tb
from types import FrameType
from typing import Any

from attrs import define, field, frozen
from twisted.logger import LogEvent, LogLevel

from sbm.runtime.already_logged import AlreadyLogged

# The same failure is reported no more often, and no more reports are made in this time.
WINDOW_SECONDS = 60.0
MOST_IN_WINDOW = 10

# Of an endless recursion, the last calls are enough.
_MOST_FRAMES = 50
# An error, and those that caused it.
_MOST_ERRORS = 5

_PACKAGE = "sbm"


def is_unexpected(event: LogEvent) -> bool:
    """Whether an event of the log shows a defect, and not a trouble that is part of the work."""
    if event.get("log_level") is not LogLevel.critical:
        return False
    failure = event.get("log_failure")
    return failure is None or failure.check(AlreadyLogged) is None


@frozen(kw_only=True)
class Place:
    """A line of a function that was under way."""

    module: str
    function: str
    file: str
    line: int

    @classmethod
    def of(cls, frame: FrameType, line: int) -> Place:
        module = str(frame.f_globals.get("__name__", ""))
        code = frame.f_code
        return cls(
            module=module,
            function=code.co_name,
            file=_inside_of_packages(code.co_filename, module),
            line=line,
        )

    def payload(self) -> dict[str, Any]:
        return {
            "module": self.module,
            "function": self.function,
            "filename": self.file,
            "lineno": self.line,
            "in_app": _is_ours(self.module),
        }


@frozen(kw_only=True)
class Raised:
    """An exception: its type and where it was raised; ``code`` is its SQLSTATE or its errno."""

    module: str
    type: str
    code: str
    places: tuple[Place, ...]

    @classmethod
    def of(cls, error: BaseException, traceback: Any) -> Raised:
        walked = list(walk_tb(traceback))[-_MOST_FRAMES:]
        return cls(
            module=type(error).__module__,
            type=type(error).__qualname__,
            code=_code(error),
            places=tuple(Place.of(frame, line) for frame, line in walked),
        )

    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = {"module": self.module, "type": self.type}
        if self.code:
            payload["value"] = self.code
        if self.places:
            payload["stacktrace"] = {"frames": [place.payload() for place in self.places]}
        return payload


@frozen(kw_only=True)
class FailureReport:
    """A failure as it is reported; two reports are equal if they have the same type and place.

    ``template`` is the text of the log line before any value is filled in. Only ours are known to
    be free of values: for the log lines of other packages, it is empty. ``raised`` begins with the
    error that was logged, and goes on with its causes.
    """

    logger: str
    template: str
    raised: tuple[Raised, ...]

    @classmethod
    def of(cls, event: LogEvent) -> FailureReport:
        logger = str(event.get("log_namespace", ""))
        failure = event.get("log_failure")
        return cls(
            logger=logger,
            template=str(event.get("log_format") or "") if _is_ours(logger) else "",
            raised=() if failure is None else tuple(_raised(failure)),
        )

    def payload(self) -> dict[str, Any]:
        """The same as the attributes of an event of Sentry."""
        payload: dict[str, Any] = {"level": "error", "logger": self.logger}
        if self.template:
            payload["logentry"] = {"message": self.template}
        if self.raised:
            # Sentry wants the first cause first.
            payload["exception"] = {"values": [one.payload() for one in reversed(self.raised)]}
        return payload


@define(eq=False, kw_only=True)
class ReportLimit:
    """Limits how many reports are made; ``seconds`` is a clock that is never set.

    ``left_out`` counts the reports that were not made since the last one that was.
    """

    _seconds: Callable[[], float]
    left_out: int = field(default=0, init=False)
    _made: dict[FailureReport, float] = field(factory=dict, init=False)

    def admits(self, report: FailureReport) -> bool:
        """Whether this report may be made now; if not, it is counted."""
        now = self._seconds()
        made = {one: at for one, at in self._made.items() if now - at < WINDOW_SECONDS}
        self._made = made
        if report in made or len(made) >= MOST_IN_WINDOW:
            self.left_out += 1
            return False
        made[report] = now
        return True


def _raised(failure: Any) -> Iterator[Raised]:
    yield Raised.of(failure.value, failure.getTracebackObject())
    for error in islice(_causes(failure.value), _MOST_ERRORS - 1):
        yield Raised.of(error, error.__traceback__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    while True:
        context = None if error.__suppress_context__ else error.__context__
        cause = error.__cause__ or context
        if cause is None:
            return
        yield cause
        error = cause


def _code(error: BaseException) -> str:
    """The standard code of an error of PostgreSQL or of the system, which holds no value."""
    sqlstate = getattr(error, "pgcode", None)
    if isinstance(sqlstate, str) and re.fullmatch(r"[0-9A-Z]{5}", sqlstate):
        return f"SQLSTATE {sqlstate}"
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode.get(error.errno, "")
    return ""


def _inside_of_packages(path: str, module: str) -> str:
    """The path below the folder of all packages: that folder is a matter of the machine."""
    parts = path.split("/")
    depth = module.count(".") + (2 if parts[-1] == "__init__.py" else 1)
    return "/".join(parts[-depth:])


def _is_ours(module: str) -> bool:
    return module == _PACKAGE or module.startswith(f"{_PACKAGE}.")
