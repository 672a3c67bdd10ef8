"""The settings of the daemon, as one frozen value that is read from the environment."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

from attrs import evolve, field, frozen

from sbm.model.content_limits import ContentLimits
from sbm.model.delivery import DeliveryLook
from sbm.model.durations import (
    LeaseTime,
    LongestDelay,
    RequestTimeout,
    SettleTime,
    StopGrace,
    TickGrace,
)
from sbm.model.scheduler_call import Scheduling as Mode
from sbm.model.simulation import SimulationSettings
from sbm.model.tick_times import Expectations
from sbm.model.time_zones import TimeZones
from sbm.settings.api_tokens import read_inbound_tokens, read_max_tokens
from sbm.settings.delivery_delays import read_delivery_delays
from sbm.settings.endpoints import (
    DatabaseAddress,
    MetricsAddress,
    ServiceAddress,
    VoiceVendorAddress,
)
from sbm.settings.reading import Settings, Uncertain
from sbm.settings.sending_rules import read_max_metadata_bytes, read_simulation
from sbm.settings.voice_vendor import read_voice_vendor

_SBM_SETTINGS = (
    "SBM_AUDIO_FTP_HOST_KEY",
    "SBM_AUDIO_FTP_KEY_FILE",
    "SBM_AUDIO_FTP_KEY_PASSPHRASE",
    "SBM_BACKOFF_MAX_SECONDS",
    "SBM_COMMIT",
    "SBM_CONCURRENCY",
    "SBM_CONTENT_SETTLE_SECONDS",
    "SBM_DATABASE_CONNECTIONS",
    "SBM_DELIVERY_FIRST_SECONDS",
    "SBM_DELIVERY_LAST_SECONDS",
    "SBM_DUPLICATE_WINDOW",
    "SBM_INTAKE_MONTHS",
    "SBM_LEASE_SECONDS",
    "SBM_AUDIT_MONTHS",
    "SBM_LEDGER_MONTHS",
    "SBM_MAX_FAULTS",
    "SBM_MAX_METADATA_BYTES",
    "SBM_MAX_RATE",
    "SBM_MAX_TEXT_LENGTH",
    "SBM_MAX_TOKENS",
    "SBM_MAX_UPLOAD_BYTES",
    "SBM_MEDIA_ROOT",
    "SBM_MEDIA_URL",
    "SBM_METRICS_SECONDS",
    "SBM_PAUSED",
    "SBM_SCHEDULER_JOIN_SECONDS",
    "SBM_SCHEDULER_TIMEZONE",
    "SBM_SCHEDULING",
    "SBM_SETTLE_SECONDS",
    "SBM_STATE_DIR",
    "SBM_STOP_GRACE_SECONDS",
    "SBM_TICK_GRACE_SECONDS",
    "SBM_TIMEZONE",
    "SBM_TRUSTED_PROXIES",
    "SBM_UNCERTAIN",
)

# Settings of the old service that mean nothing here, and why.
_IGNORED = {
    "BROKER_URL": "no broker is needed",
    "DEBUG": "there is no debug mode",
    "SECRET_KEY": "nothing is signed with it",
}

# A POST begins only if the lease outlasts the request's deadline by a second. One more second is
# for the time from the claim to the POST.
_LEASE_MARGIN = timedelta(seconds=2)

_UTC = ZoneInfo("UTC")


def read_database(environ: Mapping[str, str], *, database: str | None = None) -> DatabaseAddress:
    """The database alone, for commands that need no other setting; raises ConfigError."""
    settings = Settings(environ=environ)
    address = settings.database(database)
    settings.check()
    return address


def read_lease(settings: Settings) -> LeaseTime:
    """How long a daemon holds a claim, for the daemon and for commands."""
    return LeaseTime(settings.seconds("SBM_LEASE_SECONDS", 60, least=1, most=3600))


def read_message_sender(settings: Settings) -> ServiceAddress:
    """The Message Sender, for the daemon and for commands."""
    return settings.service("MESSAGE_SENDER_URL", "MESSAGE_SENDER_TOKEN")


@frozen(kw_only=True)
class SchedulingSettings:
    """What says when to send: the Scheduler, per subscription or per schedule, or our own clock.

    ``scheduler`` is its address, if there is one; ``inbound_token`` is the token of its calls,
    which go to URLs below ``public_url``. Calls with the ``other_inbound_tokens`` are accepted,
    too: those that it was told before, or will be told. It reads crons in ``timezone``. Calls for
    the same moment are joined until ``join_window`` after that moment; zero: never.
    """

    mode: Mode
    public_url: str
    scheduler: ServiceAddress | None
    inbound_token: str | None = field(repr=False)
    other_inbound_tokens: tuple[str, ...] = field(default=(), repr=False)
    timezone: ZoneInfo = _UTC
    join_window: timedelta = timedelta(0)

    @property
    def inbound_tokens(self) -> tuple[str, ...]:
        """All tokens that the Scheduler may show."""
        return (self.inbound_token, *self.other_inbound_tokens) if self.inbound_token else ()

    @property
    def ticking_zone(self) -> ZoneInfo | None:
        """The time zone of the Scheduler, if it makes the ticks."""
        return None if self.mode == "builtin" else self.timezone

    @property
    def problem(self) -> str:
        """Why no calls to the Scheduler can be made, though they should be; empty: they can."""
        if self.mode == "builtin" or self.inbound_token:
            return ""
        return "SCHEDULER_INBOUND_API_TOKEN is missing: the Scheduler could not call back"


def read_scheduling(environ: Mapping[str, str]) -> SchedulingSettings:
    """The settings of the Scheduler alone, for the command about it; raises ConfigError."""
    settings = Settings(environ=environ)
    scheduling = _scheduling(settings, settings.public_url())
    settings.check()
    return scheduling


@frozen(kw_only=True)
class Config:
    """All settings of the daemon; only ``from_environ`` reads the environment.

    ``public_url`` is this service's own address as clients see it, without ``/api/v1``. With
    ``use_ssl``, the absolute URLs in answers are https. ``media_url`` is the folder of uploaded
    files as other services fetch them, and ``media_root`` is the same folder on this machine. None
    of the URLs ends in a slash. What ``trusted_proxies`` say about the host in a client's request
    is believed. ``is_paused``: it starts paused. ``state_dir`` is a folder that outlives the
    process. ``commit`` is the one from which the daemon was built, if that is known.
    ``sentry_dsn`` is where failures are reported; empty: nowhere.
    """

    database: DatabaseAddress
    database_connections: int
    public_url: str
    use_ssl: bool
    media_url: str
    media_root: Path | None
    max_upload_bytes: int
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    duplicate_window: timedelta
    identity_store: ServiceAddress
    message_sender: ServiceAddress
    scheduling: SchedulingSettings
    metrics: MetricsAddress | None
    voice_vendor: VoiceVendorAddress | None
    metrics_every: timedelta
    timezone: ZoneInfo
    tick_grace: TickGrace
    request_timeout: RequestTimeout
    lease: LeaseTime
    settle: SettleTime
    stop_grace: StopGrace
    concurrency: int
    backoff_max: LongestDelay
    max_faults: int
    simulation: SimulationSettings
    max_metadata_bytes: int
    max_tokens: int
    uncertain: Uncertain
    ledger_months: int
    audit_months: int
    delivery_delays: Mapping[DeliveryLook, timedelta]
    intake_months: int
    is_paused: bool
    state_dir: Path | None
    commit: str
    sentry_dsn: str = field(repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def expectations(self) -> Expectations:
        """What says when ticks are due."""
        return Expectations(
            mode=self.scheduling.mode,
            time_zone=self.scheduling.ticking_zone or self.timezone,
            grace=self.tick_grace,
        )

    @property
    def content_limits(self) -> ContentLimits:
        """The limits of what is written."""
        return ContentLimits(
            text_length=self.simulation.rules.max_text_length,
            metadata_bytes=self.max_metadata_bytes,
        )

    @property
    def time_zones(self) -> TimeZones:
        """What says in which time zone a schedule is read."""
        return TimeZones(default=self.timezone, scheduler=self.scheduling.ticking_zone)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, database: str | None = None) -> Config:
        """Read and check all settings; ``database`` replaces its setting.

        Raises ConfigError, which names everything that is missing or wrong at once.
        """
        settings = Settings(environ=environ)
        public_url = settings.public_url()
        use_ssl = settings.flag("USE_SSL", default=public_url.startswith("https:"))
        scheduling = _scheduling(settings, public_url)
        config = cls(
            database=settings.database(database),
            database_connections=settings.count("SBM_DATABASE_CONNECTIONS", 10, most=500),
            public_url=public_url,
            use_ssl=use_ssl,
            media_url=settings.media_url(public_url, use_ssl=use_ssl),
            media_root=settings.folder("SBM_MEDIA_ROOT"),
            max_upload_bytes=settings.count("SBM_MAX_UPLOAD_BYTES", 52428800, most=2**29),
            trusted_proxies=settings.networks("SBM_TRUSTED_PROXIES"),
            duplicate_window=settings.seconds("SBM_DUPLICATE_WINDOW", 0, least=0, most=86400),
            identity_store=settings.service("IDENTITY_STORE_URL", "IDENTITY_STORE_TOKEN"),
            message_sender=read_message_sender(settings),
            scheduling=scheduling,
            metrics=settings.metrics(),
            voice_vendor=read_voice_vendor(settings),
            metrics_every=settings.seconds("SBM_METRICS_SECONDS", 10, least=0.1, most=3600),
            timezone=settings.timezone("SBM_TIMEZONE"),
            tick_grace=_tick_grace(settings),
            request_timeout=RequestTimeout(
                settings.seconds("DEFAULT_REQUEST_TIMEOUT", 30, least=0.1, most=600)
            ),
            lease=read_lease(settings),
            settle=SettleTime(settings.seconds("SBM_SETTLE_SECONDS", 120, least=1, most=86400)),
            stop_grace=StopGrace(
                settings.seconds("SBM_STOP_GRACE_SECONDS", 30, least=0, most=3600)
            ),
            concurrency=settings.count("SBM_CONCURRENCY", 50, most=1000),
            backoff_max=LongestDelay(
                settings.seconds("SBM_BACKOFF_MAX_SECONDS", 60, least=1, most=3600)
            ),
            max_faults=settings.count("SBM_MAX_FAULTS", 10, most=1000),
            simulation=read_simulation(settings),
            max_metadata_bytes=read_max_metadata_bytes(settings),
            max_tokens=read_max_tokens(settings),
            uncertain=cast(
                Uncertain,
                # A message twice is better than none.
                settings.choice(
                    "SBM_UNCERTAIN", "at-least-once", ("at-least-once", "at-most-once")
                ),
            ),
            ledger_months=settings.count("SBM_LEDGER_MONTHS", 24, most=1200),
            audit_months=settings.count("SBM_AUDIT_MONTHS", 24, most=1200),
            delivery_delays=read_delivery_delays(settings),
            intake_months=settings.count("SBM_INTAKE_MONTHS", 13, most=1200),
            is_paused=settings.flag("SBM_PAUSED", default=False),
            state_dir=settings.writable_folder("SBM_STATE_DIR"),
            commit=settings.text("SBM_COMMIT"),
            sentry_dsn=settings.sentry_dsn("STAGE_BASED_MESSAGING_SENTRY_DSN"),
        )
        config = evolve(config, warnings=_warnings(environ, config))
        _check_times(settings, config)
        settings.check()
        return config


def read_time_zones(settings: Settings) -> TimeZones:
    """What says in which time zone a schedule is read, for commands."""
    default = settings.timezone("SBM_TIMEZONE")
    return TimeZones(default=default, scheduler=_read_ticking_zone(settings))


def read_time_zones_of_ticks(settings: Settings) -> TimeZones:
    """What says by which time zone the ticks of a schedule are made, for commands."""
    scheduler = _read_ticking_zone(settings)
    default = scheduler or settings.timezone("SBM_TIMEZONE")
    return TimeZones(default=default, scheduler=scheduler)


def read_expectations(settings: Settings) -> Expectations:
    """What says when ticks are due, for commands."""
    return Expectations(
        mode=cast(Mode, _mode(settings)),
        time_zone=read_time_zones_of_ticks(settings).default,
        grace=_tick_grace(settings),
    )


def _read_ticking_zone(settings: Settings) -> ZoneInfo | None:
    return None if _mode(settings) == "builtin" else settings.timezone("SBM_SCHEDULER_TIMEZONE")


def _tick_grace(settings: Settings) -> TickGrace:
    return TickGrace(settings.seconds("SBM_TICK_GRACE_SECONDS", 3600, least=5, most=604800))


def _mode(settings: Settings) -> str:
    return settings.choice(
        "SBM_SCHEDULING",
        "subscription" if settings.text("SCHEDULER_URL") else "builtin",
        ("subscription", "schedule", "builtin"),
    )


def _scheduling(settings: Settings, public_url: str) -> SchedulingSettings:
    has_scheduler = bool(settings.text("SCHEDULER_URL"))
    mode = _mode(settings)
    if mode != "builtin" and not has_scheduler:
        settings.problem("SCHEDULER_URL", f"is missing while SBM_SCHEDULING is {mode}")
    inbound = read_inbound_tokens(settings)
    return SchedulingSettings(
        mode=cast(Mode, mode),
        public_url=public_url,
        scheduler=(
            settings.service("SCHEDULER_URL", "SCHEDULER_API_TOKEN") if has_scheduler else None
        ),
        inbound_token=next(iter(inbound), None),
        other_inbound_tokens=inbound[1:],
        timezone=settings.timezone("SBM_SCHEDULER_TIMEZONE"),
        join_window=settings.seconds("SBM_SCHEDULER_JOIN_SECONDS", 1800, least=0, most=86400),
    )


def _check_times(settings: Settings, config: Config) -> None:
    """Refuse times with which an unknown outcome could be mistaken for a known one."""
    if settings.has_problem("DEFAULT_REQUEST_TIMEOUT"):
        return
    timeout = config.request_timeout
    if not settings.has_problem("SBM_LEASE_SECONDS") and config.lease < timeout + _LEASE_MARGIN:
        settings.problem(
            "SBM_LEASE_SECONDS",
            f"is {config.lease.total_seconds():g}, but a lease must outlast"
            f" DEFAULT_REQUEST_TIMEOUT ({timeout.total_seconds():g}) by 2 seconds",
        )
    if not settings.has_problem("SBM_SETTLE_SECONDS") and config.settle <= timeout:
        settings.problem(
            "SBM_SETTLE_SECONDS",
            f"is {config.settle.total_seconds():g}, but must be longer than"
            f" DEFAULT_REQUEST_TIMEOUT ({timeout.total_seconds():g})",
        )


def _warnings(environ: Mapping[str, str], config: Config) -> tuple[str, ...]:
    """Warn of settings that have no effect, lack something, or may have a surprising effect."""
    scheduling = config.scheduling
    warnings = [f"{scheduling.problem}, and no calls are made to it."] if scheduling.problem else []
    if config.simulation.rules.dry_runs:
        ids = ", ".join(map(str, sorted(config.simulation.rules.dry_runs)))
        warnings.append(
            f"DRY_RUN_MESSAGESETS: no message of the message sets {ids} is sent, but their"
            " subscriptions still go on from message to message."
        )
    if config.media_url.startswith("http:") and config.public_url.startswith("https:"):
        warnings.append(
            f"The addresses of files begin with {config.media_url}, though"
            " STAGE_BASED_MESSAGING_URL begins with https."
        )
    warnings += [
        f"{name} is ignored: {reason}."
        for name, reason in _IGNORED.items()
        if environ.get(name, "").strip()
    ]
    for name in sorted(environ):
        if name.startswith("SBM_") and name not in _SBM_SETTINGS:
            near = difflib.get_close_matches(name, _SBM_SETTINGS, n=1, cutoff=0.75)
            hint = f" Did you mean {near[0]}?" if near else ""
            warnings.append(f"{name} is not a setting and is ignored.{hint}")
    return tuple(warnings)
