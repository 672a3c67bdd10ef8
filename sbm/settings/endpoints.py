"""The addresses of the database and of the other services."""

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
from psycopg2 import ProgrammingError
from psycopg2.extensions import parse_dsn

PrivateKey: TypeAlias = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey

POSTGRES_PORT = 5432

# The most characters of a URL that errors quote.
MOST_QUOTED = 200

# The schemes of DJ-Database-URL that mean PostgreSQL.
_POSTGRES_SCHEMES = ("postgres", "postgresql", "pgsql", "postgis", "timescale", "timescalegis")

# The options of libpq that a URL may have. Those that would only seem to work are left out:
# hostaddr and load_balance_hosts (the daemon resolves and tries the hosts one at a time, itself)
# and client_encoding.
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

# An @ after the part that looks like the host is most likely the end of a password.
_UNESCAPED = (
    "has a user, password or name that is not percent-encoded: a / in it is written %2F,"
    " a ? %3F, an @ %40, a : %3A, a % %25"
)

_NO_HOSTS = "has hosts that are not of the form host:port,host:port"

_UNKNOWN_TO_LIBPQ = "has parameters that the installed libpq does not know"

# A % that stands for itself.
_STRAY_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")

# A host and its port.
HostAndPort = tuple[str, int]

# Accepted and ignored: libpq ignores it in asynchronous mode, where the daemon's own timers limit
# the time for connecting.
_DROPPED_OPTIONS = frozenset({"connect_timeout"})

# All parameters that the URL may have after its question mark.
_PARAMETERS = _LIBPQ_OPTIONS | _DROPPED_OPTIONS | {"host", "port", "dbname", "user", "password"}


@frozen(kw_only=True)
class DatabaseAddress:
    """The address of the database: hosts to try in order, and the options of libpq for each.

    A host that starts with ``/`` is the folder of a Unix socket; an empty one means the default
    folder of libpq.
    """

    hosts: tuple[HostAndPort, ...]
    name: str
    user: str = ""
    password: str = field(default="", repr=False)
    options: Mapping[str, str] = field(factory=dict, repr=False)

    @property
    def title(self) -> str:
        """The hosts and the name, by which people tell databases apart."""
        return f"{','.join(f'{host}:{port}' for host, port in self.hosts)}/{self.name}"

    @classmethod
    def parse(cls, url: str) -> DatabaseAddress:
        """Read a URL in the form of DJ-Database-URL or libpq; raises ValueError with a clause."""
        scheme, separator, rest = url.partition("://")
        if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
            raise ValueError("must be a URL such as postgres://user:password@host:5432/name")
        if scheme.lower() not in _POSTGRES_SCHEMES:
            raise ValueError(
                f"has the scheme {scheme[:MOST_QUOTED]!r}, but only PostgreSQL is supported:"
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
        pairs = (pair.partition("=") for pair in query.split("&") if pair)
        parameters = [(unquote(key), value) for key, _, value in pairs]
        unknown = {key for key, _ in parameters} - _PARAMETERS
        # If a parameter of the account is empty, the part before the question mark counts.
        told = _parsed(
            authority,
            name,
            {
                key: value
                for key, value in parameters
                if key in _LIBPQ_OPTIONS or (key in _PARAMETERS and value)
            },
        )
        address = cls(
            hosts=_hosts(told.pop("host", ""), told.pop("port", "")),
            name=told.pop("dbname", ""),
            user=told.pop("user", ""),
            password=told.pop("password", ""),
            options={key: value for key, value in told.items() if key not in _DROPPED_OPTIONS},
        )
        if not address.name:
            raise ValueError("does not name a database after the host: …@host:5432/name")
        if unknown:
            names = ", ".join(sorted(unknown))[:MOST_QUOTED]
            raise ValueError(f"has parameters that are not supported: {names}")
        return address

    def beginning_with(self, place: HostAndPort) -> DatabaseAddress:
        """The same address with this host first; the others keep their order."""
        others = (other for other in self.hosts if other != place)
        return evolve(self, hosts=(place, *others))

    def parameters(self) -> dict[str, str]:
        """The options of libpq for any host: keywords and values, without host and port."""
        account = {"dbname": self.name, "user": self.user, "password": self.password}
        return {**self.options, **{key: value for key, value in account.items() if value}}

    def uri(self) -> str:
        """The whole address, with the password, for psql and a synchronous psycopg2."""
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
        """The value of the Authorization header."""
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
        """The value of the Authorization header; empty if there is none."""
        if self.token:
            return f"Bearer {self.token}"
        if self.user:
            account = b64encode(f"{self.user}:{self.password}".encode())
            return f"Basic {account.decode('ascii')}"
        return ""


@frozen(kw_only=True)
class VoiceVendorAddress:
    """The voice vendor's SFTP server, the host key that it has to show, and our account there.

    ``host_key`` is the fingerprint, ``SHA256:…``; ``host_key_type`` is the type of the key if that
    is known. ``root`` is the folder for our files; if it is empty, that is the folder in which the
    account begins. There is a private ``key``, or a ``password``, or both.
    """

    host: str
    user: str
    host_key: str
    host_key_type: str = ""
    port: int = 22
    root: str = ""
    password: str = field(default="", repr=False)
    key: PrivateKey | None = field(default=None, repr=False)


def _parsed(authority: str, name: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters that libpq reads in such a URL; stray ``%`` and ``@`` are escaped first.

    The errors of libpq are not passed on, because they may quote the password.
    """
    account, at, places = authority.rpartition("@")
    query = "&".join(f"{key}={value.replace('=', '%3D')}" for key, value in parameters.items())
    url = f"postgresql://{account.replace('@', '%40')}{at}{places}/{name}?{query}"
    if "\0" in url or "%00" in url:
        raise ValueError("contains a NUL character")
    try:
        told: dict[str, str] = parse_dsn(_STRAY_PERCENT.sub("%25", url))
    except UnicodeDecodeError:
        raise ValueError(
            "has percent-encoding that is not UTF-8; a % that stands for itself is written %25"
        ) from None
    except UnicodeEncodeError:
        raise ValueError("has characters that are not UTF-8") from None
    except ProgrammingError:
        is_of_hosts = "[" in places or "]" in places
        raise ValueError(_NO_HOSTS if is_of_hosts else _UNKNOWN_TO_LIBPQ) from None
    return told


def _hosts(hosts: str, ports: str) -> tuple[HostAndPort, ...]:
    """Hosts with their ports; as in libpq, one port serves all hosts."""
    names, numbers = hosts.split(","), ports.split(",")
    if "[" in hosts or "]" in hosts:
        raise ValueError(_NO_HOSTS)
    if len(numbers) == 1:
        numbers *= len(names)
    if len(numbers) != len(names):
        raise ValueError(f"has {len(names)} hosts, but {len(numbers)} ports")
    return tuple((host, _port(port)) for host, port in zip(names, numbers, strict=True))


def _port(text: str) -> int:
    if not text:
        return POSTGRES_PORT
    if ":" in text:
        raise ValueError(_NO_HOSTS)
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError("has a port that is not a number from 1 to 65535")
    return int(text)


def _quoted_host(host: str) -> str:
    return f"[{quote(host, safe=':')}]" if ":" in host else quote(host, safe="")
