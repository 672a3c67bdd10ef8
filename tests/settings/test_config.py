"""The settings, and what is told when they are wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import psycopg2.extensions
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from sentry_sdk.utils import Dsn

from sbm.model.content_limits import ContentLimits
from sbm.model.time_zones import TimeZones
from sbm.settings import endpoints
from sbm.settings.config import (
    Config,
    SchedulingSettings,
    read_database,
    read_expectations,
    read_scheduling,
    read_time_zones,
    read_time_zones_of_ticks,
)
from sbm.settings.endpoints import DatabaseAddress, MetricsAddress, ServiceAddress
from sbm.settings.reading import ConfigError, Settings

REQUIRED = {
    "STAGE_BASED_MESSAGING_DATABASE": "postgres://sbm:db-secret@db.example.org/sbm",
    "STAGE_BASED_MESSAGING_URL": "http://sbm.example.org/api/v1",
    "IDENTITY_STORE_URL": "http://identities.example.org/api/v1/",
    "IDENTITY_STORE_TOKEN": "identity-secret",
    "MESSAGE_SENDER_URL": "https://sender.example.org:8443/api/v1",
    "MESSAGE_SENDER_TOKEN": "sender-secret",
}

# Files beside the time zones of a machine; every machine has some of them.
NO_ZONES = (
    *("localtime", "Localtime", "Factory", "factory", "posixrules", "right/UTC"),
    *("right/Europe/Berlin", "posix/Europe/Berlin"),
)

SCHEDULER = {
    "SCHEDULER_URL": "http://scheduler/api/v1/",
    "SCHEDULER_API_TOKEN": "t",
    "SCHEDULER_INBOUND_API_TOKEN": "i",
}


def config(**changes: str) -> Config:
    return Config.from_environ({**REQUIRED, **changes})


def problems(**changes: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        config(**changes)
    return caught.value.problems


# The whole


def test_the_required_settings_are_enough() -> None:
    read = config()
    assert read.identity_store == ServiceAddress(
        url="http://identities.example.org/api/v1", token="identity-secret"
    )
    assert read.message_sender == ServiceAddress(
        url="https://sender.example.org:8443/api/v1", token="sender-secret"
    )
    assert read.database.name == "sbm"
    assert read.scheduling == SchedulingSettings(
        mode="builtin",
        public_url=read.public_url,
        scheduler=None,
        inbound_token=None,
        timezone=ZoneInfo("UTC"),
        join_window=timedelta(minutes=30),
    )
    assert read.metrics is None
    assert (read.timezone, read.tick_grace) == (ZoneInfo("UTC"), timedelta(hours=1))
    assert (read.request_timeout, read.lease) == (timedelta(seconds=30), timedelta(seconds=60))
    assert (read.settle, read.stop_grace) == (timedelta(seconds=120), timedelta(seconds=30))
    assert (read.concurrency, read.database_connections, read.ledger_months) == (50, 10, 24)
    assert (read.use_ssl, read.warnings) == (False, ())
    assert read.duplicate_window == timedelta(0)
    assert (read.backoff_max, read.max_faults) == (timedelta(seconds=60), 10)
    assert (read.uncertain, read.simulation.rules.dry_runs) == ("at-least-once", frozenset())


def test_how_sends_are_tried_again_can_be_set() -> None:
    assert config().metrics_every == timedelta(seconds=10)
    assert config(SBM_METRICS_SECONDS="0.5").metrics_every == timedelta(seconds=0.5)
    read = config(SBM_BACKOFF_MAX_SECONDS="5", SBM_MAX_FAULTS="3")
    assert (read.backoff_max, read.max_faults) == (timedelta(seconds=5), 3)


def test_what_can_be_sent_and_when_content_ends_can_be_set() -> None:
    read = config()
    assert (read.simulation.rules.max_text_length, read.simulation.rules.content_settle) == (
        1000,
        timedelta(hours=1),
    )
    read = config(SBM_MAX_TEXT_LENGTH="160", SBM_CONTENT_SETTLE_SECONDS="0")
    assert (read.simulation.rules.max_text_length, read.simulation.rules.content_settle) == (
        160,
        timedelta(0),
    )
    told = problems(SBM_MAX_TEXT_LENGTH="0", SBM_CONTENT_SETTLE_SECONDS="soon")
    assert told == (
        "SBM_MAX_TEXT_LENGTH must be a whole number from 1 to 1000000, not '0'.",
        "SBM_CONTENT_SETTLE_SECONDS must be seconds from 0 to 604800, not 'soon'.",
    )


def test_how_large_metadata_may_be_can_be_set() -> None:
    assert config().content_limits == ContentLimits(text_length=1000, metadata_bytes=16384)
    read = config(SBM_MAX_TEXT_LENGTH="160", SBM_MAX_METADATA_BYTES="262144")
    assert read.content_limits == ContentLimits(text_length=160, metadata_bytes=262144)
    assert problems(SBM_MAX_METADATA_BYTES="262145") == (
        "SBM_MAX_METADATA_BYTES must be a whole number from 1 to 262144, not '262145'.",
    )


@pytest.mark.parametrize("text", ["at-least-once", "at-most-once"])
def test_what_becomes_of_what_is_uncertain_can_be_set(text: str) -> None:
    assert config(SBM_UNCERTAIN=text).uncertain == text


def test_what_becomes_of_what_is_uncertain_is_one_of_two() -> None:
    assert problems(SBM_UNCERTAIN="exactly-once") == (
        "SBM_UNCERTAIN must be at-least-once or at-most-once, not 'exactly-once'.",
    )


@pytest.mark.parametrize(("text", "ids"), [("7", {7}), (" 7, 8,,9 ", {7, 8, 9}), (",", set())])
def test_dry_runs_are_ids_with_commas_between_them(text: str, ids: set[int]) -> None:
    assert config(DRY_RUN_MESSAGESETS=text).simulation.rules.dry_runs == ids


@pytest.mark.parametrize("text", ["x", "7;8", "-7", "7 8", "1" * 30])
def test_a_dry_run_of_something_else_is_refused(text: str) -> None:
    (problem,) = problems(DRY_RUN_MESSAGESETS=text)
    assert problem.startswith("DRY_RUN_MESSAGESETS must be ids with commas between them, not")


def test_everything_missing_is_told_at_once() -> None:
    assert problems(**dict.fromkeys(REQUIRED, "")) == (
        "STAGE_BASED_MESSAGING_URL is missing.",
        "STAGE_BASED_MESSAGING_DATABASE is missing.",
        "IDENTITY_STORE_URL is missing.",
        "IDENTITY_STORE_TOKEN is missing.",
        "MESSAGE_SENDER_URL is missing.",
        "MESSAGE_SENDER_TOKEN is missing.",
    )


def test_what_is_wrong_and_what_is_missing_are_told_together() -> None:
    told = problems(IDENTITY_STORE_TOKEN="", SBM_CONCURRENCY="many", SBM_TIMEZONE="Mars/Base")
    assert told == (
        "IDENTITY_STORE_TOKEN is missing.",
        "SBM_TIMEZONE must be the IANA name of a time zone, not 'Mars/Base'.",
        "SBM_CONCURRENCY must be a whole number from 1 to 1000, not 'many'.",
    )


def test_the_error_reads_as_a_line_for_each_problem() -> None:
    assert str(ConfigError(("A is missing.", "B is missing."))) == "A is missing.\nB is missing."


def test_an_empty_value_counts_as_not_set() -> None:
    assert config(SBM_CONCURRENCY="", METRICS_URL="  ", SCHEDULER_URL="", USE_SSL="") == config()


def test_blanks_around_a_value_are_dropped() -> None:
    assert config(MESSAGE_SENDER_TOKEN=" sender-secret\n") == config()


def test_no_secret_is_shown() -> None:
    read = config(
        SCHEDULER_URL="http://scheduler",
        SCHEDULER_API_TOKEN="scheduler-secret",
        SCHEDULER_INBOUND_API_TOKEN="inbound-secret,other-secret",
        METRICS_URL="http://metrics",
        METRICS_AUTH_TOKEN="metrics-secret",
        METRICS_AUTH_USER="me",
        METRICS_AUTH_PASSWORD="password-secret",
        AUDIO_FTP_HOST="voice.example.org",
        AUDIO_FTP_USER="sbm",
        AUDIO_FTP_PASS="audio-secret",
        SBM_AUDIO_FTP_HOST_KEY=f"SHA256:{'a' * 43}",
        STAGE_BASED_MESSAGING_DATABASE="postgres://u:db-secret@h/n?sslpassword=key-secret",
    )
    assert "secret" not in repr(read)


@pytest.mark.parametrize(
    "changes",
    [
        {"STAGE_BASED_MESSAGING_DATABASE": "postgres://u:secret@h:x/n"},
        {"STAGE_BASED_MESSAGING_DATABASE": "postgres://u:secret/@h/n"},
        {"STAGE_BASED_MESSAGING_DATABASE": "mysql://u:secret@h/n"},
        {"STAGE_BASED_MESSAGING_DATABASE": "host=h password=secret"},
        {"IDENTITY_STORE_TOKEN": "secret secret"},
        {"IDENTITY_STORE_URL": "http://u:secret@h/"},
    ],
)
def test_no_secret_is_told_in_a_problem(changes: dict[str, str]) -> None:
    assert "secret" not in " ".join(problems(**changes))


# Numbers, times, zone, flags


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DEFAULT_REQUEST_TIMEOUT", "0"),
        ("DEFAULT_REQUEST_TIMEOUT", "nan"),
        ("DEFAULT_REQUEST_TIMEOUT", "601"),
        ("SBM_LEASE_SECONDS", "-60"),
        ("SBM_LEASE_SECONDS", "1e3"),
        ("SBM_SETTLE_SECONDS", "2 minutes"),
        ("SBM_STOP_GRACE_SECONDS", "99999"),
        ("SBM_CONCURRENCY", "0"),
        ("SBM_CONCURRENCY", "1.5"),
        ("SBM_DATABASE_CONNECTIONS", "501"),
        ("SBM_DUPLICATE_WINDOW", "86401"),
        ("SBM_LEDGER_MONTHS", "-1"),
        ("SBM_STATE_DIR", "/nowhere/at/all"),
        ("SBM_STATE_DIR", "/proc"),  # nobody can make files there
        ("SBM_TIMEZONE", "/etc/localtime"),
        ("SBM_TIMEZONE", "Europe"),
        ("SBM_SCHEDULER_TIMEZONE", "Mars/Base"),
        ("SBM_TIMEZONE", "../UTC"),
        *(("SBM_TIMEZONE", name) for name in NO_ZONES),
        *(("SBM_SCHEDULER_TIMEZONE", name) for name in NO_ZONES),
        ("USE_SSL", "maybe"),
    ],
)
def test_a_value_out_of_its_range_is_refused_by_name(name: str, text: str) -> None:
    (told,) = problems(**{name: text})
    assert told.startswith(f"{name} must be ")
    assert repr(text) in told


def test_times_may_be_fractions_of_a_second() -> None:
    assert config(DEFAULT_REQUEST_TIMEOUT="2.5").request_timeout == timedelta(seconds=2.5)


def test_a_lease_must_outlast_a_request_by_two_seconds() -> None:
    assert config(SBM_LEASE_SECONDS="32").lease == timedelta(seconds=32)
    assert problems(SBM_LEASE_SECONDS="31.9") == (
        "SBM_LEASE_SECONDS is 31.9, but a lease must outlast DEFAULT_REQUEST_TIMEOUT (30)"
        " by 2 seconds.",
    )


def test_the_settle_time_must_be_longer_than_a_request() -> None:
    assert config(SBM_SETTLE_SECONDS="30.1").settle == timedelta(seconds=30.1)
    assert problems(SBM_SETTLE_SECONDS="30") == (
        "SBM_SETTLE_SECONDS is 30, but must be longer than DEFAULT_REQUEST_TIMEOUT (30).",
    )


def test_times_are_not_compared_with_one_that_could_not_be_read() -> None:
    assert len(problems(DEFAULT_REQUEST_TIMEOUT="100", SBM_LEASE_SECONDS="long")) == 1


def test_the_time_zone_is_an_iana_name() -> None:
    assert config(SBM_TIMEZONE="Africa/Johannesburg").timezone == ZoneInfo("Africa/Johannesburg")


def test_how_late_a_tick_is_made_up_for_can_be_set() -> None:
    assert config(SBM_TICK_GRACE_SECONDS="90").tick_grace == timedelta(seconds=90)
    (problem,) = problems(SBM_TICK_GRACE_SECONDS="1")
    assert problem == "SBM_TICK_GRACE_SECONDS must be seconds from 5 to 604800, not '1'."


@pytest.mark.parametrize(
    ("text", "value"), [("True", True), ("1", True), ("on", True), ("False", False), ("0", False)]
)
def test_use_ssl_is_a_flag(text: str, value: bool) -> None:
    for scheme in ("http", "https"):
        url = f"{scheme}://sbm.example.org"
        assert config(USE_SSL=text, STAGE_BASED_MESSAGING_URL=url).use_ssl is value


@pytest.mark.parametrize("scheme", ["http", "https", "HTTPS"])
def test_without_use_ssl_files_are_fetched_as_the_service_is(scheme: str) -> None:
    read = config(STAGE_BASED_MESSAGING_URL=f"{scheme}://sbm.example.org/api/v1")
    assert read.media_url == f"{scheme.lower()}://sbm.example.org/media"
    assert read.warnings == ()


def test_files_that_are_fetched_without_ssl_though_the_service_is_not_are_told_of() -> None:
    url = "https://sbm.example.org"
    (told,) = config(USE_SSL="false", STAGE_BASED_MESSAGING_URL=url).warnings
    assert told == (
        "The addresses of files begin with http://sbm.example.org/media, though"
        " STAGE_BASED_MESSAGING_URL begins with https."
    )
    media = "https://files.example.org"
    read = config(USE_SSL="false", STAGE_BASED_MESSAGING_URL=url, SBM_MEDIA_URL=media)
    assert read.warnings == ()


def test_it_is_told_that_a_dry_run_moves_subscriptions_on() -> None:
    (told,) = config(DRY_RUN_MESSAGESETS="12, 3").warnings
    assert told == (
        "DRY_RUN_MESSAGESETS: no message of the message sets 3, 12 is sent, but their subscriptions"
        " still go on from message to message."
    )


def test_a_value_is_quoted_up_to_200_characters() -> None:
    (told,) = problems(SBM_CONCURRENCY="x" * 10_000)
    assert told.count("x") == 200


# URLs


@pytest.mark.parametrize(
    ("given_url", "public_url"),
    [
        ("http://sbm.example.org", "http://sbm.example.org"),
        ("http://sbm.example.org/", "http://sbm.example.org"),
        ("http://sbm.example.org:8000/api/v1", "http://sbm.example.org:8000"),
        ("http://sbm.example.org/api/v1/", "http://sbm.example.org"),
        ("https://sbm.example.org/api/v1/subscriptions", "https://sbm.example.org"),
        ("https://sbm.example.org/api/v1/subscriptions//", "https://sbm.example.org"),
        ("https://example.org/sbm/api/v1/subscriptions", "https://example.org/sbm"),
        ("https://example.org/api/v10", "https://example.org/api/v10"),
    ],
)
def test_the_public_url_is_taken_in_all_forms_in_use(given_url: str, public_url: str) -> None:
    assert config(STAGE_BASED_MESSAGING_URL=given_url).public_url == public_url


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/",
        "host/api/v1",
        "//host",
        "http://",
        "http:///api",
        "http://host:port/",
        "http://host:0/",
        "http://[::1/",
        "http://ho st/",
        "http://host/?a=b",
        "http://host/#a",
        "http://user@host/",
    ],
)
def test_a_url_must_be_http_with_a_host(url: str) -> None:
    for name in ("IDENTITY_STORE_URL", "STAGE_BASED_MESSAGING_URL", "SBM_MEDIA_URL", "METRICS_URL"):
        (told,) = problems(**{name: url})
        assert told.startswith(f"{name} must be ")


@pytest.mark.parametrize(
    ("changes", "media_url"),
    [
        ({}, "http://sbm.example.org/media"),
        ({"USE_SSL": "true"}, "https://sbm.example.org/media"),
        ({"STAGE_BASED_MESSAGING_URL": "https://a.example.org"}, "https://a.example.org/media"),
        ({"SBM_MEDIA_URL": "https://files.example.org/m/"}, "https://files.example.org/m"),
    ],
)
def test_media_are_found_at_the_public_host_or_elsewhere(
    changes: dict[str, str], media_url: str
) -> None:
    assert config(**changes).media_url == media_url


def test_a_scheduler_needs_a_token() -> None:
    assert problems(SCHEDULER_URL="http://scheduler") == ("SCHEDULER_API_TOKEN is missing.",)
    read = config(**SCHEDULER).scheduling
    assert read.scheduler == ServiceAddress(url="http://scheduler/api/v1", token="t")
    assert (read.mode, read.inbound_token) == ("subscription", "i")


def test_the_scheduler_may_have_several_tokens_while_they_change() -> None:
    read = config(**SCHEDULER | {"SCHEDULER_INBOUND_API_TOKEN": "new, old,,new,older,"}).scheduling
    assert (read.inbound_token, read.inbound_tokens) == ("new", ("new", "old", "older"))
    assert config().scheduling.inbound_tokens == ()
    told = problems(**SCHEDULER | {"SCHEDULER_INBOUND_API_TOKEN": "new,o ld"})
    assert told == ("SCHEDULER_INBOUND_API_TOKEN must be visible ASCII characters without blanks.",)


def test_how_many_tokens_a_user_has_can_be_set() -> None:
    assert (config().max_tokens, config(SBM_MAX_TOKENS="3").max_tokens) == (100, 3)
    assert problems(SBM_MAX_TOKENS="0") == (
        "SBM_MAX_TOKENS must be a whole number from 1 to 100000, not '0'.",
    )


def test_when_calls_of_the_scheduler_are_joined_can_be_set() -> None:
    changes = {
        "SBM_SCHEDULER_TIMEZONE": "Africa/Johannesburg",
        "SBM_SCHEDULER_JOIN_SECONDS": "90.5",
    }
    read = config(**changes).scheduling
    assert read.timezone == ZoneInfo("Africa/Johannesburg")
    assert read.join_window == timedelta(seconds=90.5)
    assert read_scheduling({**REQUIRED, **changes}).timezone == read.timezone
    assert config(SBM_SCHEDULER_JOIN_SECONDS="0").scheduling.join_window == timedelta(0)
    assert problems(SBM_SCHEDULER_TIMEZONE="Joburg", SBM_SCHEDULER_JOIN_SECONDS="86401") == (
        "SBM_SCHEDULER_TIMEZONE must be the IANA name of a time zone, not 'Joburg'.",
        "SBM_SCHEDULER_JOIN_SECONDS must be seconds from 0 to 86400, not '86401'.",
    )


def test_a_scheduler_that_makes_the_ticks_has_the_say_about_time_zones() -> None:
    zones = {"SBM_TIMEZONE": "Europe/Berlin", "SBM_SCHEDULER_TIMEZONE": "Africa/Johannesburg"}
    berlin, joburg = map(ZoneInfo, zones.values())
    for changes, whole, of_ticks in (
        (zones, TimeZones(default=berlin), TimeZones(default=berlin)),
        (
            zones | SCHEDULER,
            TimeZones(default=berlin, scheduler=joburg),
            TimeZones(default=joburg, scheduler=joburg),
        ),
        (
            zones | SCHEDULER | {"SBM_SCHEDULING": "builtin"},
            TimeZones(default=berlin),
            TimeZones(default=berlin),
        ),
    ):
        settings = Settings(environ=changes)
        assert config(**changes).time_zones == whole
        assert read_time_zones(settings) == whole
        assert read_time_zones_of_ticks(settings) == of_ticks
        assert read_expectations(settings) == config(**changes).expectations
        assert config(**changes).expectations.time_zone == of_ticks.default


def test_that_the_scheduler_cannot_call_back_is_told_where_it_should() -> None:
    told = {**SCHEDULER, "SCHEDULER_INBOUND_API_TOKEN": ""}
    (warning,) = config(**told).warnings
    assert "SCHEDULER_INBOUND_API_TOKEN is missing" in warning
    assert config(**told, SBM_SCHEDULING="builtin").warnings == ()
    assert config(**SCHEDULER).warnings == ()


def test_with_a_scheduler_one_can_schedule_otherwise() -> None:
    for mode in ("subscription", "schedule", "builtin"):
        assert config(**SCHEDULER, SBM_SCHEDULING=mode).scheduling.mode == mode
    assert problems(**SCHEDULER, SBM_SCHEDULING="cron") == (
        "SBM_SCHEDULING must be subscription, schedule or builtin, not 'cron'.",
    )


@pytest.mark.parametrize("mode", ["subscription", "schedule"])
def test_nothing_is_scheduled_elsewhere_without_a_scheduler(mode: str) -> None:
    assert problems(SBM_SCHEDULING=mode) == (
        f"SCHEDULER_URL is missing while SBM_SCHEDULING is {mode}.",
    )
    assert config(SBM_SCHEDULING="builtin").scheduling.mode == "builtin"


def test_the_command_about_the_scheduler_needs_less() -> None:
    told = {**SCHEDULER, "STAGE_BASED_MESSAGING_URL": "https://sbm/api/v1"}
    assert read_scheduling(told).public_url == "https://sbm"
    with pytest.raises(ConfigError, match=r"STAGE_BASED_MESSAGING_URL is missing\."):
        read_scheduling(SCHEDULER)


def test_a_token_must_fit_into_a_header() -> None:
    assert problems(SCHEDULER_INBOUND_API_TOKEN="two\nlines") == (
        "SCHEDULER_INBOUND_API_TOKEN must be visible ASCII characters without blanks.",
    )


def test_metrics_take_a_token_or_a_user_with_a_password() -> None:
    url = "http://metrics"
    assert config(METRICS_URL=url).metrics == MetricsAddress(url=url)
    assert config(METRICS_URL=url, METRICS_AUTH_TOKEN="t").metrics == MetricsAddress(
        url=url, token="t"
    )
    assert config(
        METRICS_URL=url, METRICS_AUTH_USER="me", METRICS_AUTH_PASSWORD="pass word"
    ).metrics == MetricsAddress(url=url, user="me", password="pass word")


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("METRICS_AUTH_USER", "METRICS_AUTH_PASSWORD"),
        ("METRICS_AUTH_PASSWORD", "METRICS_AUTH_USER"),
    ],
)
def test_a_user_of_the_metrics_goes_with_a_password(name: str, other: str) -> None:
    assert problems(**{name: "x"}) == (f"{other} is missing while {name} is set.",)


# Sentry


@pytest.mark.parametrize(
    "dsn",
    [
        "https://key@sentry.example.org/1",
        "https://key:sentry-secret@o1.ingest.sentry.example.org:8443/a/path/12",
        "http://key@127.0.0.1:9000/7",
    ],
)
def test_a_dsn_of_sentry_is_used_as_it_is(dsn: str) -> None:
    read = config(STAGE_BASED_MESSAGING_SENTRY_DSN=f" {dsn} ")
    assert (read.sentry_dsn, read.warnings) == (dsn, ())
    assert "://key" not in repr(read)
    # The SDK reads it as well.
    assert Dsn(dsn).public_key == "key"


def test_without_a_dsn_nothing_is_reported() -> None:
    assert config().sentry_dsn == config(STAGE_BASED_MESSAGING_SENTRY_DSN=" ").sentry_dsn == ""


@pytest.mark.parametrize(
    "dsn",
    [
        "sentry-secret",
        "https://sentry.example.org/1",
        "https://sentry-secret@/1",
        "https://:sentry-secret@sentry.example.org/1",
        "https://sentry-secret@sentry.example.org/",
        "https://sentry-secret@sentry.example.org/project",
        "https://sentry-secret@sentry.example.org/1/",
        "https://sentry-secret@sentry.example.org/1?verify_ssl=0",
        "https://sentry-secret@sentry.example.org/1#a",
        "https://sentry-secret@sentry.example.org:port/1",
        "https://sentry-secret@sentry.example.org:0/1",
        "https://sentry-secret@[::1/1",
        "https://sentry-secret@sentry.example.org/a b/1",
        "https://sentry-secret@sentry.example.org/ü/1",
        "threaded+https://sentry-secret@sentry.example.org/1",
    ],
)
def test_a_dsn_that_cannot_be_used_is_refused_and_its_key_is_not_shown(dsn: str) -> None:
    assert problems(STAGE_BASED_MESSAGING_SENTRY_DSN=dsn) == (
        "STAGE_BASED_MESSAGING_SENTRY_DSN must be a DSN such as https://key@sentry.example.org/1.",
    )


# Warnings


def test_settings_to_no_effect_are_warned_of() -> None:
    assert config(
        BROKER_URL="redis://",
        DEBUG="False",
        SECRET_KEY="django-secret",
        SBM_LEASE_SECOND="60",
        SBM_ZZZ="",
        SBM_MEDIA_URL="",
        HOME="/",
    ).warnings == (
        "BROKER_URL is ignored: no broker is needed.",
        "DEBUG is ignored: there is no debug mode.",
        "SECRET_KEY is ignored: nothing is signed with it.",
        "SBM_LEASE_SECOND is not a setting and is ignored. Did you mean SBM_LEASE_SECONDS?",
        "SBM_ZZZ is not a setting and is ignored.",
    )


def test_no_setting_that_is_read_is_warned_of() -> None:
    class Remembering(dict[str, str]):
        """An environment that knows what it was asked for."""

        asked: ClassVar[set[str]] = set()

        def get(self, name: str, default: Any = None) -> Any:
            self.asked.add(name)
            return super().get(name, default)

    environ = Remembering(REQUIRED)
    Config.from_environ(environ)
    known = dict.fromkeys((name for name in environ.asked if name.startswith("SBM_")), "")
    assert len(known) > 5
    assert config(**known).warnings == ()


# The database


def test_the_option_takes_the_place_of_the_setting() -> None:
    read = Config.from_environ(REQUIRED, database="postgres://elsewhere/other")
    assert read.database == DatabaseAddress(hosts=(("elsewhere", 5432),), name="other")


def test_a_wrong_option_is_told_as_such() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_environ(REQUIRED, database="sqlite:///db.sqlite3")
    assert caught.value.problems == (
        "STAGE_BASED_MESSAGING_DATABASE (given as --database) has the scheme 'sqlite', but only"
        " PostgreSQL is supported: postgres://user:password@host:5432/name.",
    )


def test_the_database_can_be_read_alone() -> None:
    name = "STAGE_BASED_MESSAGING_DATABASE"
    assert read_database({name: "postgres:///sbm"}).name == "sbm"
    assert read_database({}, database="postgres:///x").name == "x"
    with pytest.raises(ConfigError) as caught:
        read_database({})
    assert caught.value.problems == (f"{name} is missing.",)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgres://u:p@h/sbm", [("h", 5432)]),
        ("postgresql://h:6543/sbm", [("h", 6543)]),
        ("PGSQL://h/sbm", [("h", 5432)]),
        ("postgis://h/sbm", [("h", 5432)]),
        ("timescale://h/sbm", [("h", 5432)]),
        ("postgres://h1:5433,h2/sbm", [("h1", 5433), ("h2", 5432)]),
        ("postgres://[::1]:5433,[fe80::2]/sbm", [("::1", 5433), ("fe80::2", 5432)]),
        ("postgres:///sbm", [("", 5432)]),
        ("postgres://u@/sbm", [("", 5432)]),
        ("postgres://u@:5433/sbm", [("", 5433)]),
        ("postgres://%2Fvar%2Frun/sbm", [("/var/run", 5432)]),
        ("postgres://%2fvar%2frun:5433/sbm", [("/var/run", 5433)]),
        ("postgresql://postgres@/sbm?host=/some/dir", [("/some/dir", 5432)]),
        ("postgresql://postgres:@/sbm?host=/some/c++", [("/some/c++", 5432)]),
        ("postgresql:///sbm?host=/some/dir&port=5433", [("/some/dir", 5433)]),
        ("postgresql:///sbm?host=a,b&port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql://x:7/sbm?host=a", [("a", 7)]),
        ("postgresql:///sbm?host=a,b&port=5433", [("a", 5433), ("b", 5433)]),
        ("postgresql://x:5433/sbm?host=a,b", [("a", 5433), ("b", 5433)]),
        ("postgresql://h/sbm?host=&port=&dbname=", [("h", 5432)]),
        ("postgresql://?dbname=sbm&host=a", [("a", 5432)]),
    ],
)
def test_hosts_are_found_in_all_forms(url: str, hosts: list[tuple[str, int]]) -> None:
    address = DatabaseAddress.parse(url)
    assert (list(address.hosts), address.name) == (hosts, "sbm")


def test_the_account_and_the_name_are_percent_decoded() -> None:
    address = DatabaseAddress.parse("postgres://us%40er:p%2Fa%3As+s@h/my%20db")
    assert (address.user, address.password, address.name) == ("us@er", "p/a:s+s", "my db")


@pytest.mark.parametrize("password", ["se/cret", "se?cret", "12/cret", "12?cret", "s@e/c?ret@"])
@pytest.mark.parametrize("rest", ["@h/n", "@h:5433/n?sslmode=require", "@h1,h2/n"])
def test_a_password_that_is_not_percent_encoded_is_told_so_and_not_told(
    password: str, rest: str
) -> None:
    with pytest.raises(ValueError, match="a / in it is written %2F") as caught:
        DatabaseAddress.parse(f"postgres://user:{password}{rest}")
    assert "cret" not in str(caught.value)
    (told,) = problems(STAGE_BASED_MESSAGING_DATABASE=f"postgres://user:{password}{rest}")
    assert told.startswith("STAGE_BASED_MESSAGING_DATABASE has a user, password or name that is")


@pytest.mark.parametrize(
    "password", ["p#w", "p w", "p@w", "p:w", "p%w", "100%", "[p]", "p&w=", "€"]
)
def test_other_characters_of_a_password_are_taken_as_they_are(password: str) -> None:
    address = DatabaseAddress.parse(f"postgres://user:{password}@h:1/n?sslmode=require")
    assert (address.password, address.hosts) == (password, (("h", 1),))


def test_a_percent_sign_that_stands_for_no_character_is_told() -> None:
    with pytest.raises(ValueError, match="a % that stands for itself is written %25"):
        DatabaseAddress.parse("postgres://user:p%e4@h/n")


@pytest.mark.parametrize("url", ["user:cret://x@h/n", "p@cret:5432"])
def test_what_is_no_url_is_not_quoted(url: str) -> None:
    with pytest.raises(ValueError, match="must be a URL such as") as caught:
        DatabaseAddress.parse(url)
    assert "cret" not in str(caught.value)


def test_an_at_sign_in_a_parameter_is_no_fault_of_the_password() -> None:
    address = DatabaseAddress.parse("postgres:///n?host=/run&user=me@example.org")
    assert (address.user, address.hosts) == ("me@example.org", (("/run", 5432),))


def test_a_password_may_hold_what_has_no_meaning_there() -> None:
    assert DatabaseAddress.parse("postgres://u:p@s:s#[1]@h/n").password == "p@s:s#[1]"


def test_parameters_are_told_to_libpq_except_the_one_without_effect() -> None:
    address = DatabaseAddress.parse(
        "postgres://u:p@h/n?sslmode=verify-full&sslrootcert=%2Fca.pem&application_name=a%20b"
        "&connect_timeout=3"
    )
    assert address.parameters() == {
        "dbname": "n",
        "user": "u",
        "password": "p",
        "sslmode": "verify-full",
        "sslrootcert": "/ca.pem",
        "application_name": "a b",
    }


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("&options=-c%20work_mem=1MB&", {"options": "-c work_mem=1MB"}),
        ("keepalives", {"keepalives": ""}),
        ("application_name=50%off", {"application_name": "50%off"}),
    ],
)
def test_parameters_that_libpq_alone_would_refuse_are_read(
    query: str, options: dict[str, str]
) -> None:
    assert DatabaseAddress.parse(f"postgres://h/n?{query}").options == options


def test_a_parameter_that_the_installed_libpq_does_not_know_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endpoints, "_PARAMETERS", endpoints._PARAMETERS | {"new_in_19"})
    monkeypatch.setattr(endpoints, "_LIBPQ_OPTIONS", endpoints._LIBPQ_OPTIONS | {"new_in_19"})
    with pytest.raises(ValueError, match="the installed libpq does not know"):
        DatabaseAddress.parse("postgres://h/n?new_in_19=1")


def test_what_is_not_known_of_the_account_is_left_to_libpq() -> None:
    assert DatabaseAddress.parse("postgres:///n").parameters() == {"dbname": "n"}


@pytest.mark.parametrize(
    ("url", "clause"),
    [
        ("mysql://h/n", "has the scheme 'mysql'"),
        ("sqlite://:memory:", "has the scheme 'sqlite'"),
        ("cockroach://h/n", "has the scheme 'cockroach'"),
        ("sbm", "must be a URL such as postgres://"),
        ("postgres://h", "does not name a database"),
        ("postgres://h/", "does not name a database"),
        ("postgres://h/n?sslmod=x&ssl=y", "parameters that are not supported: ssl, sslmod"),
        ("postgres://h/n?ssl=true", "parameters that are not supported: ssl"),
        ("postgres://[::1/n", "not of the form host:port"),
        ("postgres://[::1]x/n", "not of the form host:port"),
        ("postgres://::1/n", "not of the form host:port"),
        ("postgres://h/n?hostaddr=1.2.3.4", "parameters that are not supported: hostaddr"),
        ("postgres://h:0/n", "has a port that is not a number from 1 to 65535"),
        ("postgres://h:99999/n", "has a port that is not a number from 1 to 65535"),
        ("postgres://h:1:2/n", "not of the form host:port"),
        ("postgres:///n?host=a,b&port=1,2,3", "has 2 hosts, but 3 ports"),
        ("postgres://h/%ff", "percent-encoding that is not UTF-8"),
        ("postgres://h/a%00b", "contains a NUL character"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, clause: str) -> None:
    with pytest.raises(ValueError, match=clause.replace("(", r"\(")):
        DatabaseAddress.parse(url)


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
addresses = st.builds(
    DatabaseAddress,
    hosts=st.lists(
        st.tuples(
            st.sampled_from(["", "h", "db.example.org", "::1", "/var/run/a b", "/c++", "10.0.0.1"]),
            st.integers(1, 65535),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    name=texts.filter(bool),
    user=texts,
    password=texts,
    options=st.dictionaries(st.sampled_from(["application_name", "options"]), texts),
)


@given(addresses)
def test_the_uri_says_the_same_to_us_and_to_libpq(address: DatabaseAddress) -> None:
    assert DatabaseAddress.parse(address.uri()) == address
    told = psycopg2.extensions.parse_dsn(address.uri())
    assert told.pop("host", "") == ",".join(host for host, _ in address.hosts)
    assert told.pop("port") == ",".join(str(port) for _, port in address.hosts)
    parameters = address.parameters()
    assert {key: told.get(key, "") for key in parameters} == parameters


def test_one_host_can_be_taken_from_several() -> None:
    address = DatabaseAddress.parse("postgres://u:p@h1,h2:5433/n")
    one = evolve(address, hosts=address.hosts[1:])
    assert one.uri() == "postgresql://u:p@h2:5433/n"


# The web


def test_uploads_may_be_as_large_as_is_said() -> None:
    assert config().max_upload_bytes == 50 * 2**20
    assert config(SBM_MAX_UPLOAD_BYTES="1000").max_upload_bytes == 1000
    assert problems(SBM_MAX_UPLOAD_BYTES="5 MB") == (
        "SBM_MAX_UPLOAD_BYTES must be a whole number from 1 to 536870912, not '5 MB'.",
    )


def test_trusted_proxies_are_addresses_and_networks() -> None:
    assert config().trusted_proxies == ()
    read = config(SBM_TRUSTED_PROXIES="10.0.0.1, 192.168.0.0/16,::1,").trusted_proxies
    assert [str(one) for one in read] == ["10.0.0.1/32", "192.168.0.0/16", "::1/128"]
    assert problems(SBM_TRUSTED_PROXIES="10.0.0.1/8,proxy,::1") == (
        "SBM_TRUSTED_PROXIES must be addresses or networks such as 10.0.0.0/8, not '10.0.0.1/8'.",
        "SBM_TRUSTED_PROXIES must be addresses or networks such as 10.0.0.0/8, not 'proxy'.",
    )
