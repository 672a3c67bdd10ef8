"""Make, change and delete message sets, messages and their files.

``sbm.model.content_rules`` has the rules for messages that can be sent. An imported row may break
them: a change is refused only if it makes a new problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import asdict, evolve

from sbm.model.content import BinaryContent, Message, MessageSet
from sbm.model.content_rules import Content, Medium, Problem, ProblemCode, new_problems
from sbm.model.json_text import JsonText
from sbm.operations.drafts import Changes, Draft, Problems
from sbm.operations.refusals import SEVERAL, CannotBeSent, InUse, NoSuchRow, WrongValues
from sbm.operations.unsendable import find_unsendable, find_unsendable_of_file
from sbm.store import binary_contents, messages, messagesets
from sbm.store.postgres.transaction import Transaction

NAME_TAKEN = "message set with this Short name already exists."
PLACE_TAKEN = "The fields messageset, sequence_number, lang must make a unique set."

# So many of the messages that prevent a change of a set or a file are named.
_NAMED = 3

# The attribute to which a problem belongs. All other problems belong to the message as a whole.
_ATTRIBUTES: Mapping[ProblemCode, str] = {
    "typographic": "text_content",
    "length": "text_content",
    "no audio": "binary_content_id",
    "only audio": "binary_content_id",
}


async def create_messageset(transaction: Transaction, draft: Draft) -> MessageSet:
    """Make a message set; raises WrongValues."""
    await _check_messageset(transaction, draft)
    made = await messagesets.create(transaction, **draft.values)
    if made is None:  # the name was taken by another, just now
        raise WrongValues({"short_name": [NAME_TAKEN]})
    return made


async def change_messageset(
    transaction: Transaction, changes: Changes, *, messageset_id: int
) -> MessageSet:
    """Change a message set; raises NoSuchRow or WrongValues."""
    found = await messagesets.lock(transaction, messageset_id=messageset_id)
    if found is None:
        raise NoSuchRow
    draft = changes(asdict(found, recurse=False))
    await _check_messageset(transaction, draft, besides=messageset_id)
    wanted = evolve(found, **draft.values)
    await _check_messages(transaction, found, wanted, draft.max_text_length)
    changed = await messagesets.update(transaction, messageset=wanted)
    if changed is None:
        raise WrongValues({"short_name": [NAME_TAKEN]})
    return changed


async def delete_messageset(transaction: Transaction, *, messageset_id: int) -> None:
    """Delete a message set that nothing uses, with its messages; raises NoSuchRow or InUse."""
    if await messagesets.lock(transaction, messageset_id=messageset_id) is None:
        raise NoSuchRow
    users = await messagesets.find_users(transaction, messageset_id=messageset_id)
    if users:
        raise InUse(f"message set {messageset_id}", users)
    await messagesets.delete(transaction, messageset_id=messageset_id)


async def create_message(transaction: Transaction, draft: Draft) -> Message:
    """Make a message; raises WrongValues or CannotBeSent."""
    await _check_message(transaction, draft, None)
    made = await messages.create(transaction, **draft.values)
    if made is None:  # the place was taken by another, just now
        raise WrongValues({SEVERAL: [PLACE_TAKEN]})
    return made


async def change_message(transaction: Transaction, changes: Changes, *, message_id: int) -> Message:
    """Change a message; raises NoSuchRow, WrongValues or CannotBeSent."""
    found = await messages.lock(transaction, message_id=message_id)
    if found is None:
        raise NoSuchRow
    draft = changes(asdict(found, recurse=False))
    await _check_message(transaction, draft, found)
    values = dict(draft.values)
    if "metadata" in values:
        values["metadata"] = JsonText.of(values["metadata"])
    changed = await messages.update(transaction, message=evolve(found, **values))
    if changed is None:
        raise WrongValues({SEVERAL: [PLACE_TAKEN]})
    return changed


async def delete_message(transaction: Transaction, *, message_id: int) -> None:
    """Delete a message; raises NoSuchRow."""
    if not await messages.delete(transaction, message_id=message_id):
        raise NoSuchRow


async def replace_file(
    transaction: Transaction, *, file: BinaryContent, content: str, max_text_length: int
) -> BinaryContent:
    """Replace a file by another stored file, which has this name.

    Raises NoSuchRow, or WrongValues if messages could not be sent with it.
    """

    def problems(found: Content) -> list[Problem]:
        before = evolve(found, file_name=file.content)
        after = evolve(found, file_name=content)
        return new_problems(before, after, limit=max_text_length)

    changed = await binary_contents.replace(transaction, file_id=file.id, content=content)
    if changed is None:
        raise NoSuchRow
    unsendable = await find_unsendable_of_file(
        transaction, file_id=file.id, problems=problems, most=_NAMED
    )
    if unsendable:
        raise WrongValues({"content": [one.told(problem) for one, problem in unsendable]})
    return changed


async def delete_file(transaction: Transaction, *, file_id: int) -> None:
    """Delete the row of a file and the messages that use it; raises NoSuchRow.

    The file itself stays, because messages that were sent link to it.
    """
    if not await binary_contents.delete(transaction, file_id=file_id):
        raise NoSuchRow


async def _check_messageset(
    transaction: Transaction, draft: Draft, *, besides: int | None = None
) -> None:
    """Raise WrongValues for wrong values, unknown references, and a name that another set has."""
    problems = await draft.hold_references(transaction)
    short_name = draft.values.get("short_name")
    if short_name is not None:
        holder = await messagesets.find_by_name(transaction, short_name=short_name)
        if holder not in (None, besides):
            problems.add("short_name", NAME_TAKEN)
    problems.check()


async def _check_messages(
    transaction: Transaction, found: MessageSet, wanted: MessageSet, limit: int
) -> None:
    """Raise WrongValues if messages of the set can be sent before the change, but not after it."""
    before, after = found.medium, wanted.medium
    if (before.is_audio, before.is_whatsapp) == (after.is_audio, after.is_whatsapp):
        return

    def problems(content: Content) -> list[Problem]:
        return new_problems(content, evolve(content, medium=after), limit=limit)

    unsendable = await find_unsendable(
        transaction, messageset_id=found.id, problems=problems, most=_NAMED
    )
    told = Problems()
    for one, problem in unsendable:
        is_of_channel = problem.code == "whatsapp" and before.is_whatsapp != after.is_whatsapp
        told.add("channel" if is_of_channel else "content_type", one.told(problem))
    told.check()


async def check_made_again(
    transaction: Transaction, *, message_id: int, max_text_length: int
) -> None:
    """Raise CannotBeSent if a message that was made again could not be sent."""
    found = await messages.find(transaction, message_id=message_id)
    assert found is not None
    made = await _content(transaction, asdict(found, recurse=False))
    problems = new_problems(None, made, limit=max_text_length)
    if problems:
        raise CannotBeSent([one.sentence for one in problems])


async def _check_message(transaction: Transaction, draft: Draft, found: Message | None) -> None:
    """Raise WrongValues or CannotBeSent unless the place is free and the message can be sent."""
    problems = await draft.hold_references(transaction)
    stored = {} if found is None else asdict(found, recurse=False)
    wanted = {**stored, **draft.values}
    before = None if found is None else await _content(transaction, stored)
    after = await _content(transaction, wanted)
    of_the_whole = []
    for problem in new_problems(before, after, limit=draft.max_text_length):
        attribute = _ATTRIBUTES.get(problem.code)
        if attribute is None:
            of_the_whole.append(problem.sentence)
        else:
            problems.add(attribute, problem.sentence)
    problems.check()
    place = {name: wanted[name] for name in ("messageset_id", "sequence_number", "lang")}
    besides = None if found is None else found.id
    if await messages.find_in_place(transaction, **place) not in (None, besides):
        raise WrongValues({SEVERAL: [PLACE_TAKEN]})
    if of_the_whole:
        raise CannotBeSent(of_the_whole)


async def _content(transaction: Transaction, values: Mapping[str, Any]) -> Content:
    """The content with these values; the set is locked until the transaction ends."""
    messageset_id, file_id = values.get("messageset_id"), values.get("binary_content_id")
    medium = Medium(content_type="text", channel=None)
    if messageset_id is not None and await messagesets.hold(transaction, row_id=messageset_id):
        messageset = await messagesets.find(transaction, messageset_id=messageset_id)
        assert messageset is not None
        medium = messageset.medium
    files = await binary_contents.find(transaction, ids=[] if file_id is None else [file_id])
    file = files.get(file_id) if file_id is not None else None
    return Content(
        text=values.get("text_content"),
        file_name=None if file is None else file.content,
        medium=medium,
    )
