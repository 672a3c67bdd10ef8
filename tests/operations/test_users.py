from __future__ import annotations

import psycopg2
import pytest
import pytest_twisted

from sbm.model.user import ADMINISTER, User
from sbm.operations import users
from sbm.store import users as store
from sbm.store.postgres.database import Database
from tests.arrange import Arranged


@pytest_twisted.ensureDeferred
async def test_a_token_belongs_to_its_user(database: Database) -> None:
    token = await database.transact(users.create_token, email="a@example.org", admin=True)
    found = await database.transact(store.find_user_by_token, token=token)
    assert found == User(id=1, username="a@example.org", is_admin=True)


@pytest_twisted.ensureDeferred
async def test_only_a_digest_of_the_token_is_stored(database: Database, direct: Arranged) -> None:
    token = await database.transact(
        users.create_token, email="a@example.org", admin=False, random_bytes=bytes
    )
    assert token == "00" * 20
    stored = bytes(direct.value("SELECT digest FROM tokens"))
    assert len(stored) == 32
    assert bytes(20) not in stored


@pytest_twisted.ensureDeferred
async def test_a_second_token_leaves_the_first_and_the_rights(database: Database) -> None:
    first = await database.transact(users.create_token, email="a@example.org", admin=True)
    second = await database.transact(users.create_token, email="a@example.org", admin=False)
    found = [
        await database.transact(store.find_user_by_token, token=token) for token in (first, second)
    ]
    assert first != second
    assert found == [User(id=1, username="a@example.org", is_admin=True)] * 2


@pytest.mark.parametrize("change", ["UPDATE tokens SET revoked_at = now()", "DELETE FROM users"])
@pytest_twisted.ensureDeferred
async def test_a_token_can_be_revoked(database: Database, direct: Arranged, change: str) -> None:
    token = await database.transact(users.create_token, email="a@example.org", admin=False)
    direct.rows(change)
    assert await database.transact(store.find_user_by_token, token=token) is None


@pytest_twisted.ensureDeferred
async def test_an_inactive_user_is_found_as_such(database: Database, direct: Arranged) -> None:
    token = await database.transact(users.create_token, email="a@example.org", admin=False)
    direct.rows("UPDATE users SET is_active = false")
    found = await database.transact(store.find_user_by_token, token=token)
    assert found is not None
    assert not found.is_active


@pytest.mark.parametrize("email", ["", "a" * 151])
@pytest_twisted.ensureDeferred
async def test_an_email_has_to_do_as_a_user_name(database: Database, email: str) -> None:
    with pytest.raises(users.UnfitText, match="1 to 150"):
        await database.transact(users.create_token, email=email, admin=False)


@pytest_twisted.ensureDeferred
async def test_an_email_finds_the_user_who_has_it(database: Database) -> None:
    await database.transact(users.create, username="bob", email="b@example.org")
    token = await database.transact(users.create_token, email="b@example.org")
    assert await database.transact(store.find_user_by_token, token=token) == User(
        id=1, username="bob"
    )


@pytest_twisted.ensureDeferred
async def test_a_name_counts_more_than_an_email(database: Database) -> None:
    for username in ("bob", "b@example.org", "ann"):
        await database.transact(users.create, username=username, email="b@example.org")
    token = await database.transact(users.create_token, email="b@example.org")
    found = await database.transact(store.find_user_by_token, token=token)
    assert found == User(id=2, username="b@example.org")


@pytest_twisted.ensureDeferred
async def test_an_email_of_several_users_is_nobodys(database: Database) -> None:
    for username in ("bob", "ann"):
        await database.transact(users.create, username=username, email="b@example.org")
    token = await database.transact(users.create_token, email="b@example.org")
    found = await database.transact(store.find_user_by_token, token=token)
    assert found is not None
    assert found.username == "b@example.org"


@pytest.mark.parametrize("name", ["b\0b", "b\nb", "b\ud800b"])
@pytest_twisted.ensureDeferred
async def test_a_name_can_be_printed(database: Database, name: str) -> None:
    with pytest.raises(users.UnfitText, match="control characters"):
        await database.transact(users.create, username=name)
    with pytest.raises(users.UnknownUser):
        await database.transact(users.set_active, username=name, is_active=True)


@pytest_twisted.ensureDeferred
async def test_a_user_is_found_with_her_password_and_permissions(database: Database) -> None:
    await database.transact(users.create, username="bob", password="hashed")
    for permission in ("a", "b", "a"):
        await database.transact(users.grant, username="bob", permission=permission)
    expected = User(id=1, username="bob", permissions=frozenset({"a", "b"}))
    found = await database.transact(store.find_user_by_name, username="bob")
    assert found == (expected, "hashed")
    token = await database.transact(users.create_token, email="bob")
    assert await database.transact(store.find_user_by_token, token=token) == expected


@pytest.mark.parametrize(("held", "may"), [("a", True), ("b", False)])
def test_a_user_may_what_she_was_granted(held: str, may: bool) -> None:
    user = User(id=1, username="bob", permissions=frozenset({held}))
    assert user.may("a") is may
    assert User(id=1, username="ann", is_admin=True).may("a")


@pytest_twisted.ensureDeferred
async def test_nobody_can_be_granted_to_be_an_administrator(database: Database) -> None:
    await database.transact(users.create, username="bob")
    with pytest.raises(psycopg2.IntegrityError):
        await database.transact(users.grant, username="bob", permission=ADMINISTER)


@pytest_twisted.ensureDeferred
async def test_a_password_that_was_changed_is_not_replaced(
    database: Database, direct: Arranged
) -> None:
    await database.transact(users.create, username="bob", password="old")
    await database.transact(users.set_password, username="bob", password="changed")
    await database.transact(store.replace_password, user_id=1, old="old", new="old, again")
    assert direct.value("SELECT password FROM users") == "changed"


@pytest_twisted.ensureDeferred
async def test_a_token_is_revoked_once(database: Database) -> None:
    token = await database.transact(users.create_token, email="bob")
    assert await database.transact(store.revoke_token, token=token)
    assert not await database.transact(store.revoke_token, token_id=1)
    assert await database.transact(store.find_user_by_token, token=token) is None
