"""``sbm simulate``: what goes out, and to whom nothing, before anything is sent."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

from sbm.commands.running import OK, CommandFailed, Work, in_database, print_table, say
from sbm.model.simulation import ALLOWED_CHANGE, MOST_DAYS, ContentChange, SimulationSettings
from sbm.model.simulation_told import shown, shown_token
from sbm.model.time_zones import TimeZones
from sbm.operations.refusals import WrongValues
from sbm.operations.simulating import simulate_now
from sbm.operations.simulating_content import read_changes, simulate_changes
from sbm.operations.simulating_days import simulate_at, simulate_days
from sbm.settings.config import read_time_zones_of_ticks
from sbm.settings.reading import Settings
from sbm.settings.sending_rules import read_simulation
from sbm.store import clock, simulations
from sbm.store.postgres.database import Database

_ACTOR = "sbm simulate"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``simulate`` to its parser."""
    parser.description = (
        "Tell what ticks would do: how many people are sent which message, and how many are not,"
        " and why. Nothing is sent. Addresses are not looked up. It reads the settings of the time"
        " zones, SBM_MAX_TEXT_LENGTH, DRY_RUN_MESSAGESETS, SBM_CONTENT_SETTLE_SECONDS and"
        " SBM_MAX_RATE."
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    schedule = verbs.add_parser(
        "schedule",
        help="a tick of a schedule",
        description="Simulate a tick of this schedule: now, or at a moment to come. A simulation of"
        " now prints a token, with which the tick can be opened through the API.",
    )
    schedule.add_argument("schedule", metavar="ID", type=int, help="the schedule")
    schedule.add_argument("--at", metavar="TIME", type=_moment, help="when; with an offset, or UTC")
    schedule.add_argument(
        "--allowed-change",
        metavar="PERCENT",
        type=_percent,
        default=ALLOWED_CHANGE,
        help="by how many percent of the members the results may have changed when the tick is"
        f" opened (default: {ALLOWED_CHANGE})",
    )
    _add_json(schedule)
    schedule.set_defaults(command=in_database(_schedule))

    days = verbs.add_parser(
        "days",
        help="all ticks of some days",
        description="Simulate all ticks of the clock in so many days, one after the other.",
    )
    days.add_argument("days", metavar="N", type=_days, help=f"1 to {MOST_DAYS}")
    _add_json(days)
    days.set_defaults(command=in_database(_all_days))

    changed = verbs.add_parser(
        "set",
        help="a message set with changed messages",
        description="Simulate the next tick of everybody in a message set, with its messages"
        " changed. FILE has a list in JSON: objects with sequence_number, lang, and text_content or"
        ' "delete": true. The changes are undone.',
    )
    changed.add_argument("messageset", metavar="ID", type=int, help="the message set")
    changed.add_argument("changes", metavar="FILE", type=Path, help="the changes")
    _add_json(changed)
    changed.set_defaults(command=in_database(_set))


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object, as the API has")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise argparse.ArgumentTypeError("must be a date and time, as 2026-12-01T08:00") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


def _percent(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError("must be from 0 to 100")
    return number


def _days(text: str) -> int:
    number = int(text)
    if not 0 < number <= MOST_DAYS:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MOST_DAYS}")
    return number


def _read(options: argparse.Namespace) -> tuple[SimulationSettings, TimeZones]:
    settings = Settings(environ=options.environ)
    read = read_simulation(settings), read_time_zones_of_ticks(settings)
    settings.check()
    return read


def _schedule(options: argparse.Namespace) -> Work:
    settings, zones = _read(options)
    if options.at is not None:
        return partial(
            _print_at,
            schedule_id=options.schedule,
            at=options.at,
            zones=zones,
            settings=settings,
            is_json=options.json,
        )
    return partial(
        _print_now,
        schedule_id=options.schedule,
        settings=settings,
        allowed_change=options.allowed_change,
        is_json=options.json,
    )


def _all_days(options: argparse.Namespace) -> Work:
    settings, zones = _read(options)
    return partial(
        _print_days, days=options.days, zones=zones, settings=settings, is_json=options.json
    )


def _set(options: argparse.Namespace) -> Work:
    settings, _ = _read(options)
    return partial(
        _print_set,
        messageset_id=options.messageset,
        changes=_read_changes(options.changes),
        settings=settings,
        is_json=options.json,
    )


def _read_changes(path: Path) -> list[ContentChange]:
    try:
        return read_changes(json.loads(path.read_text(encoding="utf-8")))
    except WrongValues as refusal:
        raise CommandFailed(f"{path}: {' '.join(refusal.problems['changes'])}") from refusal
    except (OSError, ValueError, RecursionError) as error:
        raise CommandFailed(f"{path} cannot be read: {error}") from error


async def _print_now(
    database: Database,
    *,
    schedule_id: int,
    settings: SimulationSettings,
    allowed_change: int,
    is_json: bool,
) -> int:
    told = await database.read_snapshot(simulate_now, schedule_id=schedule_id, settings=settings)
    token = await database.transact(
        simulations.keep,
        schedule_id=schedule_id,
        made_by=_ACTOR,
        allowed_change=allowed_change,
        counts=told.counts(),
    )
    return _print(shown(told) | shown_token(told, token, allowed_change), is_json=is_json)


async def _print_at(
    database: Database,
    *,
    schedule_id: int,
    at: datetime,
    zones: TimeZones,
    settings: SimulationSettings,
    is_json: bool,
) -> int:
    now = await database.read(clock.now)
    if not now < at <= now + timedelta(days=MOST_DAYS):
        raise CommandFailed(f"--at must be within the next {MOST_DAYS} days")
    told = await database.read_snapshot(
        simulate_at, schedule_id=schedule_id, at=at, zones=zones, settings=settings
    )
    return _print(shown(told), is_json=is_json)


async def _print_days(
    database: Database, *, days: int, zones: TimeZones, settings: SimulationSettings, is_json: bool
) -> int:
    until = await database.read(clock.now) + timedelta(days=days)
    told = await database.read_snapshot(simulate_days, until=until, zones=zones, settings=settings)
    return _print(shown(told), is_json=is_json)


async def _print_set(
    database: Database,
    *,
    messageset_id: int,
    changes: Sequence[ContentChange],
    settings: SimulationSettings,
    is_json: bool,
) -> int:
    both = await database.rehearse(
        simulate_changes, messageset_id=messageset_id, changes=changes, settings=settings
    )
    after = shown(both.after) | {"before": shown(both.before), "changed": both.changed}
    if not is_json:
        say(f"at least {both.changed} people have another result than without the changes")
    return _print(after, is_json=is_json)


def _print(told: dict[str, Any], *, is_json: bool) -> int:
    if is_json:
        say(json.dumps(told, ensure_ascii=False))
        return OK
    sent = told["send"]
    say(f"{sent['count']} of {told['members']} are sent a message ({sent['sms']} SMS)")
    if sent["by"]:
        print_table(
            ("SET", "LANG", "NUMBER", "SENT", "SMS"),
            [
                tuple(
                    str(one[name])
                    for name in ("messageset", "lang", "sequence_number", "count", "sms")
                )
                for one in sent["by"]
            ],
        )
    for one in told["not"]:
        say(f"{one['count']} not: {one['outcome']} ({one['stage']}): {one['reason']}")
        for example in one["examples"]:
            say(f"    {example['identity']}  {example['subscription']}")
    for tick in told["ticks"]:
        say(
            f"{tick['at']}  schedule {tick['schedule']}: {tick['sent']} sent ({tick['sms']} SMS),"
            f" {tick['not_sent']} not"
        )
    if told["completes"]:
        say(f"{told['completes']} complete their set, if all of it is sent")
    for one in told["continues"]:
        where = "nowhere" if one["next_set"] is None else f"in set {one['next_set']}"
        say(f"    {one['count']} of set {one['messageset']} in {one['lang']} go on {where}")
    _print_circumstances(told)
    return OK


def _print_circumstances(told: dict[str, Any]) -> None:
    for hold in told["holds"]:
        say(hold)
    if told["follows"] is not None:
        say(f"tick {told['follows']} is still being sent; its members are skipped")
    last = told["last_tick"]
    if last is not None:
        say(
            f"of {last['members']} members of the last tick, {last['without_address']} had no"
            f" address, and {last['refused']} were refused"
        )
    if told["done_about"] is not None:
        say(f"done about {told['done_about']}, at {told['per_second']} messages a second")
    if "token" in told:
        say(f"token: {told['token']}, until {told['expires_at']}")
