"""The lines that the sandbox writes on the terminal, and their colours."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TextIO

from attrs import define, evolve, frozen
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText
from zope.interface import implementer

_COLOURS = {
    "": "",
    "title": "1",
    "dim": "2",
    "number": "36",
    "set": "32",
    "new": "34",
    "end": "35",
    "good": "1;32",
    "warning": "33",
    "error": "31",
}

_ELLIPSIS = "..."

Span = tuple[str, str]


@frozen(kw_only=True)
class Line:
    """One line for a person: pieces of (style, text), which is cut if it is too long.

    ``str`` gives the whole line in plain text, which is written to the log file. A line of a
    ``block`` is not cut, and has no time before it.
    """

    spans: tuple[Span, ...]
    block: bool = False

    @classmethod
    def of(cls, *pieces: str | Span) -> Line:
        """A line of pieces; a text alone has no style."""
        return cls(spans=()).and_then(*pieces)

    def and_then(self, *pieces: str | Span) -> Line:
        """The same line with more at its end."""
        spans = tuple(("", piece) if isinstance(piece, str) else piece for piece in pieces)
        return evolve(self, spans=self.spans + spans)

    def __str__(self) -> str:
        return "".join(text for _, text in self.spans)


@implementer(ILogObserver)
@define(eq=False, kw_only=True)
class Terminal:
    """Shows the events that carry a ``line``, and every warning and error in full."""

    stream: TextIO
    colours: bool
    width: Callable[[], int]

    def __call__(self, event: LogEvent) -> None:
        """Show an event, if it has a line, or is a warning or an error."""
        line = event.get("line")
        moment = datetime.fromtimestamp(event["log_time"]).strftime("%H:%M:%S  ")  # noqa: DTZ006
        if isinstance(line, Line):
            self._write(self._shown(line, moment))
        elif _is_alarming(event):
            style = "warning" if event["log_level"] is LogLevel.warn else "error"
            text = eventAsText(event, includeTimestamp=False, includeSystem=False)
            self._write(self._painted(style, moment + text.rstrip()))

    def _shown(self, line: Line, moment: str) -> str:
        if line.block:
            return "".join(self._painted(*span) for span in line.spans)
        room = self.width() - len(moment)
        shown = [self._painted("dim", moment)]
        for style, text in line.spans:
            printable = "".join(one if one.isprintable() else " " for one in text)
            fitting = printable
            if len(printable) > room:
                fitting = printable[: max(room - len(_ELLIPSIS), 0)] + _ELLIPSIS
            shown.append(self._painted(style, fitting))
            room -= len(printable)
            if room <= 0:
                break
        return "".join(shown)

    def _painted(self, style: str, text: str) -> str:
        code = _COLOURS[style]
        return f"\x1b[{code}m{text}\x1b[0m" if self.colours and code else text

    def _write(self, text: str) -> None:
        encoding = self.stream.encoding or "ascii"
        self.stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        self.stream.flush()


def _is_alarming(event: dict[str, Any]) -> bool:
    level, failure = event.get("log_level"), event.get("log_failure")
    if failure is not None and failure.check(ReactorNotRunning):
        return False  # Ctrl-C, pressed a second time
    return level in (LogLevel.warn, LogLevel.error, LogLevel.critical)
