"""Who is logged in to the console."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred

from sbm.model.signature import Signature
from sbm.operations import logins, users
from sbm.operations.refusals import NoSuchRow
from sbm.store import console_sessions
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

ANN = Signature(actor="ann", reason="a lost telephone")


async def log_in(database: Database, user_id: int) -> None:
    await database.transact(
        console_sessions.begin, user_id=user_id, address="127.0.0.1", browser="a browser"
    )


@ensureDeferred
async def test_a_session_in_which_a_user_changes_the_own_password_goes_on(
    database: Database, direct: Arranged
) -> None:
    await database.transact(users.create, username="bob", password="old")
    for _ in range(3):
        await log_in(database, 1)
    ended = await database.transact(
        logins.change_own_password, user_id=1, session_id=2, password="new"
    )
    assert ended == 2
    assert direct.rows("SELECT id FROM console_sessions") == [{"id": 2}]
    assert direct.value("SELECT password FROM users") == "new"


@ensureDeferred
async def test_sessions_of_one_user_are_ended_and_the_audit_has_it(
    database: Database, direct: Arranged
) -> None:
    for user_id, name in enumerate(("bob", "eve"), 1):
        await database.transact(users.create, username=name)
        for _ in range(3):
            await log_in(database, user_id)
    with pytest.raises(NoSuchRow):
        await database.transact(logins.end_session, user_id=1, session_id=4, signature=ANN)
    await database.transact(logins.end_session, user_id=1, session_id=1, signature=ANN)
    ended = await database.transact(logins.end_sessions, user_id=1, besides=3, signature=ANN)
    assert ended == 1
    assert direct.rows("SELECT id FROM console_sessions ORDER BY id") == [
        {"id": number} for number in (3, 4, 5, 6)
    ]
    assert (
        direct.rows("SELECT actor, reason, details FROM audit ORDER BY id")
        == [{"actor": "ann", "reason": ANN.reason, "details": {"user": 1, "ended": 1}}] * 2
    )
