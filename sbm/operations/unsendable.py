"""Find messages that have a problem, to name some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sbm.model.content_rules import Content, PlacedContent, Problem
from sbm.store import messages
from sbm.store.postgres.transaction import Transaction

# So many messages are in memory at a time while all messages of a set are looked at.
AT_ONCE = 500
# Of one file.
OF_FILE = 1000

FindProblems = Callable[[Content], Sequence[Problem]]


async def find_unsendable(
    transaction: Transaction, *, messageset_id: int, problems: FindProblems, most: int
) -> list[tuple[PlacedContent, Problem]]:
    """The first messages of a set, by language and number, in which ``problems`` finds any.

    Returns at most ``most`` messages, each with its first problem.
    """
    found: list[tuple[PlacedContent, Problem]] = []
    lang, number = "", 0
    while len(found) < most:
        page = await messages.list_contents(
            transaction, messageset_id=messageset_id, lang=lang, number=number, limit=AT_ONCE
        )
        found += await _with_problems(transaction, page, problems)
        if len(page) < AT_ONCE:
            break
        lang, number = page[-1].lang, page[-1].sequence_number
    return found[:most]


async def find_unsendable_of_file(
    transaction: Transaction, *, file_id: int, problems: FindProblems, most: int
) -> list[tuple[PlacedContent, Problem]]:
    """The first ``most`` messages with this file in which ``problems`` finds any."""
    page = await messages.list_contents_of_file(transaction, file_id=file_id, limit=OF_FILE)
    return (await _with_problems(transaction, page, problems))[:most]


async def _with_problems(
    transaction: Transaction, page: Iterable[PlacedContent], problems: FindProblems
) -> list[tuple[PlacedContent, Problem]]:
    found = []
    slices = transaction.slices()
    for one in page:
        found += [(one, problem) for problem in problems(one.content)[:1]]
        if slices.is_over:
            await slices.next_turn()
    return found
