"""``sbm check``: check that the stored data is consistent."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from sbm.commands.running import FAILED, OK, Work, in_database, say
from sbm.model.ledger_balance import TickBalance
from sbm.model.time_zones import TimeZones
from sbm.operations.checks import (
    LedgerCheck,
    LedgerFinding,
    check_ledger,
    check_schedules,
    check_tokens,
)
from sbm.settings.api_tokens import read_inbound_tokens
from sbm.settings.config import read_time_zones_of_ticks
from sbm.settings.reading import Settings
from sbm.store.ledger_balance import Double, OrphanSend
from sbm.store.postgres.database import Database


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``check`` to its parser."""
    parser.description = "Run all checks, or only WHAT."
    parser.set_defaults(command=in_database(_check_all))
    subjects = parser.add_subparsers(metavar="WHAT")
    check_the_ledger = subjects.add_parser(
        "ledger",
        help="check that every trigger was counted exactly once",
        description="Check that for every tick, triggers = rows in the ledger + members that were"
        " skipped again + live sends; that every live send has its tick; and that no send was sent"
        " twice, according to the ledger or to an outbound that was noticed later (the table"
        " doubles). Print what is wrong, and sums. Changes nothing, and can be run while daemons"
        " work. Exits with 0 if nothing is wrong, otherwise with 1. Doubles count until their rows"
        " are deleted.",
    )
    check_the_ledger.set_defaults(command=in_database(_check_the_ledger))
    check_schedules = subjects.add_parser(
        "schedules",
        help="find schedules that are never due, or that restrict both day fields",
        description="List each schedule that restricts both day_of_month and day_of_week, with its"
        " next three ticks in its time zone; each that is never due, because its date does not"
        " exist, or its fields or its time zone cannot be read; each that the Seed Scheduler cannot"
        " store; and each whose time zone does not count, because the Scheduler calls and has"
        " another one. Changes nothing. Exits with 1 if there is a schedule of the last three"
        " kinds, otherwise with 0.",
    )
    check_schedules.set_defaults(command=in_database(_check_schedules))
    check_the_tokens = subjects.add_parser(
        "tokens",
        help="find users who have the Scheduler's token",
        description="List each user who has a token of SCHEDULER_INBOUND_API_TOKEN as a live token:"
        " whoever has it can do what that user may. By itself, it can only call the two `send`"
        " endpoints. Changes nothing, and exits with 0.",
    )
    check_the_tokens.set_defaults(command=in_database(_check_the_tokens))


def _check_all(options: argparse.Namespace) -> Work:
    return partial(
        _check_everything,
        zones=_time_zones(options),
        scheduler_tokens=_scheduler_tokens(options),
    )


def _check_the_ledger(_options: argparse.Namespace) -> Work:
    return _check_ledger


def _check_schedules(options: argparse.Namespace) -> Work:
    return partial(_check_those_schedules, zones=_time_zones(options))


def _check_the_tokens(options: argparse.Namespace) -> Work:
    return partial(_check_tokens, scheduler_tokens=_scheduler_tokens(options))


def _scheduler_tokens(options: argparse.Namespace) -> Sequence[str]:
    settings = Settings(environ=options.environ)
    tokens = read_inbound_tokens(settings)
    settings.check()
    return tokens


def _time_zones(options: argparse.Namespace) -> TimeZones:
    settings = Settings(environ=options.environ)
    zones = read_time_zones_of_ticks(settings)
    settings.check()
    return zones


async def _check_everything(
    database: Database, *, zones: TimeZones, scheduler_tokens: Sequence[str]
) -> int:
    statuses = (
        await _check_ledger(database),
        await _check_those_schedules(database, zones=zones),
        await _check_tokens(database, scheduler_tokens=scheduler_tokens),
    )
    return FAILED if FAILED in statuses else OK


async def _check_ledger(database: Database) -> int:
    check = await check_ledger(database, tell=lambda one: say(_line(one)))
    _sum_up(check)
    return FAILED if check.is_unbalanced else OK


def _line(one: LedgerFinding) -> str:
    if isinstance(one, TickBalance):
        return f"{one}: {abs(one.missing)} {'missing' if one.missing > 0 else 'too many'}"
    if isinstance(one, OrphanSend):
        return f"send {one.send_id}: there is no tick {one.tick_id}"
    if isinstance(one, Double):
        return (
            f"send {one.send_id}: sent {one.times} times, to subscription"
            f" {one.subscription_id}: outbounds {', '.join(one.outbound_ids)}"
        )
    named = ", ".join(one.named) or "none that the ledger names"
    return (
        f"send {one.send_id}: outbound {one.outbound_id} went out beside {named},"
        f" to subscription {one.subscription_id}, noticed {one.noticed_at}"
    )


def _sum_up(check: LedgerCheck) -> None:
    say(f"{check.unbalanced} of {check.ticks} ticks are unbalanced")
    if check.not_kept:
        say(f"{check.not_kept} more cannot be checked: their part of the ledger was dropped")
    say(f"{check.orphans} live sends have no tick")
    say(f"{check.sent_twice} sends were sent more than once")
    if check.doubles:
        say(
            f"{check.doubles} outbounds are doubles, beside those that the ledger names:"
            " they are in the table doubles"
        )
    say("the ledger is unbalanced" if check.is_unbalanced else "the ledger is balanced")


async def _check_those_schedules(database: Database, *, zones: TimeZones) -> int:
    check = await check_schedules(database, zones=zones)
    for remark in check.remarks:
        say(remark)
    both_days = sum(not remark.is_fault for remark in check.remarks)
    say(f"{both_days} of {check.schedules} schedules restrict both day fields")
    faulty = f"{len(check.faulty)} of {check.schedules} schedules"
    say(f"{faulty} cannot work as they were meant to")
    return FAILED if check.faulty else OK


async def _check_tokens(database: Database, *, scheduler_tokens: Sequence[str]) -> int:
    owners = await check_tokens(database, scheduler_tokens=scheduler_tokens)
    for owner in owners:
        say(f"user {owner!r} has the token of the Scheduler: give the Scheduler one of its own")
    say(f"{len(owners)} users have a token of the Scheduler")
    return OK
