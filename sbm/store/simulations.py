"""Simulations: what a tick would do is counted, and kept for whoever opens the tick."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from attrs import field, frozen
from psycopg2.extras import Json

from sbm.model.hold import HoldReason
from sbm.model.ids import BEFORE_ALL
from sbm.model.send import MessageToSend, Send
from sbm.model.simulation import (
    KEPT,
    LastTick,
    MemberGroup,
    PositionContent,
    PrependedMember,
    SendingRate,
    SetPosition,
)
from sbm.store.claimed_sends import recipient
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("simulations")

# The id of what is no row.
_NONE = UUID(int=0)


@frozen(kw_only=True)
class TickToSimulate:
    """A tick of a schedule that would be opened now, or the one with this id, which is open."""

    schedule_id: int
    tick_id: int | None = None

    def parameters(self) -> dict[str, Any]:
        """Those that the statements have in common with the one that opens a tick."""
        return {
            "schedule_id": self.schedule_id,
            "tick_id": self.tick_id,
            "due_at": None,
            "is_repeated": False,
        }


@frozen(kw_only=True)
class KeptSimulation:
    """What a simulation has counted; ``allowed_change`` is in percent of the members."""

    schedule_id: int
    made_at: datetime
    allowed_change: int
    counts: Sequence[Sequence[Any]]


@frozen(kw_only=True)
class Staying:
    """How many do not go on to the next set, and what the ledger adds to the reason."""

    schedule_id: int
    messageset_id: int
    lang: str
    next_sequence_number: int
    added: str
    count: int
    is_live: bool = False

    @property
    def place(self) -> tuple[int, SetPosition]:
        """Their schedule, and where they stand."""
        return self.schedule_id, SetPosition(
            self.messageset_id, self.lang, self.next_sequence_number
        )


@frozen(kw_only=True)
class MembersToFind:
    """Members in these positions who would be skipped for this reason, or would not be skipped.

    ``stay``: those at the end who do not go on to the next set (or do); None: all of them.
    """

    reason: str | None = None
    stay: bool | None = None
    positions: set[SetPosition] = field(factory=set)


@frozen(kw_only=True)
class FollowingSet:
    """The set that follows another one, and the schedule on which it begins."""

    messageset_id: int
    next_set_id: int
    schedule_id: int


async def group_members(transaction: Transaction, *, tick: TickToSimulate) -> list[MemberGroup]:
    """The members of a tick, grouped by their positions and by why they would be skipped."""
    return await transaction.many(QUERIES.group_members, MemberGroup, **tick.parameters())


async def list_prepended_members(
    transaction: Transaction, *, tick: TickToSimulate, limit: int, after: UUID = BEFORE_ALL
) -> list[PrependedMember]:
    """The next members with a prepend that would not be skipped, by their ids."""
    return await transaction.many(
        QUERIES.list_prepended_members,
        PrependedMember,
        limit=limit,
        after=after,
        **tick.parameters(),
    )


async def find_tick_to_follow(transaction: Transaction, *, tick: TickToSimulate) -> int | None:
    """The tick that is still being sent, if there is one."""
    parameters = tick.parameters()
    del parameters["tick_id"]
    return await transaction.one(QUERIES.find_tick_to_follow, _same, **parameters)


async def find_examples(
    transaction: Transaction,
    *,
    tick: TickToSimulate,
    wanted: Mapping[int, MembersToFind],
    are_rare: bool,
) -> list[tuple[int, UUID, str]]:
    """Some of these members, each with the number of its group."""
    if not wanted:
        return []
    if not are_rare:
        return await transaction.many(
            QUERIES.find_examples, _example, wanted=_written(wanted), **tick.parameters()
        )
    return await transaction.many(
        QUERIES.find_rare_examples,
        _example,
        wanted=_written(wanted),
        messagesets=_sets(one for members in wanted.values() for one in members.positions),
        **tick.parameters(),
    )


async def find_examples_of_set(
    transaction: Transaction,
    *,
    messageset_id: int,
    wanted: Mapping[int, MembersToFind],
    are_rare: bool,  # noqa: ARG001 - all are found in one pass
) -> list[tuple[int, UUID, str]]:
    """Some of these active subscriptions of a set, each with the number of its group."""
    if not wanted:
        return []
    return await transaction.many(
        QUERIES.find_examples_of_set,
        _example,
        messageset_id=messageset_id,
        wanted=_written(wanted),
    )


def _sets(positions: Iterable[SetPosition]) -> list[int]:
    return sorted({one.messageset_id for one in positions})


def _place(position: Iterable[object]) -> str:
    """A position as statements compare it."""
    return " ".join(map(str, position))


def _written(wanted: Mapping[int, MembersToFind]) -> Json:
    return Json(
        [
            {
                "n": n,
                "reason": members.reason,
                "stay": members.stay,
                "positions": [one._asdict() for one in members.positions],
                "places": {_place(one): True for one in members.positions},
            }
            for n, members in wanted.items()
        ]
    )


async def find_contents(
    transaction: Transaction, *, positions: Iterable[SetPosition], content_settle: timedelta
) -> list[PositionContent]:
    """What would be sent in each of these positions."""
    written = [one._asdict() for one in positions]
    if not written:
        return []
    return await transaction.many(
        QUERIES.find_contents, _content, positions=Json(written), content_settle=content_settle
    )


async def count_members_who_stay(
    transaction: Transaction, *, tick: TickToSimulate, positions: Collection[SetPosition]
) -> list[Staying]:
    """Of the members at the end of their content in these positions: those who do not go on."""
    places = {_place(one) for one in positions}
    numbers = {one.next_sequence_number for one in positions}
    if not places:
        return []
    return await transaction.many(
        QUERIES.count_members_who_stay,
        partial(Staying, schedule_id=tick.schedule_id),
        places=Json(dict.fromkeys(places, True)),
        numbers=list(numbers),
        **tick.parameters(),
    )


async def count_those_who_stay(
    transaction: Transaction, *, positions: Collection[tuple[int, SetPosition]]
) -> list[Staying]:
    """The same of all active subscriptions, by schedule and position."""
    places = {_place((schedule, *one)) for schedule, one in positions}
    numbers = {one.next_sequence_number for _, one in positions}
    if not places:
        return []
    return await transaction.many(
        QUERIES.count_those_who_stay,
        Staying,
        places=Json(dict.fromkeys(places, True)),
        numbers=list(numbers),
    )


async def group_subscriptions(
    transaction: Transaction, *, messageset_id: int | None = None
) -> list[MemberGroup]:
    """All active subscriptions, or those of a set, grouped by schedule and position."""
    return await transaction.many(
        QUERIES.group_subscriptions, MemberGroup, messageset_id=messageset_id
    )


async def list_prepended(
    transaction: Transaction,
    *,
    limit: int,
    after: UUID = BEFORE_ALL,
    messageset_id: int | None = None,
) -> list[PrependedMember]:
    """The next active subscriptions with a prepend, by their ids."""
    return await transaction.many(
        QUERIES.list_prepended,
        PrependedMember,
        limit=limit,
        after=after,
        messageset_id=messageset_id,
    )


async def list_following_sets(transaction: Transaction) -> dict[int, FollowingSet]:
    """By each set that another one follows."""
    found = await transaction.many(QUERIES.list_following_sets, FollowingSet)
    return {one.messageset_id: one for one in found}


async def find_pause_reason(transaction: Transaction) -> str:
    """What the ledger says of members whom a pause skips."""
    return await transaction.one(QUERIES.find_pause_reason, str)


async def find_holds(
    transaction: Transaction, *, schedule_id: int, messagesets: Iterable[int]
) -> list[tuple[int, HoldReason]]:
    """The sets whose messages could not leave now, and why."""
    return await transaction.many(
        QUERIES.find_holds, _hold, schedule_id=schedule_id, messagesets=list(messagesets)
    )


async def find_last_tick(transaction: Transaction, *, schedule_id: int) -> LastTick | None:
    """The last tick of a schedule that had members."""
    return await transaction.maybe(QUERIES.find_last_tick, LastTick, schedule_id=schedule_id)


async def find_pace(transaction: Transaction) -> SendingRate:
    """How fast messages leave."""
    return await transaction.one(QUERIES.find_rate, SendingRate)


async def keep(
    transaction: Transaction,
    *,
    schedule_id: int,
    made_by: str,
    allowed_change: int,
    counts: Sequence[Sequence[Any]],
) -> UUID:
    """Keep the counts; returns the token."""
    return await transaction.one(
        QUERIES.keep_simulation,
        UUID,
        schedule_id=schedule_id,
        made_by=made_by,
        allowed_change=allowed_change,
        counts=Json(counts),
    )


async def find(transaction: Transaction, *, token: UUID) -> KeptSimulation | None:
    """The simulation with this token, unless it is too old."""
    return await transaction.maybe(QUERIES.find_simulation, KeptSimulation, token=token, kept=KEPT)


async def forget_old(transaction: Transaction) -> int:
    """Delete those that are too old; returns how many."""
    return await transaction.execute(QUERIES.forget_simulations, kept=KEPT)


def _same(*, follows: int | None) -> int | None:
    return follows


def _example(*, n: int, id: UUID, identity: str) -> tuple[int, UUID, str]:  # noqa: A002
    return n, id, identity


def _hold(*, messageset_id: int, hold: HoldReason) -> tuple[int, HoldReason]:
    return messageset_id, hold


def _content(
    *,
    of_set: int,
    of_lang: str,
    next_sequence_number: int,
    claimed_number: int | None,
    version_id: int | None,
    sequence_number: int | None,
    text_content: str | None,
    file_name: str | None,
    finishes: bool,
    **own: Any,
) -> PositionContent:
    message = None
    if version_id is not None:
        assert sequence_number is not None
        message = MessageToSend(
            sequence_number=sequence_number,
            text_content=text_content,
            file_name=file_name,
            metadata="{}",  # does not decide what happens
        )
    return PositionContent(
        position=SetPosition(of_set, of_lang, next_sequence_number),
        send=Send(
            id=_NONE,
            kind="next",
            lane="tick",
            schedule_id=0,
            tick_id=0,
            attempt=1,
            owner=_NONE,
            faults=0,
            subscription_id=_NONE,
            identity="",
            prepend=None,
            recipient=recipient(
                active=True, completed=False, process_status=0, message=message, **own
            ),
            sequence_number=claimed_number,
        ),
        finishes=finishes,
    )
