"""Make, change and delete subscriptions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from attrs import evolve, frozen

from sbm.model.content_rules import prepend_of, prepend_problems
from sbm.model.subscription import Contradiction, Subscription, consistent
from sbm.operations.drafts import Changes, Draft, Problems
from sbm.operations.refusals import NoSuchRow, WrongValues
from sbm.store import idempotency, messages, messagesets, subscriptions
from sbm.store.postgres.transaction import Transaction

_CONTRADICTION = "This is the status of a completed subscription, and completed is false."

# These attributes decide which message is next.
_PLACE = ("messageset_id", "lang", "next_sequence_number")


@frozen(kw_only=True)
class Registration:
    """The subscription that a request asked for; ``is_duplicate``: an earlier one has made it."""

    subscription_id: UUID
    is_duplicate: bool = False


async def create_subscription(transaction: Transaction, draft: Draft) -> Subscription:
    """Make a subscription; raises WrongValues."""
    return await _stored(transaction, await _make(transaction, draft))


async def register(transaction: Transaction, draft: Draft, *, window: timedelta) -> Registration:
    """Make a subscription, unless the same was requested less than ``window`` ago.

    If ``window`` is zero, earlier requests do not matter. Raises WrongValues.
    """
    if not window:
        return Registration(subscription_id=await _make(transaction, draft))
    fingerprint = _fingerprint(draft)
    first = await idempotency.find_registration(transaction, fingerprint=fingerprint, within=window)
    if first is not None:
        return Registration(subscription_id=first, is_duplicate=True)
    made = await _make(transaction, draft)
    await idempotency.keep_registration(transaction, fingerprint=fingerprint, subscription_id=made)
    return Registration(subscription_id=made)


async def change_subscription(
    transaction: Transaction, changes: Changes, *, subscription_id: UUID
) -> Subscription:
    """Change a subscription; raises NoSuchRow or WrongValues."""
    stored = await subscriptions.lock(transaction, subscription_id=subscription_id)
    if stored is None:
        raise NoSuchRow
    draft = changes(stored)
    problems = await draft.hold_references(transaction)
    await _check_prepend(transaction, draft, stored, problems)
    problems.check()
    changed = _consistent(draft, was_completed=stored["completed"])
    await subscriptions.update(
        transaction,
        subscription_id=subscription_id,
        fields={**stored, **changed},
        updated_by=draft.user_id,
    )
    return await _stored(transaction, subscription_id)


async def delete_subscription(transaction: Transaction, *, subscription_id: UUID) -> None:
    """Delete a subscription; raises NoSuchRow. Its owed sends will be skipped."""
    if not await subscriptions.delete(transaction, subscription_id=subscription_id):
        raise NoSuchRow


async def _make(transaction: Transaction, draft: Draft) -> UUID:
    made = await _create_at_once(transaction, draft)
    if made is not None:
        return made
    problems = await draft.hold_references(transaction)
    await _check_prepend(transaction, draft, {}, problems)
    problems.check()
    made = await _create(transaction, draft)
    assert made is not None  # the rows that it refers to are locked
    return made


async def _stored(transaction: Transaction, subscription_id: UUID) -> Subscription:
    found = await subscriptions.find(transaction, subscription_id=subscription_id)
    assert found is not None
    return found


async def _create_at_once(transaction: Transaction, draft: Draft) -> UUID | None:
    """The id of the subscription, made by one statement; None if something may be wrong with it."""
    if draft.problems or prepend_of(draft.values["metadata"]) is not None:
        return None
    try:
        return await _create(transaction, draft)
    except WrongValues:
        return None  # an unknown message set or schedule has to be told before


async def _create(transaction: Transaction, draft: Draft) -> UUID | None:
    values = {**draft.values, **_consistent(draft, was_completed=False)}
    return await subscriptions.create(transaction, **values, created_by=draft.user_id)


def begin_with_next(draft: Draft) -> Draft:
    """A draft of a subscription that begins with its next message, unless it says otherwise."""
    if "initial_sequence_number" not in draft.defaults:
        return draft
    following = draft.values.get("next_sequence_number")
    if following is None:
        return draft
    return evolve(draft, values={**draft.values, "initial_sequence_number": following})


def _fingerprint(draft: Draft) -> bytes:
    """A digest of the values, independent of their spelling. Invalid values are left out."""
    text = json.dumps(draft.values, sort_keys=True)
    return sha256(text.encode("ascii")).digest()


def _consistent(draft: Draft, *, was_completed: bool) -> dict[str, Any]:
    try:
        return consistent(draft.written, was_completed=was_completed)
    except Contradiction:
        raise WrongValues({"process_status": [_CONTRADICTION]}) from None


async def _check_prepend(
    transaction: Transaction, draft: Draft, before: Mapping[str, Any], problems: Problems
) -> None:
    """Add the problems of a prepend that cannot go out before the next message.

    ``before`` is the subscription as it is stored, or empty for a new one. A prepend that is stored
    already may have problems, for example after an import: only new problems are added.
    """
    after = {**before, **draft.values}
    prepend = prepend_of(after.get("metadata"))
    if prepend is None or not problems.found.keys().isdisjoint(("metadata", *_PLACE)):
        return
    waiting = prepend_of(before.get("metadata"))
    is_kept = type(prepend) is type(waiting) and prepend == waiting
    if is_kept and all(before[name] == after[name] for name in _PLACE):
        return
    limit = draft.max_text_length
    had = await _prepend_problems(transaction, prepend, before, limit) if is_kept else {}
    for code, sentence in (await _prepend_problems(transaction, prepend, after, limit)).items():
        if code not in had:
            problems.add("metadata", sentence)


async def _prepend_problems(
    transaction: Transaction, prepend: Any, values: Mapping[str, Any], limit: int
) -> dict[str, str]:
    """The problems of a prepend, by code; the set is locked until the transaction ends."""
    await messagesets.hold(transaction, row_id=values["messageset_id"])
    messageset = await messagesets.find(transaction, messageset_id=values["messageset_id"])
    assert messageset is not None
    text = await messages.find_next_text(transaction, **{name: values[name] for name in _PLACE})
    found = prepend_problems(prepend, messageset.medium, text=text, limit=limit)
    return {one.code: one.sentence for one in found}
