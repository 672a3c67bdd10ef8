from __future__ import annotations

import pytest_twisted
from twisted.internet.task import Clock
from twisted.logger import Logger, capturedLogs

from sbm.operations import users
from sbm.pipeline.upkeep.token_upkeep import TokenUpkeep
from sbm.runtime.token_uses import TokenUses
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

NOTED = "SELECT round(extract(epoch FROM now() - last_used_at)) FROM tokens WHERE id = %s"


def upkeep(database: Database, reactor: Clock, uses: TokenUses, *tokens: str) -> TokenUpkeep:
    return TokenUpkeep(
        reactor=reactor, database=database, uses=uses, scheduler_tokens=tokens, log=Logger()
    )


@pytest_twisted.ensureDeferred
async def test_uses_are_stored_together_and_once_an_hour(
    database: Database, direct: Arranged
) -> None:
    for _ in range(3):
        await database.transact(users.create_token, email="bob")
    direct.rows("UPDATE tokens SET last_used_at = now() - interval '30 minutes' WHERE id = 2")
    direct.rows("UPDATE tokens SET last_used_at = now() - interval '2 hours' WHERE id = 3")
    clock = Clock()
    uses = TokenUses(reactor=clock)
    for token_id in (1, 2, 3, 1):
        uses.note(token_id)
    clock.advance(20)
    await upkeep(database, clock, uses).one_pass()
    assert [direct.value(NOTED, one) for one in (1, 2, 3)] == [20, 1800, 20]
    assert uses.take() == {}


@pytest_twisted.ensureDeferred
async def test_the_last_uses_are_stored_at_the_stop(database: Database, direct: Arranged) -> None:
    await database.transact(users.create_token, email="bob")
    clock = Clock()
    uses = TokenUses(reactor=clock)
    service = upkeep(database, clock, uses)
    service.startService()
    uses.note(1)
    await service.stopService()
    assert direct.value(NOTED, 1) is not None


@pytest_twisted.ensureDeferred
async def test_uses_that_cannot_be_stored_are_stored_later(database: Database) -> None:
    uses = TokenUses(reactor=Clock())
    uses.note(1)
    database.stopService()
    service = upkeep(database, Clock(), uses)
    service.startService()
    await service.stopService()  # no failure
    assert uses.take() == {1: 0.0}


@pytest_twisted.ensureDeferred
async def test_a_user_with_the_token_of_the_scheduler_is_warned_of_once(
    database: Database, direct: Arranged
) -> None:
    token = await database.transact(users.create_token, email="hub")
    with capturedLogs() as logged:
        for tokens in ((), ("other",), ("other", token)):
            service = upkeep(database, Clock(), TokenUses(reactor=Clock()), *tokens)
            for _ in range(2):
                await service.one_pass()
        direct.rows("UPDATE tokens SET revoked_at = now()")
        await upkeep(database, Clock(), TokenUses(reactor=Clock()), token).one_pass()
    assert [event["owners"] for event in logged if "owners" in event] == ["hub"]
