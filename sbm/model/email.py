"""The form of e-mail addresses."""

from __future__ import annotations

import ipaddress
import re

_ATOM = r"[-!#$%&'*+/=?^_`{|}~0-9a-z]+"
_QUOTED = r'"(?:[!#-\[\]-~]|\\[ -~])*"'
_LOCAL_PART = re.compile(rf"{_ATOM}(?:\.{_ATOM})*|{_QUOTED}", re.IGNORECASE | re.ASCII)

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_TOP_LABEL = r"[a-z0-9][a-z0-9-]{0,61}[a-z0-9]"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+{_TOP_LABEL}", re.IGNORECASE | re.ASCII)
_LITERAL = re.compile(r"\[([0-9a-f:.]+)\]", re.IGNORECASE | re.ASCII)


def is_email(text: str) -> bool:
    """Whether a text has the form of an address: printable ASCII, then @, then any domain.

    A domain has at least two labels, unless it is ``localhost`` or an IP address in brackets. It
    may be an international one. The caller must limit the text to some hundred characters.
    """
    local_part, at, domain = text.rpartition("@")
    if not at or not text.isprintable() or not _LOCAL_PART.fullmatch(local_part):
        return False
    return _is_domain(domain) or _is_domain(_ascii_form(domain))


def _is_domain(domain: str) -> bool:
    if domain == "localhost" or _DOMAIN.fullmatch(domain):
        return True
    literal = _LITERAL.fullmatch(domain)
    if literal is None:
        return False
    try:
        ipaddress.ip_address(literal[1])
    except ValueError:
        return False
    return True


def _ascii_form(domain: str) -> str:
    """An international domain in the ASCII form that DNS uses; empty if there is none."""
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return ""
