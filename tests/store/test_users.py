from __future__ import annotations

import pytest
import pytest_twisted

from sbm.model.user import User
from sbm.store import users
from sbm.store.database import Database
from tests.arrange import Arranged


@pytest_twisted.ensureDeferred
async def test_a_token_belongs_to_its_user(database: Database) -> None:
    token = await database.transact(users.create_token, email="a@example.org", admin=True)
    found = await database.transact(users.find_user_by_token, token=token)
    assert found == User(id=1, username="a@example.org", is_admin=True)


@pytest_twisted.ensureDeferred
async def test_only_a_digest_of_the_token_is_stored(database: Database, behind: Arranged) -> None:
    token = await database.transact(
        users.create_token, email="a@example.org", admin=False, random_bytes=bytes
    )
    assert token == "00" * 20
    stored = bytes(behind.value("SELECT digest FROM tokens"))
    assert len(stored) == 32
    assert bytes(20) not in stored


@pytest_twisted.ensureDeferred
async def test_a_second_token_leaves_the_first_and_the_rights(database: Database) -> None:
    first = await database.transact(users.create_token, email="a@example.org", admin=True)
    second = await database.transact(users.create_token, email="a@example.org", admin=False)
    found = [
        await database.transact(users.find_user_by_token, token=token) for token in (first, second)
    ]
    assert first != second
    assert found == [User(id=1, username="a@example.org", is_admin=True)] * 2


@pytest.mark.parametrize("change", ["UPDATE tokens SET revoked_at = now()", "DELETE FROM users"])
@pytest_twisted.ensureDeferred
async def test_a_token_can_be_revoked(database: Database, behind: Arranged, change: str) -> None:
    token = await database.transact(users.create_token, email="a@example.org", admin=False)
    behind.rows(change)
    assert await database.transact(users.find_user_by_token, token=token) is None


@pytest_twisted.ensureDeferred
async def test_an_inactive_user_is_found_as_such(database: Database, behind: Arranged) -> None:
    token = await database.transact(users.create_token, email="a@example.org", admin=False)
    behind.rows("UPDATE users SET is_active = false")
    found = await database.transact(users.find_user_by_token, token=token)
    assert found is not None
    assert not found.is_active


@pytest.mark.parametrize("email", ["", "a" * 151])
@pytest_twisted.ensureDeferred
async def test_an_email_has_to_do_as_a_user_name(database: Database, email: str) -> None:
    with pytest.raises(ValueError, match="1 to 150"):
        await database.transact(users.create_token, email=email, admin=False)
