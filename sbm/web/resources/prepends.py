"""What is to go out before the next message of a subscription, in its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sbm.model.content_rules import prepend_of, prepend_problems
from sbm.store import messages, messagesets
from sbm.store.postgres.database import Transaction
from sbm.web.schema.schema import ParsedBody

# What decides which message is next, in the model's words and in those of the wire.
_PLACE = ("messageset_id", "lang", "next_sequence_number")
_FIELDS = ("metadata", "messageset", "lang", "next_sequence_number")


async def judge_prepend(
    transaction: Transaction, reading: ParsedBody, before: Mapping[str, Any], limit: int
) -> None:
    """Refuse metadata with a prepend that cannot go out before the next message.

    ``before`` is the subscription as it is stored, or nothing for a new one. A prepend that waits
    already, as an import may have brought it, only has to be no worse under what changes around it.
    """
    after = {**before, **reading.attributes()}
    prepend = prepend_of(after.get("metadata"))
    if prepend is None or not reading.errors.keys().isdisjoint(_FIELDS):
        return
    waiting = prepend_of(before.get("metadata"))
    is_kept = type(prepend) is type(waiting) and prepend == waiting
    if is_kept and all(before[name] == after[name] for name in _PLACE):
        return
    had = await _problems(transaction, prepend, before, limit) if is_kept else {}
    for code, sentence in (await _problems(transaction, prepend, after, limit)).items():
        if code not in had:
            reading.refuse("metadata", sentence)


async def _problems(
    transaction: Transaction, prepend: Any, values: Mapping[str, Any], limit: int
) -> dict[str, str]:
    """What is wrong with it, by code; the set stays as it is until the transaction ends."""
    await messagesets.hold(transaction, row_id=values["messageset_id"])
    messageset = await messagesets.find(transaction, messageset_id=values["messageset_id"])
    assert messageset is not None
    text = await messages.find_next_text(transaction, **{name: values[name] for name in _PLACE})
    found = prepend_problems(prepend, messageset.medium, text=text, limit=limit)
    return {one.code: one.sentence for one in found}
