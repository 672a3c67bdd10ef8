"""What would happen to the people of a set if its messages were changed? All of it is undone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from attrs import evolve

from sbm.model.content import is_language
from sbm.model.ids import LARGEST_ID
from sbm.model.simulation import (
    MOST_CHANGES,
    ContentChange,
    SetSimulation,
    SimulationSettings,
)
from sbm.model.text import is_storable
from sbm.operations import content
from sbm.operations.drafts import Draft
from sbm.operations.refusals import CannotBeSent, NoSuchRow, WrongValues
from sbm.operations.simulating_days import simulate_set
from sbm.store import messages, messagesets
from sbm.store.postgres.transaction import Transaction

# A change of the content is too young if it is later than so long before now. None is: the changes
# that are made here have the time of their statements, which is later than the transaction's.
_AT_REST = timedelta(days=-1)


def read_changes(given: Any) -> list[ContentChange]:
    """Changes as they are written in JSON; raises WrongValues."""
    if not isinstance(given, list) or not 0 < len(given) <= MOST_CHANGES:
        raise WrongValues({"changes": [f"Give a list of 1 to {MOST_CHANGES:,} changes."]})
    return [_read(place, one) for place, one in enumerate(given, 1)]


def _read(place: int, given: Any) -> ContentChange:
    if not isinstance(given, dict):
        raise WrongValues({"changes": [f"Change {place} is not an object."]})
    number: Any = given.get("sequence_number")
    lang: Any = given.get("lang")
    text: Any = given.get("text_content")
    is_deleted = given.get("delete") is True
    problem = None
    if type(number) is not int or not 0 < number <= LARGEST_ID:
        problem = f"sequence_number from 1 to {LARGEST_ID}"
    elif not isinstance(lang, str) or not is_language(lang):
        problem = "lang, such as eng or eng_ZA"
    elif is_deleted is ("text_content" in given):
        problem = "text_content, or delete as true"
    elif not is_deleted and not (isinstance(text, str) and is_storable(text)):
        problem = "text_content that is text"
    if problem is not None:
        raise WrongValues({"changes": [f"Change {place} has to have {problem}."]})
    return ContentChange(
        sequence_number=number, lang=lang, text_content=None if is_deleted else text.strip()
    )


async def simulate_changes(
    transaction: Transaction,
    *,
    messageset_id: int,
    changes: Sequence[ContentChange],
    settings: SimulationSettings,
) -> SetSimulation:
    """What the next ticks of the set do before and after these changes.

    The changes are really made, with the rules of all changes, in a transaction that is rolled
    back. Raises NoSuchRow, or WrongValues for a change that would be refused. Whoever is at the end
    completes at once: that the content has changed just now does not count.
    """
    if await messagesets.find(transaction, messageset_id=messageset_id) is None:
        raise NoSuchRow
    settled = evolve(settings, rules=evolve(settings.rules, content_settle=_AT_REST))
    before = await simulate_set(transaction, messageset_id=messageset_id, settings=settled)
    for change in changes:
        try:
            await _make(transaction, messageset_id, change, settings.rules.max_text_length)
        except (WrongValues, CannotBeSent) as error:
            place = f"message {change.sequence_number} in {change.lang}"
            raise WrongValues({"changes": [f"{place}: {error}"]}) from error
    after = await simulate_set(transaction, messageset_id=messageset_id, settings=settled)
    return SetSimulation(before=before, after=after)


async def _make(
    transaction: Transaction, messageset_id: int, change: ContentChange, max_text_length: int
) -> None:
    message_id = await messages.find_in_place(
        transaction,
        messageset_id=messageset_id,
        sequence_number=change.sequence_number,
        lang=change.lang,
    )
    if change.text_content is None:
        if message_id is None:
            raise WrongValues({"delete": ["There is no such message."]})
        await content.delete_message(transaction, message_id=message_id)
        return
    written = {"text_content": change.text_content}
    if message_id is not None:
        draft = Draft(values=written, max_text_length=max_text_length)
        await content.change_message(transaction, lambda _stored: draft, message_id=message_id)
        return
    row = {
        "messageset_id": messageset_id,
        "sequence_number": change.sequence_number,
        "lang": change.lang,
        "metadata": {},
        "binary_content_id": None,
    }
    draft = Draft(values=row | written, max_text_length=max_text_length)
    await content.create_message(transaction, draft)
