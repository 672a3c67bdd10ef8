"""Forget a person, and tell everything that is stored about one."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

from attrs import asdict, define, evolve, field, frozen
from twisted.internet.task import deferLater

from sbm.model.author import Author
from sbm.model.marked_texts import without, without_in_text
from sbm.model.person import Person
from sbm.model.personal_data import MARK_PREFIX, SUBSCRIBER_TABLES
from sbm.operations.refusals import OperationRefused
from sbm.store import audit, personal_data
from sbm.store.personal_data import ERASED, PARTS, ForgettingMark, PersonalRow, Sought
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction

# How many rows one transaction deletes or marks, so that none keeps others waiting.
BATCH = 500
# How many rows are read at a time.
PAGE = 500
LOOK_SECONDS = 0.2
# How long to wait for transactions that may write about the person again, at least. Those of
# daemons take less than a second, and what they write could not be found later.
WRITER_SECONDS = 30.0


@frozen(kw_only=True)
class Forgotten:
    """What was deleted or marked, by table, and what still waits for another service.

    ``mark`` stands for the person in the rows that stay. If it was a dry run, it is None, and the
    counts are of the rows that there are.
    """

    mark: str | None
    counts: Mapping[str, int]
    remaining: Mapping[str, int] = field(factory=dict)


async def forget(
    database: Database,
    *,
    person: Person,
    author: Author,
    wait: timedelta,
    remains: Callable[[dict[str, int]], None] | None = None,
) -> Forgotten:
    """Delete or mark everything about a person, and record that in the audit without the person.

    It goes on until a pass finds nothing more, and no transaction is left that began before the
    person's rows were deleted; for that it waits half a minute, or ``wait``, if that is longer. For
    other services, it waits up to ``wait``. What then remains is marked by the daemons when it is
    settled, but for calls to the Scheduler. ``remains`` is told what is waited for, when that
    changes.
    """
    forgetting = _Forgetting(
        database=database, person=person, author=author, wait=wait, remains=remains
    )
    return await forgetting.run()


async def count(database: Database, *, person: Person) -> Forgotten:
    """Count the rows that ``forget`` would delete or mark, by table."""
    counts: Counter[str] = Counter()
    async for table, _ in rows_of(database, person=person):
        counts[table] += 1
    return Forgotten(mark=None, counts=_in_order(counts))


async def rows_of(
    database: Database, *, person: Person
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Each row about a person, with its table, a page at a time."""
    ids = await database.read(personal_data.find_subscriptions, person=person)
    sought = Sought(person=person, subscription_ids=tuple(ids))
    for part, table in PARTS.items():
        async for found in _rows(database, part, sought):
            yield table, found.row


class TooMuchData(OperationRefused):
    """There is more about the person than one answer may have."""

    def __init__(self) -> None:
        super().__init__("There is too much for one answer: use `sbm export`.")


async def written(
    database: Database, *, person: Person, write: Callable[[Any], str]
) -> AsyncIterator[str]:
    """The pieces of a JSON object of all rows about a person, by table; ``write`` makes JSON."""
    yield f'{{"identity": {write(person.identity)}, "tables": {{'
    current = None
    async for table, row in rows_of(database, person=person):
        if table == current:
            yield ", "
        else:
            yield f"{'' if current is None else '], '}{write(table)}: ["
        current = table
        yield write(row)
    yield "}}" if current is None else "]}}"


async def _rows(database: Database, part: str, sought: Sought) -> AsyncIterator[PersonalRow]:
    after = None
    while True:
        page = await database.read(
            personal_data.read_rows, part=part, sought=sought, after=after, limit=PAGE
        )
        for row in page:
            yield row
        if len(page) < PAGE:
            return
        after = page[-1].key


@define(eq=False, kw_only=True)
class _Forgetting:
    """One run of ``forget``. The subscriptions are remembered here when their rows are gone."""

    database: Database
    person: Person
    author: Author
    wait: timedelta
    remains: Callable[[dict[str, int]], None] | None
    mark: ForgettingMark = field(init=False)
    sought: Sought = field(init=False)
    counts: Counter[str] = field(factory=Counter, init=False)

    def __attrs_post_init__(self) -> None:
        self.mark = ForgettingMark(mark=f"{MARK_PREFIX}{uuid4()}", secret=secrets.token_hex(32))
        self.sought = Sought(person=self.person, subscription_ids=())

    async def run(self) -> Forgotten:
        now = self.database.reactor.seconds
        give_up_at = now() + self.wait.total_seconds()
        leave_writers_at = max(give_up_at, now() + WRITER_SECONDS)
        told: dict[str, int] = {}
        await self._pass()
        writers = await self.database.read(personal_data.find_writers)
        while True:
            # What began before the rows were gone may have read them, and may write them again.
            writing = await self.database.read(personal_data.count_writers, writers=writers)
            found = await self._pass()
            if found and not writing:
                writers = await self.database.read(personal_data.find_writers)
                continue
            remaining = await self.database.read(personal_data.count_remaining, sought=self.sought)
            waiting = {**asdict(remaining), "transactions": writing}
            left = {name: count for name, count in waiting.items() if count}
            if left not in ({}, told) and self.remains is not None:
                self.remains(left)
            told = left
            if not left or now() >= (leave_writers_at if writing else give_up_at):
                break
            await deferLater(self.database.reactor, LOOK_SECONDS)
        forgotten = Forgotten(mark=self.mark.mark, counts=_in_order(self.counts), remaining=left)
        await self.database.transact(self._record, forgotten)
        return forgotten

    async def _pass(self) -> int:
        """Delete or mark what is there; returns how much that was."""
        found = await self.database.read(personal_data.find_subscriptions, person=self.person)
        ids = dict.fromkeys((*self.sought.subscription_ids, *found))
        self.sought = evolve(self.sought, subscription_ids=tuple(ids))
        before = self.counts.total()
        is_over = False
        while not is_over:
            stopped = await self.database.transact(self._stop)
            self.counts.update(stopped)
            is_over = not stopped["subscriptions"]
        for part in ERASED:
            erased = BATCH
            while erased >= BATCH:
                erased = await self.database.transact(self._erase, part)
                self.counts[PARTS[part]] += erased
        await self._rewrite_commands()
        await self._rewrite_tasks()
        return self.counts.total() - before

    async def _stop(self, transaction: Transaction) -> dict[str, int]:
        transaction.author = None
        return await personal_data.stop(
            transaction, sought=self.sought, mark=self.mark, limit=BATCH
        )

    async def _erase(self, transaction: Transaction, part: str) -> int:
        transaction.author = None
        return await personal_data.erase(
            transaction, part=part, sought=self.sought, mark=self.mark, limit=BATCH
        )

    async def _rewrite_commands(self) -> None:
        needles = self.sought.parameters()["needles"]
        async for found in _rows(self.database, "audit_commands", self.sought):
            await self.database.transact(
                personal_data.rewrite_command,
                entry_id=found.row["id"],
                action=without_in_text(found.row["action"], needles, self.mark.mark),
                reason=without_in_text(found.row["reason"], needles, self.mark.mark),
                details=without(found.row["details"], needles, self.mark.mark),
            )
            self.counts["audit"] += 1

    async def _rewrite_tasks(self) -> None:
        needles = self.sought.parameters()["needles"]
        async for found in _rows(self.database, "tasks", self.sought):
            await self.database.transact(
                personal_data.rewrite_task,
                task_id=found.row["id"],
                wanted=without(found.row["wanted"], needles, self.mark.mark),
            )
            self.counts["tasks"] += 1

    async def _record(self, transaction: Transaction, forgotten: Forgotten) -> None:
        """Record it without the person, whom the reason may name."""
        needles = self.sought.parameters()["needles"]
        reason = without_in_text(self.author.reason, needles, self.mark.mark)
        transaction.author = evolve(self.author, reason=reason)
        await audit.record(
            transaction,
            actor=self.author.actor,
            action=self.author.action,
            reason=reason,
            details={
                "mark": forgotten.mark,
                "counts": forgotten.counts,
                "remaining": forgotten.remaining,
            },
        )


def _in_order(counts: Counter[str]) -> dict[str, int]:
    """The counts that are not zero, in the order of the list of tables."""
    return {one.name: counts[one.name] for one in SUBSCRIBER_TABLES if counts[one.name]}
