"""``sbm subscriber``, as an operator runs it."""

from __future__ import annotations

import json

from pytest_twisted import ensureDeferred

from sbm.commands.running import FAILED, OK
from sbm.model.author import Author
from sbm.store import subscriptions
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from tests.arrange import Arranged
from tests.commands.operator import Sbm
from tests.web.resources.test_people import tick, ticks_in_a_row, two_sets


@ensureDeferred
async def test_a_person_is_shown_by_identity_and_by_subscription(
    sbm: Sbm, database: Database, direct: Arranged
) -> None:
    schedule, pregnancy, _ = two_sets(direct)
    (subscription,) = direct.subscriptions(1, pregnancy, schedule, lang="eng")
    identity = direct.value("SELECT identity FROM subscriptions")
    await tick(database, schedule)

    shown = await sbm("subscriber", "show", identity)

    assert shown.status == OK
    assert "planned: message 2, at " in shown.out
    assert '"pregnancy 1 eng"' in shown.out
    assert "registered" in shown.out.splitlines()[-1]

    assert (await sbm("subscriber", "show", identity.upper())).out == shown.out

    direct.rows("DELETE FROM subscriptions")
    found = await sbm("subscriber", "show", str(subscription), "--json")
    told = json.loads(found.out)
    assert (told["identity"], told["planned"]) == (identity, [])
    (event,) = told["events"]
    assert (event["event"], event["text"]) == ("sent", "pregnancy 1 eng")
    assert event["details"]["sequence_number"] == 1


@ensureDeferred
async def test_what_others_said_about_a_person_is_data(
    sbm: Sbm, database: Database, direct: Arranged
) -> None:
    schedule, pregnancy, _ = two_sets(direct)
    direct.subscriptions(1, pregnancy, schedule, lang="eng")
    await tick(database, schedule)
    direct.rows("UPDATE ledger SET reason = %s", "\x1b[2J\nall is well \x9b\u202e")
    identity = direct.value("SELECT identity FROM subscriptions")
    for form in ((), ("--json",)):
        printed = (await sbm("subscriber", "show", identity, *form)).out
        assert "all is well" in printed
        assert printed.replace("\n", "").isprintable()


@ensureDeferred
async def test_further_ticks_are_told_with_the_one_that_skipped_the_person(
    sbm: Sbm, database: Database, direct: Arranged
) -> None:
    schedule, pregnancy, _ = two_sets(direct)
    direct.subscriptions(1, pregnancy, schedule, lang="eng")
    await ticks_in_a_row(database, schedule, 4)
    shown = await sbm("subscriber", "show", direct.value("SELECT identity FROM subscriptions"))
    (line,) = (line for line in shown.out.splitlines() if "skipped" in line)
    assert "; and by 2 further ticks, due from 20" in line
    assert line.endswith("; the tick before it was still being sent")


@ensureDeferred
async def test_who_is_not_known_is_told_so(sbm: Sbm) -> None:
    assert (await sbm("subscriber", "show", "nobody")).status == FAILED


@ensureDeferred
async def test_a_registration_is_told_with_its_request_and_its_key(
    sbm: Sbm, database: Database, direct: Arranged
) -> None:
    schedule, pregnancy, _ = two_sets(direct)

    async def register(transaction: Transaction) -> None:
        transaction.author = Author(
            actor="hub", action="POST /x", request_id="r-17", idempotency_key="k-18"
        )
        await subscriptions.create(
            transaction,
            version=1,
            identity="someone",
            messageset_id=pregnancy,
            next_sequence_number=1,
            initial_sequence_number=1,
            lang="eng",
            active=True,
            completed=False,
            schedule_id=schedule,
            process_status=0,
            metadata=None,
            created_by=None,
        )

    await database.transact(register)
    last = (await sbm("subscriber", "show", "someone")).out.splitlines()[-1]
    assert last.split(maxsplit=2)[2:] == ["registered  hub  POST /x; request r-17; key k-18"]
