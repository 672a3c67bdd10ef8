"""The address of the service as a client sees it, with and without proxies before it."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.web.test.requesthelper import DummyChannel

from sbm.web.http.http_errors import Malformed
from sbm.web.http.origin import Proxies
from sbm.web.http.request import BoundedRequest
from tests.web.conftest import Api, served
from tests.web.sockets import asked, head

PROXIES = Proxies([ip_network("10.0.0.0/8"), ip_network("::1")])
HOST = ("Host", "sbm.example.org:81")


def request(*headers: tuple[str, str], peer: Any = "10.1.2.3") -> Any:
    made = BoundedRequest(DummyChannel())
    made.client = IPv4Address("TCP", peer, 1) if isinstance(peer, str) else peer
    for name, value in headers:
        made.requestHeaders.addRawHeader(name.encode(), value.encode())
    return made


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ([], "http://sbm.example.org:81"),
        ([("Proto", "https")], "https://sbm.example.org:81"),
        ([("Proto", "HTTPS"), ("Host", "a.org")], "https://a.org"),
        ([("Host", "a.org:8443")], "http://a.org:8443"),
        ([("Host", "a.org:8443"), ("Port", "9")], "http://a.org:8443"),
        ([("Host", "a.org"), ("Port", "9")], "http://a.org:9"),
        ([("Host", "a.org"), ("Port", "80")], "http://a.org"),
        ([("Host", "a.org"), ("Port", "443"), ("Proto", "https")], "https://a.org"),
        ([("Host", "[::1]"), ("Port", "9")], "http://[::1]:9"),
        ([("Port", "443"), ("Proto", "https")], "https://sbm.example.org"),
        ([("Host", "evil.org, a.org")], "http://a.org"),
        ([("Host", "evil.org"), ("Host", "a.org")], "http://a.org"),
        ([("Host", "")], "http://sbm.example.org:81"),
    ],
)
def test_a_trusted_proxy_tells_what_the_client_asked_for(
    headers: list[tuple[str, str]], origin: str
) -> None:
    forwarded = [(f"X-Forwarded-{name}", value) for name, value in headers]
    assert PROXIES.origin(request(HOST, *forwarded)) == origin


@pytest.mark.parametrize(
    ("peer", "is_trusted"),
    [
        ("10.255.255.255", True),
        ("11.0.0.1", False),
        (IPv6Address("TCP", "::1", 1), True),
        (IPv6Address("TCP", "::2", 1), False),
        (IPv6Address("TCP", "::ffff:10.0.0.1", 1), True),
        (IPv6Address("TCP", "fe80::1%eth0", 1), False),
        (UNIXAddress(None), False),
    ],
)
def test_only_trusted_proxies_are_believed(peer: Any, is_trusted: bool) -> None:
    asked_for = request(HOST, ("X-Forwarded-Host", "a.org"), peer=peer)
    expected = "http://a.org" if is_trusted else "http://sbm.example.org:81"
    assert PROXIES.origin(asked_for) == expected
    assert Proxies().origin(asked_for) == "http://sbm.example.org:81"


@pytest.mark.parametrize(
    "host",
    ["a.org", "A.ORG.", "sbm_web-1:8000", "127.0.0.1:80", "[::1]", "[fe80::1]:8000", "a" * 63],
)
def test_what_is_a_host_is_one(host: str) -> None:
    assert Proxies().origin(request(("Host", host))) == f"http://{host}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", "a b"),
        ("Host", "a.org/x"),
        ("Host", "user@a.org"),
        ("Host", "a.org:99999"),
        ("Host", "a.org:"),
        ("Host", "a.org:0"),
        ("Host", ""),
        ("Host", "."),
        ("Host", "a..org"),
        ("Host", "-a.org"),
        ("Host", "a-.org"),
        ("Host", "a" * 64 + ".org"),
        ("Host", "a." * 128 + "org"),
        ("Host", "[1.2.3.4]"),
        ("Host", "[:::]"),
        ("Host", "::1"),
        ("X-Forwarded-Host", "a..org"),
        ("X-Forwarded-Host", "a.org/<x>"),
        ("X-Forwarded-Proto", "javascript"),
        ("X-Forwarded-Port", "0"),
        ("X-Forwarded-Port", "80x"),
    ],
)
def test_what_is_no_address_is_refused(name: str, value: str) -> None:
    headers = [(name, value)] if name == "Host" else [HOST, (name, value)]
    with pytest.raises(Malformed) as caught:
        PROXIES.origin(request(*headers))
    assert caught.value.body == {"detail": f"Invalid {name} header."}


def test_two_hosts_are_none() -> None:
    with pytest.raises(Malformed):
        PROXIES.origin(request(HOST, ("Host", "b.org")))


@pytest_twisted.ensureDeferred
async def test_urls_are_built_for_the_client_behind_the_proxy(
    database_uri: str, tmp_path: Path
) -> None:
    headers = ("X-Forwarded-Proto: https", "X-Forwarded-Host: a.org", "Connection: close")
    for trusted, origin in (["127.0.0.0/8"], b"https://a.org"), (["10.0.0.0/8"], b"http://h"):
        networks = [ip_network(one) for one in trusted]
        async with served(database_uri, tmp_path, trusted_proxies=networks) as api:
            reply = await (await asked(api, said(api, *headers))).rest()
            assert b'"%s/api/v1/subscriptions/"' % origin in reply


def said(api: Api, *headers: str) -> bytes:
    return head(api, "GET /api/v1/", *headers)


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        # Whoever is no trusted proxy can write what they like.
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),
        # A proxy that does not tell it.
        ("10.1.2.3", [], ""),
        ("10.1.2.3", ["198.51.100.1"], "198.51.100.1"),
        # The last one that is no trusted proxy; those before it are the client's own words.
        ("10.1.2.3", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["203.0.113.9, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.1.2.3", ["203.0.113.9", "198.51.100.1 ,10.9.9.9"], "198.51.100.1"),
        ("10.1.2.3", ["10.9.9.9"], ""),
        ("10.1.2.3", ["2001:db8::1"], "2001:db8::1"),
        ("10.1.2.3", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["nonsense"], ""),
        ("10.1.2.3", [""], ""),
        (IPv6Address("TCP", "::1", 1), ["198.51.100.1"], "198.51.100.1"),
        (UNIXAddress(b"/run/socket"), [], ""),
    ],
)
def test_the_address_of_the_client_is_told_by_trusted_proxies_alone(
    peer: Any, forwarded: list[str], address: str
) -> None:
    headers = [("X-Forwarded-For", value) for value in forwarded]

    assert PROXIES.address(request(HOST, *headers, peer=peer)) == address
