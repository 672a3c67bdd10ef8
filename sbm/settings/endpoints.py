"""Where the database and the other services are."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import TypeAlias
from urllib.parse import quote, unquote

from attrs import evolve, field, frozen
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

PrivateKey: TypeAlias = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey

POSTGRES_PORT = 5432

# Errors quote no more characters of a URL.
MOST_QUOTED = 200

# The schemes of DJ-Database-URL that mean PostgreSQL.
_POSTGRES_SCHEMES = ("postgres", "postgresql", "pgsql", "postgis", "timescale", "timescalegis")

# What libpq can be told in a URL. Left out are those that would only seem to work: hostaddr and
# load_balance_hosts (hosts are resolved and tried one at a time, by us) and client_encoding.
_LIBPQ_OPTIONS = frozenset(
    {
        "application_name",
        "channel_binding",
        "fallback_application_name",
        "gssencmode",
        "gsslib",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "krbsrvname",
        "options",
        "passfile",
        "require_auth",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcertmode",
        "sslcompression",
        "sslcrl",
        "sslcrldir",
        "sslkey",
        "sslmode",
        "sslpassword",
        "sslrootcert",
        "sslsni",
        "target_session_attrs",
        "tcp_user_timeout",
    }
)

# An @ that comes behind what looks like the host is most likely the end of a password.
_UNESCAPED = (
    "has a user, password or name that is not percent-encoded: a / in it is written %2F,"
    " a ? %3F, an @ %40, a : %3A, a % %25"
)

# A host and its port.
Place = tuple[str, int]

# Accepted and forgotten: libpq ignores it in asynchronous mode, where timers of ours bound
# the connecting.
_DROPPED_OPTIONS = frozenset({"connect_timeout"})


@frozen(kw_only=True)
class DatabaseAddress:
    """Where the database is: hosts to be tried in order, and what libpq is told at each.

    A host that starts with ``/`` is the folder of a Unix socket; an empty one means the folder
    that libpq has built in.
    """

    hosts: tuple[Place, ...]
    name: str
    user: str = ""
    password: str = field(default="", repr=False)
    options: Mapping[str, str] = field(factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> DatabaseAddress:
        """Read a URL in the form of DJ-Database-URL or libpq; raises ValueError with a clause."""
        scheme, separator, rest = url.partition("://")
        if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
            raise ValueError("must be a URL such as postgres://user:password@host:5432/name")
        if scheme.lower() not in _POSTGRES_SCHEMES:
            raise ValueError(
                f"has the scheme {scheme[:MOST_QUOTED]!r}, but only PostgreSQL will do:"
                " postgres://user:password@host:5432/name"
            )
        rest, _, query = rest.partition("?")
        authority, _, name = rest.partition("/")
        if "@" in name:
            raise ValueError(_UNESCAPED)
        try:
            return cls._read(authority, name, query)
        except ValueError:
            # The error would be about a port or a parameter, and might quote the password.
            if "@" in query:
                raise ValueError(_UNESCAPED) from None
            raise

    @classmethod
    def _read(cls, authority: str, name: str, query: str) -> DatabaseAddress:
        account, _, places = authority.rpartition("@")
        user, _, password = account.partition(":")
        told = dict(_query(query))
        address = cls(
            hosts=_hosts(*_places(places), told.pop("host", ""), told.pop("port", "")),
            name=told.pop("dbname", "") or _decoded(name),
            user=told.pop("user", "") or _decoded(user),
            password=told.pop("password", "") or _decoded(password),
            options={key: value for key, value in told.items() if key not in _DROPPED_OPTIONS},
        )
        if not address.name:
            raise ValueError("does not name a database after the host: …@host:5432/name")
        unknown = sorted(set(address.options) - _LIBPQ_OPTIONS)
        if unknown:
            names = ", ".join(unknown)[:MOST_QUOTED]
            raise ValueError(f"has parameters that are not supported: {names}")
        return address

    def beginning_with(self, place: Place) -> DatabaseAddress:
        """The same hosts, in the same order but for this one, which comes first."""
        others = (other for other in self.hosts if other != place)
        return evolve(self, hosts=(place, *others))

    def parameters(self) -> dict[str, str]:
        """What libpq is told at any host: keywords and values, without host and port."""
        account = {"dbname": self.name, "user": self.user, "password": self.password}
        return {**self.options, **{key: value for key, value in account.items() if value}}

    def uri(self) -> str:
        """The whole address, password included, as psql and a synchronous psycopg2 take it."""
        account = quote(self.user, safe="")
        if self.password:
            account += ":" + quote(self.password, safe="")
        places = ",".join(f"{_quoted_host(host)}:{port}" for host, port in self.hosts)
        query = "&".join(f"{key}={quote(value, safe='')}" for key, value in self.options.items())
        return (
            f"postgresql://{account}{'@' if account else ''}{places}/{quote(self.name, safe='')}"
            f"{'?' if query else ''}{query}"
        )


@frozen(kw_only=True)
class ServiceAddress:
    """The base URL of another Seed service, without a slash at the end, and our token there."""

    url: str
    token: str = field(repr=False)

    @property
    def authorization(self) -> str:
        """What says there who we are."""
        return f"Token {self.token}"


@frozen(kw_only=True)
class MetricsAddress:
    """The Metrics API: a bearer token, else a user and a password, else neither (all empty)."""

    url: str
    token: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def authorization(self) -> str:
        """What says there who we are; empty if nobody has to."""
        if self.token:
            return f"Bearer {self.token}"
        if self.user:
            account = b64encode(f"{self.user}:{self.password}".encode())
            return f"Basic {account.decode('ascii')}"
        return ""


@frozen(kw_only=True)
class VoiceVendorAddress:
    """The voice vendor's SFTP server, the key that it has to show, and our account there.

    ``host_key`` is the fingerprint, ``SHA256:…``; ``host_key_type`` is its type where that is
    known. ``root`` is the folder for our files; an empty one is where the account begins.
    There is a private ``key``, or a ``password``, or both.
    """

    host: str
    user: str
    host_key: str
    host_key_type: str = ""
    port: int = 22
    root: str = ""
    password: str = field(default="", repr=False)
    key: PrivateKey | None = field(default=None, repr=False)


def _query(query: str) -> list[tuple[str, str]]:
    """The parameters after the question mark, as libpq reads them: a plus sign is no blank."""
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return [(_decoded(key), _decoded(value)) for key, _, value in pairs]


def _decoded(text: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(
            "has percent-encoding that is not UTF-8; a % that stands for itself is written %25"
        ) from None
    if "\0" in decoded:
        raise ValueError("holds a NUL character")
    return decoded


def _places(places: str) -> tuple[list[str], list[str]]:
    """The hosts and the ports of ``host:port,host:port``, still as text."""
    hosts, ports = [], []
    for place in places.split(","):
        match = re.fullmatch(r"(\[[^\[\]]+\]|[^:\[\]]*)(?::([^:]*))?", place)
        if match is None:
            raise ValueError("has hosts that are not of the form host:port,host:port")
        hosts.append(_decoded(match[1].strip("[]")))
        ports.append(match[2] or "")
    return hosts, ports


def _hosts(
    hosts: list[str], ports: list[str], host_parameter: str, port_parameter: str
) -> tuple[Place, ...]:
    """Hosts with their ports; as in libpq, parameters win, and one port serves all hosts."""
    if host_parameter:
        hosts = host_parameter.split(",")
        ports = ports if len(ports) == len(hosts) else [""]
    if port_parameter:
        ports = port_parameter.split(",")
    if len(ports) == 1:
        ports = ports * len(hosts)
    if len(ports) != len(hosts):
        raise ValueError(f"has {len(hosts)} hosts, but {len(ports)} ports")
    return tuple((host, _port(port)) for host, port in zip(hosts, ports, strict=True))


def _port(text: str) -> int:
    if not text:
        return POSTGRES_PORT
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError("has a port that is not a number from 1 to 65535")
    return int(text)


def _quoted_host(host: str) -> str:
    return f"[{quote(host, safe=':')}]" if ":" in host else quote(host, safe="")
