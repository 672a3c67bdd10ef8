"""The settings: read once from the environment, checked all together, and frozen."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit
from zoneinfo import ZoneInfo

from attrs import field, frozen

DATABASE_SETTING = "STAGE_BASED_MESSAGING_DATABASE"
POSTGRES_PORT = 5432

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

# Accepted and forgotten: libpq ignores it in asynchronous mode, where timers of ours bound
# the connecting.
_DROPPED_OPTIONS = frozenset({"connect_timeout"})

_SBM_SETTINGS = (
    "SBM_CONCURRENCY",
    "SBM_DATABASE_CONNECTIONS",
    "SBM_LEASE_SECONDS",
    "SBM_LEDGER_MONTHS",
    "SBM_MEDIA_ROOT",
    "SBM_MEDIA_URL",
    "SBM_SETTLE_SECONDS",
    "SBM_STOP_GRACE_SECONDS",
    "SBM_TIMEZONE",
)

# A POST begins only if the lease outlasts the request's deadline by a second; one more for
# the way there.
_LEASE_MARGIN = timedelta(seconds=2)


class ConfigError(Exception):
    """Settings that are missing or wrong; ``problems`` has a sentence for each of them."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@frozen(kw_only=True)
class DatabaseAddress:
    """Where the database is: hosts to be tried in order, and what libpq is told at each.

    A host that starts with ``/`` is the folder of a Unix socket; an empty one means the folder
    that libpq has built in.
    """

    hosts: tuple[tuple[str, int], ...]
    name: str
    user: str = ""
    password: str = field(default="", repr=False)
    options: Mapping[str, str] = field(factory=dict, repr=False)

    @classmethod
    def from_environ(
        cls, environ: Mapping[str, str], *, database: str | None = None
    ) -> DatabaseAddress:
        """The database alone, for commands that need no more; raises ConfigError."""
        settings = _Settings(environ=environ)
        address = settings.database(database)
        settings.check()
        return address

    @classmethod
    def parse(cls, url: str) -> DatabaseAddress:
        """Read a URL in the form of DJ-Database-URL or libpq; raises ValueError with a clause."""
        scheme, separator, rest = url.partition("://")
        if not separator:
            raise ValueError("must be a URL such as postgres://user:password@host:5432/name")
        if scheme.lower() not in _POSTGRES_SCHEMES:
            raise ValueError(
                f"has the scheme {scheme!r}, but only PostgreSQL will do:"
                " postgres://user:password@host:5432/name"
            )
        rest, _, query = rest.partition("?")
        authority, _, name = rest.partition("/")
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
            raise ValueError(f"has parameters that are not supported: {', '.join(unknown)}")
        return address

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


@frozen(kw_only=True)
class MetricsAddress:
    """The Metrics API: a bearer token, else a user and a password, else neither (all empty)."""

    url: str
    token: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)


@frozen(kw_only=True)
class Config:
    """Everything that the daemon is told; ``from_environ`` is the only reader of the environment.

    ``public_url`` is this service's own address as others see it, without ``/api/v1``; ``use_ssl``
    makes https of the absolute URLs that are built for others; ``media_url`` is the folder of
    uploaded files as others fetch them, and ``media_root`` where they lie here. None of the URLs
    ends in a slash.
    """

    database: DatabaseAddress
    database_connections: int
    public_url: str
    use_ssl: bool
    media_url: str
    media_root: Path | None
    identity_store: ServiceAddress
    message_sender: ServiceAddress
    scheduler: ServiceAddress | None
    scheduler_inbound_token: str | None = field(repr=False)
    metrics: MetricsAddress | None
    timezone: ZoneInfo
    request_timeout: timedelta
    lease: timedelta
    settle: timedelta
    stop_grace: timedelta
    concurrency: int
    ledger_months: int
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, database: str | None = None) -> Config:
        """Read and check all settings; ``database`` takes the place of its setting.

        Raises ConfigError, which tells of everything that is missing or wrong at once.
        """
        settings = _Settings(environ=environ)
        public_url, use_ssl = settings.public_url(), settings.flag("USE_SSL")
        config = cls(
            database=settings.database(database),
            database_connections=settings.count("SBM_DATABASE_CONNECTIONS", 10, most=500),
            public_url=public_url,
            use_ssl=use_ssl,
            media_url=settings.media_url(public_url, use_ssl=use_ssl),
            media_root=settings.folder("SBM_MEDIA_ROOT"),
            identity_store=settings.service("IDENTITY_STORE_URL", "IDENTITY_STORE_TOKEN"),
            message_sender=settings.service("MESSAGE_SENDER_URL", "MESSAGE_SENDER_TOKEN"),
            scheduler=(
                settings.service("SCHEDULER_URL", "SCHEDULER_API_TOKEN")
                if settings.text("SCHEDULER_URL")
                else None
            ),
            scheduler_inbound_token=settings.token("SCHEDULER_INBOUND_API_TOKEN") or None,
            metrics=settings.metrics(),
            timezone=settings.timezone("SBM_TIMEZONE"),
            request_timeout=settings.seconds("DEFAULT_REQUEST_TIMEOUT", 30, least=0.1, most=600),
            lease=settings.seconds("SBM_LEASE_SECONDS", 60, least=1, most=3600),
            settle=settings.seconds("SBM_SETTLE_SECONDS", 120, least=1, most=86400),
            stop_grace=settings.seconds("SBM_STOP_GRACE_SECONDS", 30, least=0, most=3600),
            concurrency=settings.count("SBM_CONCURRENCY", 50, most=1000),
            ledger_months=settings.count("SBM_LEDGER_MONTHS", 24, most=1200),
            warnings=_warnings(environ),
        )
        settings.check_times(config)
        settings.check()
        return config


@frozen(kw_only=True)
class _Settings:
    """A reading of the environment that collects what is wrong instead of stopping at it.

    What is wrong is read as a stand-in of the right type, which ``check`` keeps from being used.
    """

    environ: Mapping[str, str]
    problems: list[str] = field(factory=list)

    def check(self) -> None:
        if self.problems:
            raise ConfigError(tuple(self.problems))

    def problem(self, name: str, clause: str) -> None:
        self.problems.append(f"{name} {clause}.")

    def has_problem(self, name: str) -> bool:
        return any(problem.startswith(f"{name} ") for problem in self.problems)

    def text(self, name: str) -> str:
        """The setting; an empty value counts as not set."""
        return self.environ.get(name, "").strip()

    def database(self, given: str | None) -> DatabaseAddress:
        given = (given or "").strip()
        name = f"{DATABASE_SETTING} (given as --database)" if given else DATABASE_SETTING
        url = given or self.text(DATABASE_SETTING)
        try:
            if url:
                return DatabaseAddress.parse(url)
            self.problem(name, "is missing")
        except ValueError as error:
            self.problem(name, str(error))
        return DatabaseAddress(hosts=(), name="")

    def service(self, url_name: str, token_name: str) -> ServiceAddress:
        """A service whose URL and token are both required."""
        return ServiceAddress(url=self.url(url_name), token=self.token(token_name, required=True))

    def url(self, name: str) -> str:
        """A required http or https URL, without slashes at the end."""
        return self.parts(name).geturl().rstrip("/")

    def parts(self, name: str) -> SplitResult:
        text = self.text(name)
        if not text:
            self.problem(name, "is missing")
        else:
            try:
                return _web_address(text)
            except ValueError as error:
                self.problem(name, str(error))
        return urlsplit("")

    def token(self, name: str, *, required: bool = False) -> str:
        text = self.text(name)
        if required and not text:
            self.problem(name, "is missing")
        if not re.fullmatch(r"[!-~]*", text):
            self.problem(name, "must be visible ASCII characters without blanks")
        return text

    def public_url(self) -> str:
        """Our own address, which was given in three forms: host, …/api/v1, …/subscriptions."""
        parts = self.parts("STAGE_BASED_MESSAGING_URL")
        prefix = re.split(r"/api/v1(?=/|$)", parts.path, maxsplit=1)[0]
        return parts._replace(path=prefix.rstrip("/")).geturl()

    def media_url(self, public_url: str, *, use_ssl: bool) -> str:
        if self.text("SBM_MEDIA_URL"):
            return self.url("SBM_MEDIA_URL")
        scheme = "https" if use_ssl else "http"
        return urlsplit(f"{public_url}/media")._replace(scheme=scheme).geturl()

    def folder(self, name: str) -> Path | None:
        """A folder that exists, or None where the setting is not set."""
        text = self.text(name)
        if text and not Path(text).is_dir():
            self.problem(name, f"must be a folder that exists, not {text!r}")
        return Path(text) if text else None

    def metrics(self) -> MetricsAddress | None:
        token = self.token("METRICS_AUTH_TOKEN")
        user, password = self.text("METRICS_AUTH_USER"), self.text("METRICS_AUTH_PASSWORD")
        if user and not password:
            self.problem("METRICS_AUTH_PASSWORD", "is missing while METRICS_AUTH_USER is set")
        if password and not user:
            self.problem("METRICS_AUTH_USER", "is missing while METRICS_AUTH_PASSWORD is set")
        if ":" in user:
            self.problem("METRICS_AUTH_USER", "must not hold a colon")
        if not self.text("METRICS_URL"):
            return None
        url = self.url("METRICS_URL")
        return MetricsAddress(url=url, token=token, user=user, password=password)

    def flag(self, name: str) -> bool:
        """A setting that is true or false, and false when it is not set."""
        text = self.text(name).lower()
        if text in ("true", "yes", "on", "1"):
            return True
        if text not in ("", "false", "no", "off", "0"):
            self.problem(name, f"must be true or false, not {text!r}")
        return False

    def timezone(self, name: str) -> ZoneInfo:
        text = self.text(name) or "UTC"
        try:
            return ZoneInfo(text)
        except (ValueError, OSError, LookupError):
            # Besides unknown names, folders (Europe) and paths (/etc/localtime) come here.
            self.problem(name, f"must be the IANA name of a time zone, not {text!r}")
        return ZoneInfo("UTC")

    def count(self, name: str, default: int, *, most: int) -> int:
        text = self.text(name) or str(default)
        if re.fullmatch(r"[0-9]{1,9}", text) and 1 <= int(text) <= most:
            return int(text)
        self.problem(name, f"must be a whole number from 1 to {most}, not {text!r}")
        return default

    def seconds(self, name: str, default: float, *, least: float, most: float) -> timedelta:
        text = self.text(name) or str(default)
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text) and least <= float(text) <= most:
            return timedelta(seconds=float(text))
        self.problem(name, f"must be seconds from {least:g} to {most:g}, not {text!r}")
        return timedelta(seconds=default)

    def check_times(self, config: Config) -> None:
        """Refuse times under which an unknown outcome could be taken for a known one."""
        if self.has_problem("DEFAULT_REQUEST_TIMEOUT"):
            return
        timeout = config.request_timeout
        if not self.has_problem("SBM_LEASE_SECONDS") and config.lease < timeout + _LEASE_MARGIN:
            self.problem(
                "SBM_LEASE_SECONDS",
                f"is {config.lease.total_seconds():g}, but a lease must outlast"
                f" DEFAULT_REQUEST_TIMEOUT ({timeout.total_seconds():g}) by 2 seconds",
            )
        if not self.has_problem("SBM_SETTLE_SECONDS") and config.settle <= timeout:
            self.problem(
                "SBM_SETTLE_SECONDS",
                f"is {config.settle.total_seconds():g}, but must be longer than"
                f" DEFAULT_REQUEST_TIMEOUT ({timeout.total_seconds():g})",
            )


def _warnings(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What was set to no effect."""
    warnings = []
    if environ.get("BROKER_URL", "").strip():
        warnings.append("BROKER_URL is ignored: no broker is needed.")
    for name in sorted(environ):
        if name.startswith("SBM_") and name not in _SBM_SETTINGS:
            near = difflib.get_close_matches(name, _SBM_SETTINGS, n=1, cutoff=0.75)
            hint = f" Did you mean {near[0]}?" if near else ""
            warnings.append(f"{name} is not a setting and is ignored.{hint}")
    return tuple(warnings)


def _web_address(text: str) -> SplitResult:
    """An http or https URL of a host and perhaps a path; raises ValueError with a clause."""
    wrong = ValueError("must be an http or https URL with a host, such as http://host/api/v1")
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        # An unfinished [ or a port that is no number.
        raise wrong from None
    if not usable or re.search(r"[\x00-\x20\x7f\\]", text):
        raise wrong
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be a host and a path alone: no user, password, query or fragment")
    return parts._replace(query="", fragment="")


def _query(query: str) -> list[tuple[str, str]]:
    """The parameters after the question mark, as libpq reads them: a plus sign is no blank."""
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return [(_decoded(key), _decoded(value)) for key, _, value in pairs]


def _decoded(text: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("has percent-encoding that is not UTF-8") from None
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
) -> tuple[tuple[str, int], ...]:
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
