"""Today: did it go out this morning, and is anything wrong?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import field, frozen
from babel.dates import format_date
from klein import Klein
from twisted.web.server import Request

from sbm.console import tick_words, wording
from sbm.console.actions import sentence_of
from sbm.console.answering import PageNeeds, Pages
from sbm.console.cron_words import words
from sbm.console.scope_words import concerned
from sbm.console.shared_reading import SharedReading
from sbm.console.visit import View, Visit
from sbm.model.tick_times import Expectations
from sbm.model.time_zones import TimeZones
from sbm.operations import day_report
from sbm.operations.day_report import DayReport, TickToday
from sbm.operations.tick_times import ScheduleState
from sbm.store.schedules import ToldSchedule
from sbm.telemetry import Telemetry

# Who is asked about is answered within the settle time, as a rule minutes.
OLD_UNKNOWN = timedelta(minutes=15)

OPERATIONS = "/console/operations/"

# So many of a list are shown; the others are counted.
MOST_SHOWN = 8


@frozen(kw_only=True)
class Warned:
    """A sentence about what is wrong, and the page that says more."""

    sentence: str
    place: str = OPERATIONS


@frozen(eq=False, kw_only=True)
class Today:
    """The first page. It is read once a second, however many look at it."""

    app = Klein()

    pages: Pages
    by: Expectations
    zones: TimeZones
    telemetry: Telemetry
    _report: SharedReading[DayReport] = field(init=False)

    @_report.default
    def _shared(self) -> SharedReading[DayReport]:
        return SharedReading(reactor=self.pages.database.reactor, read=self._read)

    @app.route("/")
    async def today(self, request: Request) -> bytes:
        return await self.pages.answer(request, PageNeeds(), get=self._today)

    async def _read(self) -> DayReport:
        return await self.pages.database.read(
            day_report.read, by=self.by, zone=self.pages.renderer.zone
        )

    async def _today(self, visit: Visit) -> View:
        report = await self._report.get()
        values = self._shown(visit, report) | {
            "done": await sentence_of(visit),
            "ticking_zone": self.by.time_zone.key,
            "not_sent_of": next((one for one in report.ticks if one.unsent), None),
        }
        return View(template="today.html", values=values)

    async def live(self, visit: Visit, _key: str) -> Mapping[str, Any]:
        """What is in the part of the page that changes by itself."""
        return self._shown(visit, await self._report.get())

    def _shown(self, visit: Visit, report: DayReport) -> dict[str, Any]:
        coming = report.next_of_today()
        return {
            "report": report,
            "words": tick_words,
            "wording": wording,
            "warnings": self._warnings(visit, report),
            "rows": [_row(one) for one in report.ticks],
            "coming": [self._coming(visit, report, one) for one in coming[:MOST_SHOWN]],
            "more_coming": max(0, len(coming) - MOST_SHOWN),
            "next_of_all": self._next_of_all(visit, report),
            "week": _week(visit, report),
            "intake": _intake(report),
            "silent": _silent(report),
            "checked_at": self._checked_at(),
            "mode": self.by.mode,
        }

    def _coming(self, visit: Visit, report: DayReport, state: ScheduleState) -> dict[str, Any]:
        """A schedule, and when it ticks next."""
        schedule = report.schedules.get(state.schedule_id)
        zone = None if schedule is None else self.zones.of(schedule.time_zone)
        other = zone is not None and zone.key != self.pages.renderer.zone.key
        assert state.next is not None
        return {
            "id": state.schedule_id,
            "at": state.next,
            "sets": report.sets.get(state.schedule_id, ()),
            "due": _due(visit, schedule),
            "there": f"{state.next.astimezone(zone):%H:%M} {zone.key}" if zone and other else "",
        }

    def _next_of_all(self, visit: Visit, report: DayReport) -> dict[str, Any] | None:
        found = report.next_of_all()
        return None if found is None else self._coming(visit, report, found)

    def _checked_at(self) -> datetime | None:
        """When this daemon last checked the balance of the ledger, if it does."""
        found = self.telemetry.measured("ledger.checked_at")
        return None if found is None else datetime.fromtimestamp(found, self.by.time_zone)

    def _warnings(self, visit: Visit, report: DayReport) -> list[Warned]:
        """What is wrong, the worst first."""
        return [
            *self._of_daemons(visit, report),
            *_of_pauses(visit, report),
            *_of_ticks(visit, report),
            *(Warned(sentence=one) for one in (self.telemetry.server_warning,) if one),
        ]

    def _of_daemons(self, visit: Visit, report: DayReport) -> list[Warned]:
        told = []
        if not report.status.is_sending:
            told.append(visit._("No daemon sends: none lives, or all are paused."))
        away = {
            name: service["reason"]
            for one in report.status.daemons
            if not one.is_silent
            for name, service in one.services.items()
            if service["is_away"]
        }
        for name, reason in sorted(away.items()):
            sentence = visit._(
                "%(service)s is away (%(reason)s). Nothing is lost: it is tried again."
            )
            told.append(sentence % {"service": name.replace("_", " "), "reason": reason})
        oldest = max((one.unknown_seconds or 0.0 for one in report.status.queue), default=0.0)
        if oldest > OLD_UNKNOWN.total_seconds():
            count = sum(one.count for one in report.status.queue if one.state == "unknown")
            told.append(
                visit.counted(
                    "Of %(num)s send it is not known whether it was sent, and that for long.",
                    "Of %(num)s sends it is not known whether they were sent, and that for long.",
                    count,
                )
            )
        return [Warned(sentence=one) for one in told]


def _of_pauses(visit: Visit, report: DayReport) -> list[Warned]:
    told = [
        visit._("The daemons are paused: %(reason)s") % {"reason": one.reason}
        for one in report.status.pauses
    ]
    for pause in report.status.send_pauses:
        sentence = visit._("%(who)s has paused sends (%(what)s): %(why)s")
        told.append(
            sentence
            % {"who": pause.paused_by, "what": concerned(visit._, pause.scope), "why": pause.reason}
        )
    return [Warned(sentence=one) for one in told]


def _of_ticks(visit: Visit, report: DayReport) -> list[Warned]:
    told = [
        Warned(
            sentence=f"{visit._('Tick %(id)s') % {'id': one.id}}:"
            f" {visit._(tick_words.HOLD_WORDS[one.hold])}",
            place=f"/console/ticks/{one.id}/",
        )
        for one in report.status.ticks
        if one.hold in ("braked", "canary")
    ]
    late = report.overdue()
    if late:
        told.append(
            Warned(
                sentence=visit.counted(
                    "%(num)s schedule has not ticked, although it was due.",
                    "%(num)s schedules have not ticked, although they were due.",
                    len(late),
                )
            )
        )
    if report.unbalanced:
        sentence = visit.counted(
            "The ledger does not hold: %(num)s tick is unbalanced.",
            "The ledger does not hold: %(num)s ticks are unbalanced.",
            report.unbalanced,
        )
        told.append(Warned(sentence=sentence))
    return told


def _row(one: TickToday) -> dict[str, Any]:
    """A tick as the template shows it."""
    tick, progress = one.tick, one.progress
    stopped = getattr(tick, "stopped_by", None)
    state: str = "stopped" if stopped else tick.state
    if progress is None and state == "expanded":
        state = "ended"
    return {
        "id": tick.id,
        "schedule_id": tick.schedule_id,
        "due_at": tick.due_at,
        "state": state,
        "hold": tick.hold,
        "settled": tick.settled,
        "members": tick.members,
        "is_estimate": tick.state == "expanding",
        "progress": progress,
        "unsent": one.unsent,
        "is_counted_in_part": one.is_counted_in_part,
    }


def _due(visit: Visit, schedule: ToldSchedule | None) -> str:
    """When a schedule is due, in words; nothing, if its fields cannot be read."""
    if schedule is None or schedule.cron is None:
        return ""
    return words(schedule.cron, visit.texts, visit.language)


def _week(visit: Visit, report: DayReport) -> list[tuple[str, Sequence[int | None]]]:
    return [
        (
            format_date(one.day, "EEE d MMM", locale=visit.language),
            (one.estimated, one.asked_for, one.sent),
        )
        for one in report.week
    ]


def _intake(report: DayReport) -> Mapping[str, Any]:
    """How many requests ended how, and why those that were refused were."""
    outcomes: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for one in report.intake:
        outcomes[one.outcome] += one.count
        if one.outcome == "refused":
            refused[one.reason] += one.count
    return {
        "outcomes": outcomes,
        "refused": refused.most_common(MOST_SHOWN),
        "others": sum(refused.values()) - sum(n for _, n in refused.most_common(MOST_SHOWN)),
    }


def _silent(report: DayReport) -> list[tuple[str, str, int]]:
    """How many get nothing, by cause: its name, its words, and the number."""
    if report.silent is None:
        return []
    return [
        (cause, wording.CAUSES[cause][0], count)
        for cause, count in report.silent.by_cause().items()
        if count
    ]
