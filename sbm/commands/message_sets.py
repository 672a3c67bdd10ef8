"""``sbm message-set``: make a copy of a message set."""

from __future__ import annotations

import argparse
from functools import partial

from sbm.commands.running import OK, Work, add_signature, in_database, progress, say, signature_from
from sbm.model.content_rules import is_blank
from sbm.model.text import is_storable
from sbm.operations.clone import ClonePlan, CloneRequest, clone, plan_clone
from sbm.settings.reading import Settings
from sbm.settings.sending_rules import read_max_text_length
from sbm.store.postgres.database import Database

_MAX_NAME = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``message-set`` to its parser."""
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    verb = verbs.add_parser(
        "clone",
        help="make another message set with the same messages",
        description="Make a message set with a new name. All else is the same as in SOURCE: the"
        " schedule, the channel, the notes, the next set, and the messages. The new set has no"
        " subscriptions.",
    )
    verb.add_argument("source", metavar="SOURCE", help="the short name or id of a message set")
    verb.add_argument(
        "short_name", metavar="NEW_SHORT_NAME", type=_short_name, help="the new short name"
    )
    verb.add_argument("--label", metavar="TEXT", type=_label, help="default: the label of SOURCE")
    verb.add_argument(
        "--messages",
        choices=("shared", "copied"),
        default="shared",
        help="whether both sets use the same files, or the new set has copies (default: shared)",
    )
    following = verb.add_mutually_exclusive_group()
    following.add_argument("--next-set", metavar="SET", help="default: the next set of SOURCE")
    following.add_argument("--no-next-set", action="store_true", help="no set follows the new one")
    verb.add_argument("--dry-run", action="store_true", help="only print what would be made")
    add_signature(verb)
    verb.set_defaults(command=in_database(_clone))


def _short_name(text: str) -> str:
    """A name that the API would accept."""
    name = _label(text)
    if is_blank(name):
        raise argparse.ArgumentTypeError("must not be blank")
    return name


def _label(text: str) -> str:
    label = text.strip()
    if len(label) > _MAX_NAME:
        raise argparse.ArgumentTypeError(f"must have no more than {_MAX_NAME} characters")
    if not is_storable(label):
        raise argparse.ArgumentTypeError("must be text in UTF-8")
    return label


def _clone(options: argparse.Namespace) -> Work:
    folder = None
    settings = Settings(environ=options.environ)
    limit = read_max_text_length(settings)
    if options.messages == "copied":
        folder = settings.folder("SBM_MEDIA_ROOT")
        if folder is None and not settings.problems:
            settings.problem("SBM_MEDIA_ROOT", "is missing, and files are to be copied into it")
    settings.check()
    request = CloneRequest(
        source=options.source,
        short_name=options.short_name,
        label=options.label,
        next_set=options.next_set,
        is_last=options.no_next_set,
        folder=folder,
        text_limit=limit,
        signature=signature_from(options),
    )
    return partial(_make_clone, request=request, is_dry=options.dry_run)


async def _make_clone(database: Database, *, request: CloneRequest, is_dry: bool) -> int:
    plan = await plan_clone(database, request=request)
    if is_dry:
        say(f"would make message set {_described(request, plan)}")
        return OK
    made = await clone(database, request=request, plan=plan, progress=progress)
    say(f"made message set {made.id}, {_described(request, plan)}")
    return OK


def _described(request: CloneRequest, plan: ClonePlan) -> str:
    counts = ", ".join(f"{lang} {count}" for lang, count in plan.languages.items())
    total = sum(plan.languages.values())
    return (
        f"{request.short_name!r}, of {plan.source.short_name!r}:"
        f" {total} messages{f' ({counts})' if counts else ''},"
        f" {len(plan.files)} files {'shared' if request.folder is None else 'copied'}"
    )
