"""The scheme, host and port that the client uses; absolute URLs are built from them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from attrs import frozen
from twisted.web.http_headers import Headers
from twisted.web.server import Request

from sbm.web.http.http_errors import Malformed

# Labels of up to 63 characters with dots between them, and perhaps a dot at the end.
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"(?=.{{1,254}}\Z){_LABEL}(\.{_LABEL})*\.?", re.IGNORECASE)
_HOST = re.compile(r"(?P<name>[a-z0-9._-]+|\[[a-f0-9:.]+\])(:(?P<port>[0-9]{1,5}))?", re.IGNORECASE)

_USUAL_PORTS = {"http": "80", "https": "443"}

_ABSOLUTE = re.compile(rb"(https?)://([^/?#]*)", re.IGNORECASE)


Network = IPv4Network | IPv6Network


@frozen
class Proxies:
    """The proxies whose X-Forwarded headers are trusted.

    If several proxies wrote to a header, the last value counts: it comes from the nearest proxy.
    The values before it may come from any client.
    """

    networks: Sequence[Network] = ()

    def origin(self, request: Request) -> str:
        """Scheme and host as the client wrote them; raises Malformed.

        They are in the Host header, unless a trusted proxy sends X-Forwarded-Host, -Proto and
        -Port. If X-Forwarded-Host has a port, X-Forwarded-Port is ignored.
        """
        scheme = "https" if request.isSecure() else "http"
        host = _host(request)
        if not self._trust(request):
            return f"{scheme}://{host}"
        scheme = (_forwarded(request, "Proto") or scheme).lower()
        if scheme not in _USUAL_PORTS:
            raise _invalid("X-Forwarded-Proto")
        given = _forwarded(request, "Host")
        port = _forwarded(request, "Port")
        if given:
            host = _checked(given, "X-Forwarded-Host")
        if port and not (given and _port_of(host)):
            host = _with_port(host, port, scheme)
        return f"{scheme}://{host}"

    def address(self, request: Request) -> str:
        """The address of the client: the last one in X-Forwarded-For that is no trusted proxy.

        It is that of the connection if a stranger has sent the request. It is empty if it is not
        known: behind a Unix socket, or a proxy that does not tell it.
        """
        address = _peer(request)
        lines = request.requestHeaders.getRawHeaders(b"x-forwarded-for", [])
        before = b",".join(lines).decode("latin-1").split(",") if self.trusts(address) else []
        while before and self.trusts(address):
            address = before.pop().strip()
        return "" if self.trusts(address) else str(parsed_address(address) or "")

    def _trust(self, request: Request) -> bool:
        return self.trusts(_peer(request))

    def trusts(self, text: str) -> bool:
        """Whether this address is that of a trusted proxy."""
        if not self.networks:
            return False
        address = parsed_address(text)
        return address is not None and any(address in network for network in self.networks)


def _peer(request: Request) -> str:
    return str(getattr(request.getClientAddress(), "host", None) or "")


def parsed_address(text: str) -> IPv4Address | IPv6Address | None:
    """The address of a host, if it has one: a Unix socket has none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _host(request: Request) -> str:
    hosts = request.requestHeaders.getRawHeaders(b"host", [])
    if not hosts:  # HTTP/1.0
        address = request.getHost()
        name = f"[{address.host}]" if ":" in address.host else address.host
        return f"{name}:{address.port}"
    if len(hosts) > 1:
        raise _invalid("Host")
    return _checked(hosts[0].decode("latin-1"), "Host")


def fault_of_host(headers: Headers, *, is_needed: bool) -> str:
    """The error of the Host header, which HTTP/1.1 requires; empty if it is valid."""
    hosts = headers.getRawHeaders(b"host", [])
    if not hosts:
        return "The Host header is missing." if is_needed else ""
    if len(hosts) == 1 and is_host(hosts[0].decode("latin-1")):
        return ""
    return "Invalid Host header."


@lru_cache(maxsize=256)  # almost all requests have the same few
def is_host(text: str) -> bool:
    """Whether this is the name or the address of a host, perhaps with a port."""
    match = _HOST.fullmatch(text)
    if match is None or not 0 < int(match["port"] or 1) <= 65535:
        return False
    name = match["name"]
    if not name.startswith("["):
        return _NAME.fullmatch(name) is not None
    try:
        IPv6Address(name[1:-1])
    except ValueError:
        return False
    return True


def fault_of_target(target: bytes, headers: Headers) -> str:
    """The error of a target that is a whole URL: its host is another one than that of Host."""
    match = _ABSOLUTE.match(target)
    if match is None:
        return ""
    scheme, host = (part.decode("latin-1").lower() for part in match.groups())
    told = [one.decode("latin-1").lower() for one in headers.getRawHeaders(b"host", [])]
    if [_without_usual_port(one, scheme) for one in told] == [_without_usual_port(host, scheme)]:
        return ""
    return "The host of the target is not that of the Host header."


def _without_usual_port(host: str, scheme: str) -> str:
    return host.removesuffix(f":{_USUAL_PORTS[scheme]}")


def _checked(host: str, header: str) -> str:
    if not is_host(host):
        raise _invalid(header)
    return host


def _port_of(host: str) -> str | None:
    match = _HOST.fullmatch(host)
    return match["port"] if match else None


def _with_port(host: str, port: str, scheme: str) -> str:
    """The host with this port; the default port of the scheme is left out."""
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) <= 65535:
        raise _invalid("X-Forwarded-Port")
    match = _HOST.fullmatch(host)
    name = match["name"] if match else host
    return name if port == _USUAL_PORTS[scheme] else f"{name}:{port}"


def _forwarded(request: Request, what: str) -> str:
    name = f"x-forwarded-{what}".encode("ascii")
    values = request.requestHeaders.getRawHeaders(name, [])
    return values[-1].rpartition(b",")[2].strip().decode("latin-1") if values else ""


def _invalid(header: str) -> Malformed:
    return Malformed(f"Invalid {header} header.", kind="host")
