"""``sbm message-set``: another set with the messages of one."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from sbm.commands.running import OK, CommandFailed, actor, add_signature, with_database
from sbm.commands.selecting import find_messageset, progress
from sbm.model.content import BinaryContent, MessageSet
from sbm.model.content_rules import content_problems, is_blank
from sbm.operations import media_files
from sbm.settings.config import read_max_text_length
from sbm.settings.endpoints import DatabaseAddress
from sbm.settings.reading import Settings
from sbm.store import audit, binary_contents, messages, messagesets
from sbm.store.postgres.database import Database, Transaction
from sbm.store.postgres.errors import CommitUnknown

_MAX_NAME = 100
# How many messages are named that cannot be sent.
_NAMED = 3
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def add_to(commands: Any) -> None:
    """Add ``message-set`` and what can be done with one to the commands of a parser."""
    parser = commands.add_parser("message-set", help="message sets")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    clone = verbs.add_parser(
        "clone",
        help="make another one with the same messages",
        description="Make a message set of a new name that is like another one in all else: its"
        " schedule, channel, notes, the set that follows it, and its messages. Nobody is"
        " subscribed to it.",
    )
    clone.add_argument("source", metavar="SOURCE", help="the short name or id of a message set")
    clone.add_argument("short_name", metavar="NEW_SHORT_NAME", type=_short_name)
    clone.add_argument("--label", metavar="TEXT", type=_label, help="default: that of SOURCE")
    clone.add_argument(
        "--messages",
        choices=("shared", "copied"),
        default="shared",
        help="whether both carry the same files, or the new set copies of them (default: shared)",
    )
    following = clone.add_mutually_exclusive_group()
    following.add_argument("--next-set", metavar="SET", help="default: that of SOURCE")
    following.add_argument("--no-next-set", action="store_true", help="no set follows it")
    clone.add_argument("--dry-run", action="store_true", help="only say what would be made")
    add_signature(clone)
    clone.set_defaults(command=_clone)


def _short_name(text: str) -> str:
    """A name that the API would take."""
    name = _label(text)
    if is_blank(name):
        raise argparse.ArgumentTypeError("must not be blank")
    return name


def _label(text: str) -> str:
    label = text.strip()
    if len(label) > _MAX_NAME:
        raise argparse.ArgumentTypeError(f"must have no more than {_MAX_NAME} characters")
    if _UNSTORABLE.search(label):
        raise argparse.ArgumentTypeError("must be text in UTF-8")
    return label


def _clone(options: argparse.Namespace, address: DatabaseAddress) -> int:
    folder = None
    settings = Settings(environ=options.environ)
    limit = read_max_text_length(settings)
    if options.messages == "copied":
        folder = settings.folder("SBM_MEDIA_ROOT")
        if folder is None and not settings.problems:
            settings.problem("SBM_MEDIA_ROOT", "is missing, and files are to be copied into it")
    settings.check()
    with_database(address, _Clone(options=options, folder=folder, limit=limit).run)
    return OK


@frozen(kw_only=True)
class _Plan:
    """What is to be made, as it stood when that was looked up."""

    source: MessageSet
    next_set_id: int | None
    languages: dict[str, int]
    files: list[BinaryContent]


@frozen(kw_only=True)
class _Clone:
    """One message set in the making; with a ``folder``, its files are copied there first.

    ``limit``: how many characters a message may have.
    """

    options: argparse.Namespace
    folder: Path | None
    limit: int

    async def run(self, database: Database) -> None:
        plan = await database.transact(self._plan)
        if self.folder is not None:
            _check_files(self.folder, plan.files)
        if self.options.dry_run:
            print(f"would make message set {self._described(plan)}")
            return
        names: dict[int, str] = {}
        try:
            if self.folder is not None:
                names = _copy_files(self.folder, plan.files)
            made = await database.transact(self._make, plan, names)
        except CommitUnknown:
            raise  # the rows may be there, and then their files have to be
        except BaseException:
            for name in names.values():
                assert self.folder is not None
                (self.folder / name).unlink(missing_ok=True)
            raise
        print(f"made message set {made.id}, {self._described(plan)}")

    def _described(self, plan: _Plan) -> str:
        counts = ", ".join(f"{lang} {count}" for lang, count in plan.languages.items())
        total = sum(plan.languages.values())
        return (
            f"{self.options.short_name!r}, of {plan.source.short_name!r}:"
            f" {total} messages{f' ({counts})' if counts else ''},"
            f" {len(plan.files)} files {self.options.messages}"
        )

    async def _plan(self, transaction: Transaction) -> _Plan:
        source = await find_messageset(transaction, self.options.source)
        await self._check_name(transaction)
        await self._check_messages(transaction, source)
        next_set_id = source.next_set_id
        if self.options.next_set is not None:
            next_set_id = (await find_messageset(transaction, self.options.next_set)).id
        elif self.options.no_next_set:
            next_set_id = None
        return _Plan(
            source=source,
            next_set_id=next_set_id,
            languages=await messages.count_languages(transaction, messageset_id=source.id),
            files=await messages.list_files(transaction, messageset_id=source.id),
        )

    async def _check_name(self, transaction: Transaction) -> None:
        name = self.options.short_name
        if await messagesets.find_by_name(transaction, short_name=name) is not None:
            raise CommandFailed(f"there is a message set {name!r} already")

    async def _check_messages(self, transaction: Transaction, source: MessageSet) -> None:
        """What cannot be sent, as an import may have brought it, is not made once more."""
        offenders = await messages.find_offenders(
            transaction,
            messageset_id=source.id,
            problems=lambda content: content_problems(content, limit=self.limit),
            most=_NAMED,
        )
        if offenders:
            told = "\n".join(one.told(problem) for one, problem in offenders)
            raise CommandFailed(f"{told}\nsuch messages cannot be sent, and are not copied")

    async def _make(
        self, transaction: Transaction, plan: _Plan, names: Mapping[int, str]
    ) -> MessageSet:
        source = await messagesets.lock(transaction, messageset_id=plan.source.id)
        carried = await messages.list_files(transaction, messageset_id=plan.source.id)
        if source != plan.source or (self.folder is not None and carried != plan.files):
            raise CommandFailed("the message set was changed meanwhile: do it again")
        await self._check_name(transaction)
        await self._check_messages(transaction, plan.source)
        label = plan.source.label if self.options.label is None else self.options.label
        made = await messagesets.create(
            transaction,
            short_name=self.options.short_name,
            label=label,
            content_type=plan.source.content_type,
            channel=plan.source.channel,
            notes=plan.source.notes,
            next_set_id=plan.next_set_id,
            default_schedule_id=plan.source.default_schedule_id,
        )
        assert made is not None  # message sets are made and changed one at a time
        if self._is_loop(plan):
            await messagesets.update(transaction, messageset=evolve(made, next_set_id=made.id))
        copies = {
            file_id: (await binary_contents.create(transaction, content=name)).id
            for file_id, name in names.items()
        }
        count = await messages.copy_all(
            transaction, source_id=plan.source.id, clone_id=made.id, files=copies
        )
        await audit.record(
            transaction,
            actor=actor(self.options),
            command="message-set clone",
            reason=self.options.reason,
            details={
                "source": plan.source.id,
                "messageset": made.id,
                "short_name": made.short_name,
                "count": count,
                "files": [[old, new] for old, new in copies.items()],
            },
        )
        return made

    def _is_loop(self, plan: _Plan) -> bool:
        """Whether the source follows itself, and the new one is to do as it does."""
        return self.options.next_set is None and plan.next_set_id == plan.source.id


def _check_files(folder: Path, found: list[BinaryContent]) -> None:
    missing = [one.content for one in found if not (folder / one.content).is_file()]
    if missing:
        raise CommandFailed("\n".join(f"there is no file {name!r} in {folder}" for name in missing))


def _copy_files(folder: Path, found: list[BinaryContent]) -> dict[int, str]:
    """Copy these to new names, all or none; returns the names by id."""
    names: dict[int, str] = {}
    try:
        with progress(len(found), "files") as bar:
            for one in found:
                names[one.id] = media_files.new_name(one.content, datetime.now(timezone.utc))
                media_files.copy(folder / one.content, folder, names[one.id])
                bar.update()
    except BaseException as error:
        for name in names.values():
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise CommandFailed(f"the files could not be copied: {error}") from error
        raise
    return names
