"""Templates, and how values are shown: numbers, moments and shares, in the reader's language."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from attrs import field, frozen
from babel import Locale
from babel.dates import format_datetime, format_time, format_timedelta
from babel.numbers import format_decimal, format_percent
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sbm.console.retelling import retold
from sbm.console.texts import LANGUAGES, direction, translations

# A shorter page is not worth the time.
_LEAST_COMPRESSED = 500


@frozen(eq=False, kw_only=True)
class Renderer:
    """Renders the templates; ``zone`` is the time zone in which moments are shown.

    ``addresses`` are those of the static files, by their names.
    """

    zone: ZoneInfo
    version: str
    addresses: Mapping[str, str] = field(factory=dict)
    _environments: dict[str, Environment] = field(factory=dict, init=False)

    def render(self, template: str, language: str, values: Mapping[str, Any]) -> str:
        """The page of a template, in a language."""
        environment = self._environments.get(language)
        if environment is None:
            environment = self._environments[language] = self._environment(language)
        page: str = environment.get_template(template).render(values)
        return page

    def _environment(self, language: str) -> Environment:
        environment = Environment(
            loader=PackageLoader("sbm.console"),
            autoescape=True,
            undefined=StrictUndefined,
            extensions=["jinja2.ext.i18n"],
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.install_gettext_translations(  # type: ignore[attr-defined]
            translations(language), newstyle=True
        )
        shown = Shown(language=language, zone=self.zone)
        environment.filters.update(
            number=shown.number,
            share=shown.share,
            moment=shown.moment,
            clock=shown.clock,
            ago=shown.ago,
            duration=shown.duration,
            lasting=shown.lasting,
            retold=partial(retold, translations(language)),
        )
        environment.globals.update(
            language=language,
            languages=LANGUAGES,
            direction=direction(language),
            version=self.version,
            zone=self.zone.key,
            addresses=self.addresses,
        )
        return environment


@frozen(kw_only=True)
class Shown:
    """How values are shown in a language and a time zone."""

    language: str
    zone: ZoneInfo

    def number(self, value: float) -> str:
        """A number with separators."""
        return str(format_decimal(value, locale=self.language))

    def share(self, value: float, digits: int = 0) -> str:
        """A part of one, as a percentage."""
        pattern = Locale.parse(self.language).percent_formats[None].pattern
        if digits:
            pattern = pattern.replace("0", f"0.{'0' * digits}", 1)
        return format_percent(value, format=pattern, locale=self.language)

    def moment(self, value: datetime | None) -> Markup | str:
        """A moment, as an element that machines can read, too."""
        if value is None:
            return "–"
        text = format_datetime(value, "d MMM y HH:mm", tzinfo=self.zone, locale=self.language)
        return Markup('<time datetime="{}">{}</time>').format(value.isoformat(), text)

    def clock(self, value: datetime) -> Markup:
        """The time of day of a moment."""
        text = format_time(
            value.astimezone(self.zone), "HH:mm", tzinfo=self.zone, locale=self.language
        )
        return Markup('<time datetime="{}">{}</time>').format(value.isoformat(), text)

    def ago(self, value: datetime, now: datetime) -> str:
        """How long ago a moment is, or how far ahead."""
        return format_timedelta(value - now, add_direction=True, locale=self.language)

    def duration(self, value: timedelta) -> str:
        """A length of time, in its largest unit."""
        return format_timedelta(value, locale=self.language)

    def lasting(self, seconds: float) -> str:
        """A length of time in seconds, in its largest unit."""
        return self.duration(timedelta(seconds=seconds))


def compressed(body: bytes, accepted: str | None) -> tuple[bytes, dict[str, str]]:
    """The body as it is sent, and the headers that say so.

    The secret in the forms of a page is masked anew for each page, so that nobody learns it from
    the lengths of compressed pages.
    """
    headers = {"Vary": "Accept-Encoding, Cookie"}
    if len(body) < _LEAST_COMPRESSED or not accepts_gzip(accepted):
        return body, headers
    return gzip.compress(body, compresslevel=6, mtime=0), headers | {"Content-Encoding": "gzip"}


def accepts_gzip(accepted: str | None) -> bool:
    """Whether a browser with this Accept-Encoding reads gzip."""
    for part in (accepted or "").split(","):
        coding, _, weight = part.partition(";")
        if coding.strip().lower() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
