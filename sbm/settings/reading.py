"""Reads settings: each is checked, and all problems are reported at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from attrs import field, frozen

from sbm.model.echo import echoed
from sbm.model.time_zones import find_time_zone
from sbm.settings.endpoints import DatabaseAddress, MetricsAddress, ServiceAddress

# What happens to a message that may have been sent, if the Message Sender cannot be asked.
Uncertain = Literal["at-least-once", "at-most-once"]

DATABASE_SETTING = "STAGE_BASED_MESSAGING_DATABASE"


class ConfigError(Exception):
    """Settings that are missing or wrong; ``problems`` has a sentence for each of them."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@frozen(kw_only=True)
class Settings:
    """Reads the environment, and collects all problems instead of stopping at the first.

    The value of a wrong setting is a placeholder of the right type; it is never used, because
    ``check`` raises.
    """

    environ: Mapping[str, str]
    problems: list[str] = field(factory=list)

    def check(self) -> None:
        """Raise ConfigError if anything was wrong."""
        if self.problems:
            raise ConfigError(tuple(self.problems))

    def problem(self, name: str, clause: str) -> None:
        """Record a problem of a setting; the clause follows its name in the sentence."""
        self.problems.append(f"{name} {clause}.")

    def has_problem(self, name: str) -> bool:
        """Whether this setting was found wrong."""
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

    def tokens(self, name: str) -> tuple[str, ...]:
        """Several tokens, with commas between them; the same one is taken once."""
        found = [token for token in map(str.strip, self.text(name).split(",")) if token]
        if not all(re.fullmatch(r"[!-~]+", token) for token in found):
            self.problem(name, "must be visible ASCII characters without blanks")
        return tuple(dict.fromkeys(found))

    def public_url(self) -> str:
        """Our own address; it may be set in three forms: host, …/api/v1, …/subscriptions."""
        parts = self.parts("STAGE_BASED_MESSAGING_URL")
        prefix = re.split(r"/api/v1(?=/|$)", parts.path, maxsplit=1)[0]
        return parts._replace(path=prefix.rstrip("/")).geturl()

    def media_url(self, public_url: str, *, use_ssl: bool) -> str:
        if self.text("SBM_MEDIA_URL"):
            return self.url("SBM_MEDIA_URL")
        scheme = "https" if use_ssl else "http"
        return urlsplit(f"{public_url}/media")._replace(scheme=scheme).geturl()

    def folder(self, name: str) -> Path | None:
        """A folder that exists, or None if the setting is not set."""
        text = self.text(name)
        if text and not Path(text).is_dir():
            self.problem(name, f"must be a folder that exists, not {_quoted(text)}")
        return Path(text) if text else None

    def writable_folder(self, name: str) -> Path | None:
        """The same, and files can be made in it."""
        folder = self.folder(name)
        if folder is not None and folder.is_dir():
            try:
                TemporaryFile(dir=folder).close()
            except OSError as error:
                clause = f"must be a folder that sbm can write to, not {_quoted(str(folder))}"
                self.problem(name, f"{clause}: {error.strerror}")
        return folder

    def networks(self, name: str) -> tuple[IPv4Network | IPv6Network, ...]:
        """Addresses and networks, with commas between them."""
        found = []
        for text in filter(None, (part.strip() for part in self.text(name).split(","))):
            try:
                found.append(ip_network(text))
            except ValueError:
                clause = f"must be addresses or networks such as 10.0.0.0/8, not {_quoted(text)}"
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
            self.problem("METRICS_AUTH_USER", "must not contain a colon")
        if not self.text("METRICS_URL"):
            return None
        url = self.url("METRICS_URL")
        return MetricsAddress(url=url, token=token, user=user, password=password)

    def sentry_dsn(self, name: str) -> str:
        """A DSN of Sentry, or an empty text. A problem does not quote it: it contains a key."""
        text = self.text(name)
        if text and not _is_sentry_dsn(text):
            self.problem(name, "must be a DSN such as https://key@sentry.example.org/1")
        return text

    def flag(self, name: str, *, default: bool) -> bool:
        """A setting that is true or false."""
        text = self.text(name).lower()
        if text in ("true", "yes", "on", "1"):
            return True
        if text in ("false", "no", "off", "0"):
            return False
        if text:
            self.problem(name, f"must be true or false, not {_quoted(text)}")
        return default

    def choice(self, name: str, default: str, choices: Sequence[str]) -> str:
        """One of a few words."""
        text = self.text(name) or default
        if text in choices:
            return text
        *others, last = choices
        self.problem(name, f"must be {', '.join(others)} or {last}, not {_quoted(text)}")
        return default

    def ids(self, name: str) -> frozenset[int]:
        """Whole numbers, with commas between them."""
        texts = [part.strip() for part in self.text(name).split(",") if part.strip()]
        wrong = [text for text in texts if not re.fullmatch(r"[0-9]{1,9}", text)]
        if wrong:
            self.problem(name, f"must be ids with commas between them, not {_quoted(wrong[0])}")
            return frozenset()
        return frozenset(int(text) for text in texts)

    def timezone(self, name: str) -> ZoneInfo:
        """A time zone by its IANA name, which means the same on every machine."""
        text = self.text(name) or "UTC"
        found = find_time_zone(text)
        if found is not None:
            return found
        self.problem(name, f"must be the IANA name of a time zone, not {_quoted(text)}")
        return ZoneInfo("UTC")

    def count(self, name: str, default: int, *, most: int) -> int:
        text = self.text(name) or str(default)
        if re.fullmatch(r"[0-9]{1,9}", text) and 1 <= int(text) <= most:
            return int(text)
        self.problem(name, f"must be a whole number from 1 to {most}, not {_quoted(text)}")
        return default

    def optional_count(self, name: str, *, most: int) -> int | None:
        return self.count(name, 1, most=most) if self.text(name) else None

    def seconds(self, name: str, default: float, *, least: float, most: float) -> timedelta:
        text = self.text(name) or str(default)
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text) and least <= float(text) <= most:
            return timedelta(seconds=float(text))
        self.problem(name, f"must be seconds from {least:g} to {most:g}, not {_quoted(text)}")
        return timedelta(seconds=default)


def _quoted(text: str) -> str:
    return repr(echoed(text))


def _web_address(text: str) -> SplitResult:
    """An http or https URL of a host and perhaps a path; raises ValueError with a clause."""
    wrong = ValueError("must be an http or https URL with a host, such as http://host/api/v1")
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        # A [ without a ], or a port that is not a number.
        raise wrong from None
    if not usable or re.search(r"[\x00-\x20\x7f\\]", text):
        raise wrong
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be only a host and a path: no user, password, query or fragment")
    return parts._replace(query="", fragment="")


def _is_sentry_dsn(text: str) -> bool:
    """Whether it is a web address with a key and a host, which ends with a project's number."""
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        # A [ without a ], or a port that is not a number.
        return False
    return bool(
        is_usable
        and parts.username
        and re.fullmatch(r"[!-~]+", text)
        and re.fullmatch(r"/(?:[^?#]+/)?[0-9]+", parts.path)
        and not parts.query
        and not parts.fragment
    )
