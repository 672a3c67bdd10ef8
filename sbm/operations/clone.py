"""Clone a message set: make another one with the same messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from attrs import asdict, evolve, frozen
from attrs.filters import exclude

from sbm.model.content import BinaryContent, MessageSet
from sbm.model.content_rules import content_problems
from sbm.model.signature import Signature
from sbm.operations import media_files
from sbm.operations.progress import Progress, no_progress
from sbm.operations.refusals import OperationRefused
from sbm.operations.selection import find_messageset
from sbm.operations.unsendable import find_unsendable
from sbm.store import audit, binary_contents, messages, messagesets
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import CommitUnknown
from sbm.store.postgres.transaction import Transaction

# So many of the messages that cannot be sent are named.
_NAMED = 3


class NameTaken(OperationRefused):
    """There is already a message set with this short name."""

    def __init__(self, short_name: str) -> None:
        super().__init__(f"there is a message set {short_name!r} already")


class Unsendable(OperationRefused):
    """Messages of the source cannot be sent; an import may have brought such messages."""

    def __init__(self, told: Sequence[str]) -> None:
        lines = "\n".join(told)
        super().__init__(f"{lines}\nsuch messages cannot be sent, and are not copied")


class ChangedMeanwhile(OperationRefused):
    """The source was changed after the clone was planned."""

    def __init__(self) -> None:
        super().__init__("the message set was changed meanwhile: do it again")


class FilesNotCopied(OperationRefused):
    """Files of the messages are missing, or could not be copied."""


@frozen(kw_only=True)
class CloneRequest:
    """The message set that an operator wants.

    ``source`` and ``next_set`` are short names or ids. The default ``label`` is that of the source.
    The default ``next_set`` is that of the source, unless the clone ``is_last``. If a ``folder`` is
    given, the clone gets its own copies of the files, in this folder. ``text_limit``: how many
    characters a message may have.
    """

    source: str
    short_name: str
    label: str | None = None
    next_set: str | None = None
    is_last: bool = False
    folder: Path | None = None
    text_limit: int
    signature: Signature


@frozen(kw_only=True)
class ClonePlan:
    """What the clone consists of, as it was read from the database.

    ``languages`` has the number of messages in each language.
    """

    source: MessageSet
    next_set_id: int | None
    languages: dict[str, int]
    files: list[BinaryContent]


async def plan_clone(database: Database, *, request: CloneRequest) -> ClonePlan:
    """What a clone would consist of; raises Refused if the clone is not possible."""
    plan = await database.transact(read_plan, request=request)
    if request.folder is not None:
        _check_files(request.folder, plan.files)
    return plan


async def clone(
    database: Database, *, request: CloneRequest, plan: ClonePlan, progress: Progress = no_progress
) -> MessageSet:
    """Copy the files, and then make the planned set; if this raises Refused, nothing was made."""
    names: dict[int, str] = {}
    try:
        if request.folder is not None:
            names = _copy_files(request.folder, plan.files, progress)
        return await database.transact(make_planned, request=request, plan=plan, names=names)
    except CommitUnknown:
        raise  # the rows may be committed, and then they need their files
    except BaseException:
        for name in names.values():
            assert request.folder is not None
            (request.folder / name).unlink(missing_ok=True)
        raise


async def read_plan(transaction: Transaction, *, request: CloneRequest) -> ClonePlan:
    """What a clone would consist of, in a transaction; raises Refused if it is not possible."""
    source = await find_messageset(transaction, given=request.source)
    await _check_name(transaction, request)
    await _check_messages(transaction, request, source)
    next_set_id = source.next_set_id
    if request.next_set is not None:
        next_set_id = (await find_messageset(transaction, given=request.next_set)).id
    elif request.is_last:
        next_set_id = None
    return ClonePlan(
        source=source,
        next_set_id=next_set_id,
        languages=await messages.count_languages(transaction, messageset_id=source.id),
        files=await messages.list_files(transaction, messageset_id=source.id),
    )


async def _check_name(transaction: Transaction, request: CloneRequest) -> None:
    name = request.short_name
    if await messagesets.find_by_name(transaction, short_name=name) is not None:
        raise NameTaken(name)


async def _check_messages(
    transaction: Transaction, request: CloneRequest, source: MessageSet
) -> None:
    unsendable = await find_unsendable(
        transaction,
        messageset_id=source.id,
        problems=lambda content: content_problems(content, limit=request.text_limit),
        most=_NAMED,
    )
    if unsendable:
        raise Unsendable([one.told(problem) for one, problem in unsendable])


async def make_planned(
    transaction: Transaction, *, request: CloneRequest, plan: ClonePlan, names: Mapping[int, str]
) -> MessageSet:
    """Make the planned set, in a transaction; ``names`` are those of copied files, by their ids.

    Raises Refused if it is not possible any more.
    """
    source = await messagesets.lock(transaction, messageset_id=plan.source.id)
    carried = await messages.list_files(transaction, messageset_id=plan.source.id)
    if source != plan.source or (request.folder is not None and carried != plan.files):
        raise ChangedMeanwhile
    await _check_name(transaction, request)
    await _check_messages(transaction, request, plan.source)
    fields = asdict(plan.source, filter=exclude("id", "created_at", "updated_at", "updated_by"))
    fields |= {"short_name": request.short_name, "next_set_id": plan.next_set_id}
    if request.label is not None:
        fields["label"] = request.label
    made = await messagesets.create(transaction, **fields)
    assert made is not None  # message sets are made and changed one at a time
    if request.next_set is None and plan.next_set_id == plan.source.id:
        # The source follows itself, and so does the clone.
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
        actor=request.signature.actor,
        action="message-set clone",
        reason=request.signature.reason,
        details={
            "source": plan.source.id,
            "messageset": made.id,
            "short_name": made.short_name,
            "count": count,
            "files": [[old, new] for old, new in copies.items()],
        },
    )
    return made


def _check_files(folder: Path, found: Sequence[BinaryContent]) -> None:
    missing = [one.content for one in found if not (folder / one.content).is_file()]
    if missing:
        raise FilesNotCopied(
            "\n".join(f"there is no file {name!r} in {folder}" for name in missing)
        )


def _copy_files(folder: Path, found: Sequence[BinaryContent], progress: Progress) -> dict[int, str]:
    """Copy all files to new names, or none; returns the names by id."""
    names: dict[int, str] = {}
    try:
        with progress("files", len(found)) as advance:
            for one in found:
                names[one.id] = media_files.new_name(one.content, datetime.now(timezone.utc))
                media_files.copy(folder / one.content, folder, names[one.id])
                advance(1)
    except BaseException as error:
        for name in names.values():
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise FilesNotCopied(f"the files could not be copied: {error}") from error
        raise
    return names
