"""``sbm subscriber``: all that happened to a person, and what is planned."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from attrs import asdict

from sbm.commands.running import OK, Work, in_database, print_table, say
from sbm.model.ledger_entry import OUTCOMES
from sbm.model.paging import EndlessPage
from sbm.model.timeline import PersonEvent, Plan, PlanClock, SkippedAgain
from sbm.operations import people
from sbm.settings.config import read_expectations, read_time_zones_of_ticks
from sbm.settings.reading import Settings
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction

_SHOWN = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``subscriber`` to its parser."""
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    show = verbs.add_parser(
        "show",
        help="show all that happened to a person, and what is planned",
        description="Show what is planned for a person, and what stands in the way; and all that"
        " happened, the newest first: registrations, each message with its text as it was sent,"
        " its outcome and whether it was delivered, changes, resends and completion. The person is"
        " named by the identity, or by the id of a subscription, which may be deleted. It reads"
        " the settings of the time zones and of SBM_SCHEDULING.",
    )
    show.add_argument("who", metavar="IDENTITY|SUBSCRIPTION", help="the person")
    show.add_argument(
        "--limit", metavar="N", type=_count, default=_SHOWN, help=f"how many (default: {_SHOWN})"
    )
    show.add_argument("--json", action="store_true", help="print one JSON object")
    show.set_defaults(command=in_database(_show))


def _count(text: str) -> int:
    number = int(text)
    if not 0 < number <= 10_000:
        raise argparse.ArgumentTypeError("must be from 1 to 10000")
    return number


def _show(options: argparse.Namespace) -> Work:
    settings = Settings(environ=options.environ)
    clock = PlanClock(
        mode=read_expectations(settings).mode, zones=read_time_zones_of_ticks(settings)
    )
    settings.check()
    return partial(_print, who=options.who, clock=clock, limit=options.limit, is_json=options.json)


async def _print(
    database: Database, *, who: str, clock: PlanClock, limit: int, is_json: bool
) -> int:
    identity, plans, page = await database.read(_read, who=who, clock=clock, limit=limit)
    if is_json:
        told = {
            "identity": identity,
            "planned": [asdict(plan) for plan in plans],
            "events": [_event(event) for event in page.rows],
        }
        say(json.dumps(told, ensure_ascii=False, default=_written))
        return OK
    say(f"identity {identity}")
    for plan in plans:
        _print_plan(plan)
    say()
    print_table(("AT", "EVENT", "BY", "WHAT"), map(_line, page.rows))
    if page.more:
        say(f"the newest {limit}; there are more")
    return OK


async def _read(
    transaction: Transaction, *, who: str, clock: PlanClock, limit: int
) -> tuple[str, Sequence[Plan], EndlessPage[PersonEvent]]:
    identity = await people.find_person(transaction, told=who)
    page = await people.list_events(transaction, identity=identity, limit=limit)
    plans = await people.list_plans(transaction, identity=identity, clock=clock)
    return identity, plans, page


def _print_plan(plan: Plan) -> None:
    say(f"subscription {plan.subscription_id} to {plan.short_name} in {plan.lang}")
    for obstacle in plan.obstacles:
        say(f"  in the way: {obstacle}")
    for one in plan.messages:
        when = "when is not known" if one.at is None else one.at.isoformat(" ", "minutes")
        in_other = "" if one.lang in (plan.lang, None) else f" in {one.lang}"
        say(f"  planned: message {one.sequence_number}{in_other}, {one.state or 'at'} {when}")
    if plan.completes:
        after = "" if plan.next_set_id is None else f", then message set {plan.next_set_id}"
        say(f"  then it is completed{after}")


def _line(event: PersonEvent) -> Sequence[str]:
    return (
        event.at.isoformat(" ", "seconds"),
        event.event,
        event.actor or "",
        "; ".join(filter(None, _parts(event))),
    )


def _parts(event: PersonEvent) -> Iterator[str]:
    if event.event in OUTCOMES:
        yield from _parts_of_ledger(event.details.value)
        yield from _parts_of_skipped_again(event.skipped_again)
    elif event.source == "audit":
        yield from _parts_of_audit(event)
    else:
        told = event.details.value.items()
        yield " ".join(f"{name} {value}" for name, value in told if value is not None)
    yield event.reason
    yield f'"{event.text}"' if event.text else ""


def _parts_of_ledger(details: Mapping[str, Any]) -> Iterator[str]:
    place = details["short_name"] or details["messageset"]
    yield f"{place} {details['sequence_number'] or ''} {details['lang'] or ''}"
    yield {None: "", True: "delivered", False: "not delivered"}[details["delivered"]]
    yield details["nack_reason"] or ""


def _parts_of_skipped_again(again: SkippedAgain | None) -> Iterator[str]:
    if again is not None:
        times = (again.first_due_at, again.last_due_at)
        first, last = (at.isoformat(" ", "seconds") for at in times)
        yield f"and by {again.ticks} further ticks, due from {first} to {last}"


def _parts_of_audit(event: PersonEvent) -> Iterator[str]:
    details = event.details.value
    yield details["action"]
    if event.event == "registered":
        for name, told in (("request", "request_id"), ("key", "idempotency_key")):
            if details[told]:
                yield f"{name} {details[told]}"
    if event.event == "changed":
        before, after = details["before"] or {}, details["after"] or {}
        for name, value in after.items():
            yield f"{name}: {before.get(name)} -> {value}"


def _event(event: PersonEvent) -> dict[str, Any]:
    read = {"details": event.details.value, "text": event.text}
    return asdict(event, recurse=False) | read


def _written(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
