"""Targets of requests: the path, and the pattern that it matches."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl

from attrs import field, frozen

# A path that never exists.
MISSING_PATH = b"/-"

# What a load balancer asks: it must hear the truth while there are too many clients.
_PROBE = re.compile(rb"/(livez|readyz)/*(\?.*)?")

_ORIGIN = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)

# Stand for an unknown path, and for a request line without a readable path.
UNKNOWN_PATH = "unknown"
NO_PATH = "none"

# A placeholder stands for one part of a path. In these paths, an id may also have several parts.
_LONG_IDS = frozenset({"/api/v1/subscriptions/{id}/send", "/api/v1/subscriptions/{id}/resend"})


def plain_target(command: bytes, path: bytes) -> bytes:
    """The path and query of a target; the target may be a whole URL, or have a fragment."""
    target = _ORIGIN.sub(b"", path, count=1) if not path.startswith(b"/") else path
    target = target.partition(b"#")[0]
    if target.startswith(b"?"):
        target = b"/" + target
    if target == b"*" and command != b"OPTIONS":
        return MISSING_PATH
    return target or b"/"


def is_probe(target: bytes) -> bool:
    """Whether a path, perhaps with a query, is that of a probe."""
    return _PROBE.fullmatch(target) is not None


@frozen
class Paths:
    """The patterns of all paths, such as ``/api/v1/schedule/{id}/``."""

    patterns: Iterable[str] = ()
    _expressions: list[tuple[re.Pattern[str], str]] = field(init=False)

    @_expressions.default
    def _compiled(self) -> list[tuple[re.Pattern[str], str]]:
        literal_first = sorted(self.patterns, key=lambda pattern: (pattern.count("{"), pattern))
        return [(_expression(pattern), pattern) for pattern in literal_first]

    def pattern_of(self, target: bytes | None) -> str:
        """The pattern that the target of a request matches; None: no target was read."""
        if target is None:
            return NO_PATH
        path = target.partition(b"?")[0].decode("ascii", "replace")
        for expression, pattern in self._expressions:
            if expression.fullmatch(path):
                return pattern
        return UNKNOWN_PATH


def _expression(pattern: str) -> re.Pattern[str]:
    part = ".+" if pattern in _LONG_IDS else "[^/]+"
    plain = re.sub(r"\\{\w+\\}", lambda _: part, re.escape(pattern.rstrip("/")))
    return re.compile(f"{plain}/?")


def parameters_of(uri: bytes) -> list[tuple[str, str]]:
    """The parameters of the query, in the order in which they came."""
    text = uri.partition(b"?")[2].decode("ascii", "replace")
    return parse_qsl(text, keep_blank_values=True, errors="replace")
