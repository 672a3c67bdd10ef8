"""The fields of schedules in forms, and their ticks in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from babel.dates import format_datetime

from sbm.console.drafting import given
from sbm.console.form_fields import FormField, FormState
from sbm.console.screens.set_fields import limit_fields
from sbm.console.visit import Visit
from sbm.model.cron import CRON_FIELDS, Cron
from sbm.web.resources.schedules import SCHEMA

TICKS = 5


def given_schedule(form: Mapping[str, str]) -> dict[str, str]:
    """The fields of a schedule in a form. An empty cron field means any value."""
    values = given(SCHEMA, form)
    return {
        name: value.strip() or "*" if name in CRON_FIELDS else value
        for name, value in values.items()
    }


def ticks_of(
    visit: Visit, cron: Cron | None, zone: ZoneInfo | None, now: datetime
) -> Sequence[tuple[str, str]]:
    """The next ticks, in the schedule's own time zone: for machines, and for people."""
    if cron is None or zone is None:
        return []
    return [
        (
            moment.isoformat(),
            format_datetime(moment, "EEE d MMM y HH:mm", tzinfo=zone, locale=visit.language),
        )
        for moment in cron.upcoming(now, zone, count=TICKS)
    ]


def schedule_fields(visit: Visit, state: FormState) -> Sequence[FormField]:
    """The fields of a schedule."""
    _ = visit._
    return [
        state.of("minute", _("Minutes"), hint=_("0 to 59; 0,30 or */15 for several."), longest=64),
        state.of(
            "hour", _("Hours of the day"), hint=_("0 to 23; 8,18 or 8-18 for several."), longest=64
        ),
        state.of(
            "day_of_week",
            _("Days of the week"),
            hint=_("1 is Monday, 7 is Sunday; 1,4 or 1-5 for several; * for all."),
            longest=64,
        ),
        state.of("day_of_month", _("Days of the month"), hint=_("1 to 31; * for all."), longest=64),
        state.of("month_of_year", _("Months"), hint=_("1 to 12; * for all."), longest=64),
        state.of(
            "time_zone",
            _("Time zone"),
            hint=_("Such as Africa/Johannesburg. Empty: that of this service."),
            longest=64,
        ),
        *limit_fields(visit, state),
        state.of(
            "max_rate",
            _("Most messages in a second"),
            kind="number",
            hint=_("From all daemons together. Empty: any number."),
        ),
        state.of(
            "canary",
            _("First messages, then wait"),
            kind="number",
            hint=_("Each tick waits after so many messages until a person releases it."),
        ),
        state.of(
            "brake_percent",
            _("Stop if more than this share fails, in percent"),
            kind="number",
            hint=_("The tick stops, and waits for a person. Empty: it does not stop."),
        ),
        state.of(
            "brake_after",
            _("The brake looks at this many messages, at least"),
            kind="number",
            hint=_("It is needed if there is a share."),
        ),
    ]
