"""``sbm scheduler``: the calls to the Seed Scheduler, and the comparison with its data."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from datetime import timedelta
from functools import partial

from tqdm import tqdm
from twisted.internet.defer import Deferred

from sbm.clients.outcomes import Unavailable
from sbm.clients.scheduler import Scheduler
from sbm.clients.service_client import ServiceClient
from sbm.commands.running import (
    FAILED,
    OK,
    CommandFailed,
    Work,
    add_signature,
    discard_output,
    in_database,
    print_table,
    say,
    signature_from,
)
from sbm.model.durations import RequestTimeout
from sbm.model.scheduler_call import Difference, FailingCall
from sbm.model.signature import Signature
from sbm.operations.scheduler_sync import Comparison, sync
from sbm.settings.config import SchedulingSettings, read_scheduling
from sbm.settings.endpoints import ServiceAddress
from sbm.store import gauges, scheduler_calls
from sbm.store.gauges import OwedSchedulerCalls
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction

_SHOWN = 100
_TIMEOUT = RequestTimeout(timedelta(seconds=60))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``scheduler`` to its parser."""
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    status = verbs.add_parser(
        "status",
        help="show the calls that are owed",
        description="Print the value of SBM_SCHEDULING, how many calls are owed to the Scheduler,"
        " and which calls it has refused or could not do: their schedules, subscriptions and crons."
        " Exits with 1 if it has refused any.",
    )
    status.set_defaults(command=in_database(_status))

    sync = verbs.add_parser(
        "sync",
        help="correct what the Scheduler has stored",
        description="Compare what the Scheduler has stored with what it should have according to"
        " SBM_SCHEDULING, and owe it the calls that correct the differences. The daemons make these"
        " calls. Safe to repeat. Reads the same settings as the daemon.",
    )
    sync.add_argument("--dry-run", action="store_true", help="only show the differences")
    add_signature(sync)
    sync.set_defaults(command=in_database(_sync))


def _status(_options: argparse.Namespace) -> Work:
    return _tell_status


async def _tell_status(database: Database) -> int:
    mode, count, troubled = await database.transact(_read_status)
    say(f"scheduling by {mode}; {count.owed} calls owed; {count.refused} refused")
    if count.owed_seconds is not None:
        say(f"the oldest has been owed for {count.owed_seconds:.0f} s")
    if troubled:
        columns = ("KIND", "TARGET", "SCHEDULE", "CRON", "STATE", "REASON")
        print_table(columns, [_row(one) for one in troubled])
    return FAILED if count.refused else OK


def _row(one: FailingCall) -> tuple[str, ...]:
    state = one.state if one.state == "refused" else f"failed {one.faults} times"
    schedule = "-" if one.schedule_id is None else str(one.schedule_id)
    return (one.kind, one.target, schedule, one.cron_definition or "-", state, one.reason)


async def _read_status(
    transaction: Transaction,
) -> tuple[str, OwedSchedulerCalls, list[FailingCall]]:
    return (
        await scheduler_calls.read_scheduling(transaction),
        await gauges.measure_scheduler_calls(transaction),
        await scheduler_calls.list_troubled(transaction, limit=_SHOWN),
    )


def _sync(options: argparse.Namespace) -> Work:
    scheduling = read_scheduling(options.environ)
    if scheduling.scheduler is None:
        raise CommandFailed("SCHEDULER_URL is not set: there is no Scheduler to call")
    if scheduling.problem:
        raise CommandFailed(scheduling.problem)
    return partial(
        _sync_both,
        scheduling=scheduling,
        address=scheduling.scheduler,
        signature=signature_from(options),
        is_dry=options.dry_run,
    )


async def _sync_both(
    database: Database,
    *,
    scheduling: SchedulingSettings,
    address: ServiceAddress,
    signature: Signature,
    is_dry: bool,
) -> int:
    client = ServiceClient(reactor=database.reactor, address=address, timeout=_TIMEOUT)
    try:
        with tqdm(desc="listed", unit=" entries", disable=None) as listed:
            comparison = Comparison(
                database=database,
                scheduler=Scheduler(client=client),
                mode=scheduling.mode,
                public_url=scheduling.public_url,
                auth_token=scheduling.inbound_token,
                listed=listed.update,
            )
            tell = _print_difference if is_dry else _say_nothing
            counts = await sync(comparison, signature=signature, is_dry=is_dry, tell=tell)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        return OK
    except Unavailable as error:
        raise CommandFailed(str(error)) from None
    finally:
        await _stopped(client)
    if is_dry:
        say(f"{_summary(counts)}; nothing was changed")
    elif counts.total():
        say(f"{_summary(counts)}: the daemons make these calls")
    else:
        say("the Scheduler has stored what it should have")
    return OK


def _summary(counts: Counter[str]) -> str:
    """The differences in words."""
    names = ("create", "recreate", "update", "enable", "disable")
    return ", ".join(f"{counts[name]} to {name}" for name in names)


def _print_difference(difference: Difference) -> None:
    say(f"{difference.action} {difference.about}")


def _say_nothing(_difference: Difference) -> None:
    """Print nothing for a difference: the summary counts it."""


async def _stopped(client: ServiceClient) -> None:
    stopped: Deferred[None] = client.stopService()
    await stopped
