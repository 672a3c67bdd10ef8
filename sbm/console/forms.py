"""Forms of the console: which site a request comes from, and the secret that each form carries."""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from twisted.web.server import Request

_BYTES = 32


def is_from_here(request: Request, origin: str) -> bool:
    """Whether a page of this service has made the request, as far as the browser says.

    All present browsers send Sec-Fetch-Site. Older ones send at least the Origin of a POST.
    """
    site = request.getHeader("sec-fetch-site")
    if site is not None:
        return bool(site == "same-origin")
    told = request.getHeader("origin")
    return told is None or told == origin


def secret_of(session: str) -> bytes:
    """The secret in the forms of a session. It says nothing about the cookie of the session."""
    return hmac.digest(session.encode("utf-8"), b"forms of the console", sha256)


def masked(secret: bytes) -> str:
    """The secret for one form. It looks different in each: compression tells nothing about it."""
    mask = secrets.token_bytes(_BYTES)
    return urlsafe_b64encode(mask + _mixed(secret, mask)).decode("ascii")


def is_secret(told: str, secret: bytes) -> bool:
    """Whether a form carries this secret."""
    try:
        raw = urlsafe_b64decode(told.encode("ascii"))
    except ValueError:
        return False
    if len(raw) != 2 * _BYTES:
        return False
    return hmac.compare_digest(_mixed(raw[:_BYTES], raw[_BYTES:]), secret)


def _mixed(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
