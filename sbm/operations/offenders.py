"""Messages that have a problem: looked for, and some of them named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sbm.model.content_rules import Content, Placed, Problem
from sbm.store import messages
from sbm.store.postgres.database import Transaction

# So many are read at a time, and let go again, when all messages of a set are looked at.
AT_ONCE = 500
# Of one file.
OF_FILE = 1000

Problems = Callable[[Content], Sequence[Problem]]


async def find_offenders(
    transaction: Transaction, *, messageset_id: int, problems: Problems, most: int
) -> list[tuple[Placed, Problem]]:
    """The first messages of a set, by language and number, of which ``problems`` finds any.

    Each comes with its first problem; ``most`` of them are looked for.
    """
    found: list[tuple[Placed, Problem]] = []
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


async def find_offenders_of_file(
    transaction: Transaction, *, file_id: int, problems: Problems, most: int
) -> list[tuple[Placed, Problem]]:
    """The first messages that carry a file of which ``problems`` finds any, ``most`` of them."""
    page = await messages.list_contents_of_file(transaction, file_id=file_id, limit=OF_FILE)
    return (await _with_problems(transaction, page, problems))[:most]


async def _with_problems(
    transaction: Transaction, page: Iterable[Placed], problems: Problems
) -> list[tuple[Placed, Problem]]:
    found = []
    slices = transaction.slices()
    for one in page:
        found += [(one, problem) for problem in problems(one.content)[:1]]
        if slices.is_over:
            await slices.next_turn()
    return found
