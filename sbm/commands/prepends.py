"""``sbm subscription add-prepend``: send a text or a sound before the next message."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from sbm.commands.running import OK, Work, in_database, progress, say
from sbm.commands.selecting import add_selection, repair_from
from sbm.model.metadata import MAX_METADATA_VALUES
from sbm.model.prepend import prepend_from
from sbm.operations.prepends import PrependCount, PrependRequest, add_prepends, choose
from sbm.settings.reading import Settings
from sbm.settings.sending_rules import read_content_limits
from sbm.store.postgres.database import Database


def add_to(verbs: Any) -> None:
    """Add ``add-prepend`` to the commands about subscriptions."""
    prepend = verbs.add_parser(
        "add-prepend",
        help="send a text or a sound before the next message",
        description="Set metadata.prepend_next_delivery of active subscriptions: the URL of a"
        " sound for sets of sounds, a text for sets of texts. <LANG> in it stands for the language"
        " of the subscription.",
    )
    prepend.add_argument(
        "prepend", metavar="TEXT_OR_URL", type=_prepend, help="the text, or the URL"
    )
    prepend.add_argument(
        "--overwrite", action="store_true", help="replace another prepend that is waiting"
    )
    add_selection(prepend)
    prepend.set_defaults(command=in_database(_add_prepend))


def _prepend(text: str) -> str:
    try:
        return prepend_from(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _add_prepend(options: argparse.Namespace) -> Work:
    repair = repair_from(options)
    settings = Settings(environ=options.environ)
    limits = read_content_limits(settings)
    settings.check()
    wanted = PrependRequest(
        repair=repair, prepend=options.prepend, limits=limits, overwrite=options.overwrite
    )
    return partial(_add, wanted=wanted)


async def _add(database: Database, *, wanted: PrependRequest) -> int:
    recipients = await database.transact(choose, wanted=wanted)
    for one in recipients.left_out:
        say(f"left out: {one}")
    done = await add_prepends(database, wanted=wanted, recipients=recipients, progress=progress)
    _tell(done, wanted)
    return OK


def _tell(done: PrependCount, wanted: PrependRequest) -> None:
    say(f"{done.given} {'would be given' if wanted.repair.is_dry else 'given'} the prepend")
    if done.verdicts["same"]:
        say(f"{done.verdicts['same']} have it already")
    if done.verdicts["odd"]:
        say(f"{done.verdicts['odd']} have metadata that is not an object: not changed")
    if done.verdicts["long"]:
        say(
            f"{done.verdicts['long']} would have more than {wanted.limits.text_length} characters"
            " with their next message: not changed"
        )
    if done.verdicts["large"]:
        say(
            f"{done.verdicts['large']} would have metadata of more than"
            f" {wanted.limits.metadata_bytes} bytes or {MAX_METADATA_VALUES} values: not changed"
        )
    if done.verdicts["other"] and not wanted.overwrite:
        say(f"{done.verdicts['other']} have another prepend waiting: not changed")
    if done.locked:
        say(f"{done.locked} are locked: not changed")
