"""A person's story: what happened, newest first, and what is planned."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sbm.model.identity import canonical_uuid
from sbm.model.paging import EndlessPage
from sbm.model.timeline import PersonEvent, Plan, PlanClock
from sbm.operations.refusals import NoSuchRow
from sbm.store import people
from sbm.store.postgres.storable import storable
from sbm.store.postgres.transaction import Transaction


async def list_events(
    transaction: Transaction,
    *,
    identity: str,
    limit: int,
    most_bytes: int | None = None,
    after: tuple[datetime, str, str] | None = None,
) -> EndlessPage[PersonEvent]:
    """The next events of a person; raises NoSuchRow if nothing at all is known of the person.

    No event follows after ``most_bytes`` bytes of details.
    """
    if storable(identity) != identity:
        raise NoSuchRow
    rows, found = await people.list_events(
        transaction,
        identity=identity,
        limit=limit + 1,
        most_bytes=most_bytes,
        after=after or people.START,
    )
    if not rows and after is None:
        raise NoSuchRow
    return EndlessPage(rows=rows[:limit], more=found > len(rows[:limit]))


async def list_plans(transaction: Transaction, *, identity: str, clock: PlanClock) -> list[Plan]:
    """What is planned for each subscription of a person that is not completed."""
    found = await people.list_planned(transaction, identity=identity, mode=clock.mode)
    return [one.plan(clock) for one in found]


async def find_person(transaction: Transaction, *, told: str) -> str:
    """The identity, if this is the id of a subscription that there is or was; else the text.

    A UUID has its stored spelling.
    """
    try:
        subscription_id = UUID(told)
    except ValueError:
        return told
    usual = canonical_uuid(told) or told
    found = await people.find_of_subscription(transaction, subscription_id=subscription_id)
    return usual if found is None else found
