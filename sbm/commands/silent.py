"""``sbm silent``: active subscriptions that no tick reaches, by cause."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial

from attrs import asdict

from sbm.commands.running import OK, Work, discard_output, in_database, print_table, say
from sbm.model.silence import CAUSES, MEANINGS, SilenceCause, SilentPerson
from sbm.model.time_zones import TimeZones
from sbm.operations.silent import look
from sbm.settings.config import read_time_zones
from sbm.settings.reading import Settings
from sbm.store import messagesets
from sbm.store.postgres.database import Database


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``silent`` to its parser."""
    causes = "; ".join(f"{cause}: {meaning}" for cause, meaning in MEANINGS.items())
    parser.description = (
        "Look at all active subscriptions, and count those that no tick reaches, by cause, message"
        f" set, language and schedule. The causes, the first of which counts: {causes}."
        " Changes nothing."
    )
    parser.add_argument(
        "--people",
        action="store_true",
        help="print a line of JSON for each such subscription instead",
    )
    parser.add_argument("--cause", choices=CAUSES, help="only this cause")
    parser.set_defaults(command=in_database(_silent))


def _silent(options: argparse.Namespace) -> Work:
    settings = Settings(environ=options.environ)
    zones = read_time_zones(settings)
    settings.check()
    show = _print_people if options.people else _print_counts
    return partial(show, zones=zones, cause=options.cause)


async def _print_people(database: Database, *, zones: TimeZones, cause: SilenceCause | None) -> int:
    try:
        active, counts = await look(database, zones=zones, tell=_printing(cause))
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        return OK
    silent = sum(count for group, count in counts.items() if cause in (None, group.cause))
    say(f"{silent} of {active} active subscriptions are silent", file=sys.stderr)
    return OK


def _printing(cause: SilenceCause | None) -> Callable[[SilentPerson], None]:
    def tell(one: SilentPerson) -> None:
        if cause in (None, one.cause):
            say(json.dumps(asdict(one) | {"subscription_id": str(one.subscription_id)}))

    return tell


async def _print_counts(database: Database, *, zones: TimeZones, cause: SilenceCause | None) -> int:
    active, counts = await look(database, zones=zones, tell=lambda _one: None)
    chosen = {group: n for group, n in counts.items() if cause in (None, group.cause)}
    names = {one.id: one.short_name for one in await database.transact(messagesets.list_all)}
    if chosen:
        print_table(
            ("CAUSE", "MESSAGE SET", "LANG", "SCHEDULE", "SILENT"),
            [
                (
                    group.cause,
                    names.get(group.messageset_id, str(group.messageset_id)),
                    group.lang,
                    str(group.schedule_id),
                    str(count),
                )
                for group, count in sorted(
                    chosen.items(), key=lambda one: (CAUSES.index(one[0].cause), -one[1])
                )
            ],
        )
    say(f"{sum(chosen.values())} of {active} active subscriptions are silent")
    return OK
