"""The subscriptions that an operator selects, and the arguments that all repairs have."""

from __future__ import annotations

from attrs import field, frozen

from sbm.model.content import MessageSet
from sbm.model.ids import LARGEST_ID
from sbm.model.selection import Selection
from sbm.model.signature import Signature
from sbm.operations.refusals import OperationRefused
from sbm.store import messagesets, schedules
from sbm.store.postgres.transaction import Transaction

# So many subscriptions are looked at, and perhaps changed, in one transaction. A change touches
# every index of the table, and the locks must not delay the daemons for long.
CHUNK = 500


class NoMessageSet(OperationRefused):
    """There is no message set with this short name or id."""

    def __init__(self, given: str) -> None:
        super().__init__(f"there is no message set {given!r}")


class NoSchedule(OperationRefused):
    """There is no schedule with this id."""

    def __init__(self, schedule_id: int) -> None:
        super().__init__(f"there is no schedule {schedule_id}")


@frozen(kw_only=True)
class Filters:
    """Selects the subscriptions that match all filters; None is no filter.

    ``messageset`` is the short name of a message set, or else its id.
    """

    messageset: str | None = None
    lang: str | None = None
    schedule_id: int | None = None


@frozen(kw_only=True)
class Repair:
    """The subscriptions that a repair changes, how many of them at most, and who does it and why.

    If it ``is_dry``, nothing is changed.
    """

    signature: Signature
    filters: Filters = field(factory=Filters)
    limit: int | None = None
    is_dry: bool = False


async def select(transaction: Transaction, *, filters: Filters) -> Selection:
    """The same filters by ids; raises NoMessageSet or NoSchedule if there is no such row."""
    messageset_id = None
    if filters.messageset is not None:
        messageset_id = (await find_messageset(transaction, given=filters.messageset)).id
    if filters.schedule_id is not None:
        await check_schedule(transaction, schedule_id=filters.schedule_id)
    return Selection(
        messageset_id=messageset_id, lang=filters.lang, schedule_id=filters.schedule_id
    )


async def find_messageset(transaction: Transaction, *, given: str) -> MessageSet:
    """The message set with this short name, or else with this id; raises NoMessageSet."""
    messageset_id = await messagesets.find_by_name(transaction, short_name=given)
    if messageset_id is None and given.isdecimal() and int(given) <= LARGEST_ID:
        messageset_id = int(given)
    found = None
    if messageset_id is not None:
        found = await messagesets.find(transaction, messageset_id=messageset_id)
    if found is None:
        raise NoMessageSet(given)
    return found


async def check_schedule(transaction: Transaction, *, schedule_id: int) -> None:
    """Raise NoSchedule if there is none with this id."""
    if not await schedules.exists(transaction, row_id=schedule_id):
        raise NoSchedule(schedule_id)
