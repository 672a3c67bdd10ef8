"""The settings: read once from the environment, checked all together, and frozen."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from attrs import field, frozen

from sbm.addresses import DatabaseAddress, MetricsAddress, ServiceAddress

# What becomes of a message that may have been sent, where nobody can be asked.
Uncertain = Literal["at-least-once", "at-most-once"]

DATABASE_SETTING = "STAGE_BASED_MESSAGING_DATABASE"

_SBM_SETTINGS = (
    "SBM_BACKOFF_MAX_SECONDS",
    "SBM_CONCURRENCY",
    "SBM_DATABASE_CONNECTIONS",
    "SBM_LEASE_SECONDS",
    "SBM_LEDGER_MONTHS",
    "SBM_MAX_FAULTS",
    "SBM_MAX_UPLOAD_BYTES",
    "SBM_MEDIA_ROOT",
    "SBM_MEDIA_URL",
    "SBM_SETTLE_SECONDS",
    "SBM_STOP_GRACE_SECONDS",
    "SBM_TIMEZONE",
    "SBM_TRUSTED_PROXIES",
    "SBM_UNCERTAIN",
)

# A POST begins only if the lease outlasts the request's deadline by a second; one more for
# the way there.
_LEASE_MARGIN = timedelta(seconds=2)


class ConfigError(Exception):
    """Settings that are missing or wrong; ``problems`` has a sentence for each of them."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def read_database(environ: Mapping[str, str], *, database: str | None = None) -> DatabaseAddress:
    """The database alone, for commands that need no more; raises ConfigError."""
    settings = _Settings(environ=environ)
    address = settings.database(database)
    settings.check()
    return address


@frozen(kw_only=True)
class Config:
    """Everything that the daemon is told; ``from_environ`` is the only reader of the environment.

    ``public_url`` is this service's own address as others see it, without ``/api/v1``; ``use_ssl``
    makes https of the absolute URLs that are built for others; ``media_url`` is the folder of
    uploaded files as others fetch them, and ``media_root`` where they lie here. None of the URLs
    ends in a slash. ``trusted_proxies`` are believed about the host that a client has asked.
    """

    database: DatabaseAddress
    database_connections: int
    public_url: str
    use_ssl: bool
    media_url: str
    media_root: Path | None
    max_upload_bytes: int
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
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
    backoff_max: timedelta
    max_faults: int
    uncertain: Uncertain
    dry_run_messagesets: frozenset[int]
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
            max_upload_bytes=settings.count("SBM_MAX_UPLOAD_BYTES", 52428800, most=2**29),
            trusted_proxies=settings.networks("SBM_TRUSTED_PROXIES"),
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
            backoff_max=settings.seconds("SBM_BACKOFF_MAX_SECONDS", 60, least=1, most=3600),
            max_faults=settings.count("SBM_MAX_FAULTS", 10, most=1000),
            uncertain=settings.uncertain("SBM_UNCERTAIN"),
            dry_run_messagesets=settings.ids("DRY_RUN_MESSAGESETS"),
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

    def networks(self, name: str) -> tuple[IPv4Network | IPv6Network, ...]:
        """Addresses and networks, with commas between them."""
        found = []
        for text in filter(None, (part.strip() for part in self.text(name).split(","))):
            try:
                found.append(ip_network(text))
            except ValueError:
                clause = f"must be addresses or networks such as 10.0.0.0/8, not {text!r}"
                self.problem(name, clause)
        return tuple(found)

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

    def uncertain(self, name: str) -> Uncertain:
        """At least once where nothing is said: a message twice is better than none."""
        text = self.text(name) or "at-least-once"
        if text == "at-most-once":
            return "at-most-once"
        if text != "at-least-once":
            self.problem(name, f"must be at-least-once or at-most-once, not {text!r}")
        return "at-least-once"

    def ids(self, name: str) -> frozenset[int]:
        """Whole numbers, with commas between them."""
        texts = [part.strip() for part in self.text(name).split(",") if part.strip()]
        wrong = [text for text in texts if not re.fullmatch(r"[0-9]{1,9}", text)]
        if wrong:
            self.problem(name, f"must be ids with commas between them, not {wrong[0]!r}")
            return frozenset()
        return frozenset(int(text) for text in texts)

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
