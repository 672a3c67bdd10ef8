"""The cookies of the console: of the session, and of the chosen language."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from twisted.web.server import Request

# A browser accepts the prefix only from https, with Secure, Path=/ and no Domain: so no other host
# can set this cookie.
_SECURE = b"__Host-sbm"
# Over plain http, only on this machine.
_LOCAL = b"sbm-local"
_LANGUAGE = b"sbm-language"

_YEAR = 365 * 86400


def is_private(origin: str) -> bool:
    """Whether nobody else can read what this origin sends: https, or plain http on this machine."""
    parts = urlsplit(origin)
    if parts.scheme == "https":
        return True
    if parts.hostname == "localhost":
        return True
    try:
        return ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def session_of(request: Request, origin: str) -> str | None:
    """The secret of the session, if the browser sends one."""
    return _text(request.getCookie(_name(origin)))


def begin_session(request: Request, origin: str, secret: str) -> None:
    """Let the browser keep the secret of a session until it is closed."""
    _set(request, _name(origin), secret, origin, path="/", http_only=True)


def end_session(request: Request, origin: str) -> None:
    """Let the browser forget the session."""
    _set(request, _name(origin), "", origin, path="/", http_only=True, seconds=0)


def language_of(request: Request) -> str | None:
    """The language that was chosen, if the browser sends one."""
    return _text(request.getCookie(_LANGUAGE))


def choose_language(request: Request, origin: str, language: str) -> None:
    """Let the browser keep a language for a year."""
    _set(request, _LANGUAGE, language, origin, path="/console", http_only=True, seconds=_YEAR)


def _name(origin: str) -> bytes:
    return _SECURE if origin.startswith("https:") else _LOCAL


def _text(cookie: bytes | None) -> str | None:
    return None if cookie is None else cookie.decode("ascii", "replace")


def _set(
    request: Request,
    name: bytes,
    value: str,
    origin: str,
    *,
    path: str,
    http_only: bool,
    seconds: int | None = None,
) -> None:
    request.addCookie(
        name,
        value,
        path=path,
        httpOnly=http_only,
        secure=origin.startswith("https:"),
        sameSite="lax",
        max_age=None if seconds is None else str(seconds),
    )
