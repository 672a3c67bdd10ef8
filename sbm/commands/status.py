"""``sbm status``: what the daemons do now."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from attrs import asdict
from twisted.internet.task import deferLater

from sbm.commands.running import FAILED, OK, Work, discard_output, in_database, print_table, say
from sbm.model.open_tick import OpenTick
from sbm.model.tick_times import Expectations
from sbm.operations.status import Status, read
from sbm.settings.config import read_expectations
from sbm.settings.reading import Settings
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import DatabaseUnavailable

WATCH_SECONDS = 2.0

_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``status`` to its parser."""
    parser.description = (
        "Print the queue by lane and state, the open ticks with their progress and expected end,"
        " the last and next tick of each schedule, the services that are away for a daemon, the"
        " pauses, and the daemons. Changes nothing. Exits with 1 if no daemon sends: none lives, or"
        " all are paused."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--watch", action="store_true", help="print it again every two seconds, until Ctrl-C"
    )
    parser.set_defaults(command=in_database(_status, may_be_ended=True))


def _status(options: argparse.Namespace) -> Work:
    settings = Settings(environ=options.environ)
    by = read_expectations(settings)
    settings.check()
    return partial(_tell, by=by, is_json=options.json, is_watched=options.watch)


async def _tell(database: Database, *, by: Expectations, is_json: bool, is_watched: bool) -> int:
    while True:
        try:
            status = await database.transact(read, by)
        except DatabaseUnavailable as error:
            if not is_watched:
                raise
            say(f"the database cannot be used: {error}", file=sys.stderr, flush=True)
        else:
            try:
                if is_watched and not is_json and sys.stdout.isatty():
                    sys.stdout.write(_CLEAR)
                _print(status, is_json=is_json)
                sys.stdout.flush()
            except BrokenPipeError:  # the reader has seen enough
                discard_output()
                return OK
            if not is_watched:
                return OK if status.is_sending else FAILED
        await deferLater(database.reactor, WATCH_SECONDS)


def _print(status: Status, *, is_json: bool) -> None:
    if is_json:
        say(json.dumps(_told(status)))
        return
    _print_queue(status)
    _print_ticks(status)
    _print_schedules(status)
    _print_daemons(status)


def _print_queue(status: Status) -> None:
    say("Queue")
    if not status.queue:
        say("nothing is owed, claimed or unknown")
        return
    print_table(
        ("lane", "state", "held", "sends", "oldest"),
        [
            (one.lane, one.state, one.hold or "", str(one.count), _age(one.owed_seconds))
            for one in status.queue
        ],
    )


def _print_ticks(status: Status) -> None:
    say("\nOpen ticks")
    if not status.ticks:
        say("none")
        return
    print_table(
        ("tick", "schedule", "due", "settled", "of", "held", "expected end"),
        [
            (
                str(one.id),
                str(one.schedule_id),
                _short(one.due_at),
                str(one.settled),
                _members(one),
                one.hold or "",
                _maybe(one.expected_end),
            )
            for one in status.ticks
        ],
    )


def _print_schedules(status: Status) -> None:
    say("\nSchedules")
    of_day = status.of_day
    say(
        f"in the last day, {of_day.opened} ticks were opened, {of_day.late} of them late, and"
        f" {of_day.missed} were missed"
    )
    if status.schedules:
        print_table(
            ("schedule", "last tick", "next tick", "overdue since"),
            [
                (
                    str(one.schedule_id),
                    *map(_maybe, (one.last, one.next)),
                    _maybe(one.overdue_since) if one.is_watched else "not watched",
                )
                for one in status.schedules
            ],
        )


def _members(tick: OpenTick) -> str:
    return f"about {tick.members}" if tick.state == "expanding" else str(tick.members)


def _print_daemons(status: Status) -> None:
    away = [
        (one.host, str(one.pid), name, _short_text(service["next_try"]), service["reason"])
        for one in status.daemons
        if not one.is_silent
        for name, service in one.services.items()
        if service["is_away"]
    ]
    if away:
        say("\nServices that are away")
        print_table(("host", "pid", "service", "next try", "reason"), away)
    if status.pauses or status.send_pauses:
        say("\nPauses")
        for pause in status.pauses:
            say(f"since {_short(pause.since)}: {pause.reason}")
        for one in status.send_pauses:
            until = "" if one.until is None else f", until {_short(one.until)}"
            in_hand = f", {one.in_hand} sends in hand" if one.state == "pausing" else ""
            say(
                f"since {_short(one.since)}{until}: {one.scope} is {one.state} by {one.paused_by}"
                f"{in_hand}: {one.reason} (pause {one.id})"
            )
    say("\nDaemons")
    if not status.daemons:
        say("none lives")
        return
    print_table(
        ("host", "pid", "role", "version", "since", "state"),
        [
            (
                one.host,
                str(one.pid),
                one.role,
                " ".join(filter(None, (one.version, one.commit[:12]))),
                _short(one.since),
                f"silent since {_short(one.seen_at)}"
                if one.is_silent
                else ("paused" if one.pause else "works"),
            )
            for one in status.daemons
        ],
    )


def _told(status: Status) -> dict[str, Any]:
    return {
        "is_sending": status.is_sending,
        "queue": [
            {
                "lane": one.lane,
                "state": one.state,
                "held": one.hold,
                "sends": one.count,
                "oldest_seconds": round(one.owed_seconds, 3),
            }
            for one in status.queue
        ],
        "ticks": [
            {
                "id": one.id,
                "schedule": one.schedule_id,
                "source": one.source,
                "state": one.state,
                "due_at": one.due_at.isoformat(),
                "members": one.members,
                "settled": one.settled,
                "live": one.live,
                "held": one.hold,
                "expected_end": _text(one.expected_end),
            }
            for one in status.ticks
        ],
        "ticks_of_day": asdict(status.of_day),
        "schedules": [
            {
                "id": one.schedule_id,
                "last_tick_at": _text(one.last),
                "next_tick_at": _text(one.next),
                "overdue_since": _text(one.overdue_since),
                "is_watched": one.is_watched,
            }
            for one in status.schedules
        ],
        "pauses": [
            {"kind": one.kind, "since": one.since.isoformat(), "reason": one.reason}
            for one in status.pauses
        ],
        "send_pauses": [
            {
                "id": one.id,
                "of": str(one.scope),
                "state": one.state,
                "in_hand": one.in_hand,
                "paused_by": one.paused_by,
                "since": one.since.isoformat(),
                "until": _text(one.until),
                "reason": one.reason,
            }
            for one in status.send_pauses
        ],
        "daemons": [
            {
                "id": str(one.id),
                "role": one.role,
                "version": one.version,
                "commit": one.commit,
                "host": one.host,
                "pid": one.pid,
                "since": one.since.isoformat(),
                "seen_at": one.seen_at.isoformat(),
                "is_silent": one.is_silent,
                "pause": one.pause,
                "services": one.services,
            }
            for one in status.daemons
        ],
    }


def _short(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")


def _maybe(moment: datetime | None) -> str:
    return "" if moment is None else _short(moment)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _short_text(moment: str | None) -> str:
    return "" if moment is None else _short(datetime.fromisoformat(moment))


def _age(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
