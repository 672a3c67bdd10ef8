from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, gatherResults

from sbm.model.user import ADMINISTER, PERMISSIONS, USUAL, User
from sbm.operations import users
from sbm.operations.drafts import Changes, Draft
from sbm.operations.refusals import WrongValues
from sbm.operations.usernames import EmailTaken, UnfitText, UsernameTaken
from sbm.store import console_sessions
from sbm.store import users as store
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from tests.arrange import Arranged


async def user_of(database: Database, token: str) -> User | None:
    """The user of a token, active or not."""
    found = await database.transact(store.find_user_by_token, token=token)
    return None if found is None else found.user


@pytest_twisted.ensureDeferred
async def test_a_token_belongs_to_its_user(database: Database) -> None:
    token = await database.transact(users.create_token, email="a@example.org", admin=True)
    found = await user_of(database, token)
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
    found = [await user_of(database, token) for token in (first, second)]
    assert first != second
    assert found == [User(id=1, username="a@example.org", is_admin=True)] * 2


@pytest.mark.parametrize("change", ["UPDATE tokens SET revoked_at = now()", "DELETE FROM users"])
@pytest_twisted.ensureDeferred
async def test_a_token_can_be_revoked(database: Database, direct: Arranged, change: str) -> None:
    token = await database.transact(users.create_token, email="a@example.org", admin=False)
    direct.rows(change)
    assert await user_of(database, token) is None


@pytest_twisted.ensureDeferred
async def test_an_inactive_user_is_found_as_such(database: Database, direct: Arranged) -> None:
    token = await database.transact(users.create_token, email="a@example.org", admin=False)
    direct.rows("UPDATE users SET is_active = false")
    found = await user_of(database, token)
    assert found is not None
    assert not found.is_active


@pytest.mark.parametrize("email", ["", "a" * 151])
@pytest_twisted.ensureDeferred
async def test_an_email_has_to_do_as_a_user_name(database: Database, email: str) -> None:
    with pytest.raises(UnfitText, match="1 to 150"):
        await database.transact(users.create_token, email=email, admin=False)


@pytest_twisted.ensureDeferred
async def test_an_email_finds_the_user_who_has_it(database: Database) -> None:
    await database.transact(users.create, username="bob", email="b@example.org")
    token = await database.transact(users.create_token, email="b@example.org")
    assert await user_of(database, token) == User(id=1, username="bob")


@pytest_twisted.ensureDeferred
async def test_a_name_counts_more_than_an_email(database: Database, direct: Arranged) -> None:
    direct.rows(
        "INSERT INTO users (username, email) SELECT unnest(%s), 'b@example.org'",
        ["bob", "b@example.org", "ann"],
    )
    token = await database.transact(users.create_token, email="b@example.org")
    found = await user_of(database, token)
    assert found == User(id=2, username="b@example.org")


@pytest_twisted.ensureDeferred
async def test_an_email_of_several_users_is_nobodys(database: Database, direct: Arranged) -> None:
    direct.rows(
        "INSERT INTO users (username, email) VALUES ('bob', 'b@example.org'),"
        " ('ann', 'b@example.org')"
    )
    token = await database.transact(users.create_token, email="b@example.org")
    found = await user_of(database, token)
    assert found is not None
    assert found.username == "b@example.org"


@pytest.mark.parametrize("name", ["b\0b", "b\nb", "b\ud800b"])
@pytest_twisted.ensureDeferred
async def test_a_name_can_be_printed(database: Database, name: str) -> None:
    with pytest.raises(UnfitText, match="control characters"):
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
    assert await user_of(database, token) == expected


@pytest.mark.parametrize(("held", "may"), [("a", True), ("b", False)])
def test_a_user_may_what_she_was_granted(held: str, may: bool) -> None:
    user = User(id=1, username="bob", permissions=frozenset({held}))
    assert user.may("a") is may
    assert User(id=1, username="ann", is_admin=True).may("a")


@pytest_twisted.ensureDeferred
async def test_to_grant_administer_makes_an_administrator(
    database: Database, direct: Arranged
) -> None:
    await database.transact(users.create, username="bob", limited=True)
    await database.transact(users.grant, username="bob", permission=ADMINISTER)
    assert direct.value("SELECT is_admin FROM users") is True
    assert await database.transact(users.revoke, username="bob", permission=ADMINISTER)
    assert not await database.transact(users.revoke, username="bob", permission=ADMINISTER)
    assert direct.value("SELECT is_admin FROM users") is False


@pytest.mark.parametrize("permission", PERMISSIONS)
def test_a_limited_user_may_only_what_was_granted(permission: str) -> None:
    others = frozenset(PERMISSIONS) - {permission}
    assert User(id=1, username="bob", is_limited=True, permissions=frozenset({permission})).may(
        permission
    )
    assert not User(id=1, username="bob", is_limited=True, permissions=others).may(permission)
    assert User(id=1, username="bob").may(permission) is (permission in USUAL)
    assert User(id=1, username="bob", is_limited=True, is_admin=True).may(permission)


async def issued(database: Database, count: int, *, most: int) -> None:
    """So many more tokens of bob."""
    for _ in range(count):
        await database.transact(users.create_token, email="bob", most=most)


async def live(direct: Arranged) -> list[int]:
    rows = direct.rows("SELECT id FROM tokens WHERE revoked_at IS NULL ORDER BY id")
    return [row["id"] for row in rows]


@pytest_twisted.ensureDeferred
async def test_the_token_that_was_unused_longest_makes_room(
    database: Database, direct: Arranged
) -> None:
    await issued(database, 4, most=4)
    direct.rows(
        "UPDATE tokens SET created_at = now() - interval '1 year',"
        " uses_recorded_since = now() - interval '1 year'"
    )
    direct.rows(
        "UPDATE tokens SET last_used_at = now() - interval '1 day' * 31 * id WHERE id IN (2, 3)"
    )
    direct.rows("UPDATE tokens SET last_used_at = now() WHERE id = 1")
    await issued(database, 1, most=4)  # the fourth was never used
    assert await live(direct) == [1, 2, 3, 5]
    await issued(database, 2, most=4)
    assert await live(direct) == [1, 5, 6, 7]
    with pytest.raises(users.TooManyTokens, match="4 live tokens"):
        await issued(database, 1, most=4)
    assert await live(direct) == [1, 5, 6, 7]


@pytest_twisted.ensureDeferred
async def test_if_there_is_no_room_nothing_is_revoked(database: Database, direct: Arranged) -> None:
    await issued(database, 3, most=3)
    direct.rows(
        "UPDATE tokens SET created_at = now() - interval '30 days',"
        " uses_recorded_since = now() - interval '30 days' WHERE id = 1"
    )
    with pytest.raises(users.TooManyTokens):
        await issued(database, 1, most=2)  # two must go, and only one can
    assert await live(direct) == [1, 2, 3]


@pytest_twisted.ensureDeferred
async def test_a_token_whose_uses_were_not_recorded_long_enough_stays(
    database: Database, direct: Arranged
) -> None:
    await issued(database, 2, most=2)
    old = "UPDATE tokens SET created_at = now() - interval '1 year', uses_recorded_since = now()"
    direct.rows(f"{old} - interval '29 days'")  # as an upgrade or an import does it
    with pytest.raises(users.TooManyTokens):
        await issued(database, 1, most=2)
    direct.rows(f"{old} - interval '30 days'")
    await issued(database, 1, most=2)
    assert await live(direct) == [2, 3]


@pytest_twisted.ensureDeferred
async def test_tokens_that_are_not_live_take_no_room(database: Database, direct: Arranged) -> None:
    await issued(database, 2, most=2)
    direct.rows("UPDATE tokens SET expires_at = now() WHERE id = 1")
    await issued(database, 1, most=2)
    direct.rows("UPDATE tokens SET revoked_at = now() WHERE id = 2")
    await issued(database, 1, most=2)
    with pytest.raises(users.TooManyTokens):
        await issued(database, 1, most=2)


@pytest_twisted.ensureDeferred
async def test_tokens_that_are_made_at_once_are_all_counted(
    database: Database, direct: Arranged
) -> None:
    await issued(database, 1, most=3)
    made = await DeferredList(
        [Deferred.fromCoroutine(issued(database, 1, most=3)) for _ in range(5)],
        consumeErrors=True,
    )
    assert sorted(is_made for is_made, _ in made) == [False] * 3 + [True] * 2
    assert len(await live(direct)) == 3


@pytest_twisted.ensureDeferred
async def test_a_token_expires_in_the_future(database: Database) -> None:
    await database.transact(users.create, username="bob")
    expires_at = datetime.now(timezone.utc) - timedelta(seconds=1)
    with pytest.raises(WrongValues, match="not in the future"):
        await database.transact(users.issue_token, user_id=1, expires_at=expires_at)
    with pytest.raises(WrongValues, match="0 to 100 characters"):
        await database.transact(users.issue_token, user_id=1, name="x" * 101)


@pytest_twisted.ensureDeferred
async def test_the_database_tells_whether_a_token_would_be_expired(
    database: Database, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    await issued(database, 1, most=1)
    direct.rows("UPDATE tokens SET created_at = 'epoch', uses_recorded_since = 'epoch'")
    in_an_hour = datetime.now(timezone.utc) + timedelta(hours=1)
    # This machine's clock is a day ahead.
    monkeypatch.setattr(Transaction, "local_time", in_an_hour + timedelta(days=1))
    past = in_an_hour - timedelta(hours=2)
    with pytest.raises(WrongValues, match="not in the future"):
        await database.transact(users.issue_token, user_id=1, expires_at=past, most=1)
    assert await live(direct) == [1]
    await database.transact(users.issue_token, user_id=1, expires_at=in_an_hour, most=1)
    assert await live(direct) == [2]


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
    assert await user_of(database, token) is None


@pytest.mark.parametrize("name", ["BOB", "ｂｏｂ", "𝐛ob"])
@pytest_twisted.ensureDeferred
async def test_a_name_in_another_spelling_means_the_same_user(
    database: Database, direct: Arranged, name: str
) -> None:
    await database.transact(users.create, username="Bob")
    await database.transact(users.create_token, email=name)
    with pytest.raises(UsernameTaken, match="'Bob' already"):
        await database.transact(users.create, username=name)
    assert direct.rows("SELECT username FROM users") == [{"username": "Bob"}]


@pytest.mark.parametrize("name", ["ÉMILE", "E\u0301mile", "émile"])
@pytest_twisted.ensureDeferred
async def test_letters_beyond_ascii_fold_too(
    database: Database, direct: Arranged, name: str
) -> None:
    await database.transact(users.create, username="Émile")
    await database.transact(users.create_token, email=name)
    assert direct.value("SELECT count(*) FROM users") == 1


@pytest_twisted.ensureDeferred
async def test_an_email_in_another_spelling_finds_the_user_who_has_it(
    database: Database, direct: Arranged
) -> None:
    await database.transact(users.create, username="bob", email="b@example.org")
    token = await database.transact(users.create_token, email="B@Example.org")
    assert await user_of(database, token) == User(id=1, username="bob")


@pytest_twisted.ensureDeferred
async def test_a_name_that_several_users_have_is_refused(
    database: Database, direct: Arranged
) -> None:
    direct.rows("INSERT INTO users (username) VALUES ('bob'), ('Bob'), ('bob ')")
    for name in ("bob", "Bob", "bob "):
        token = await database.transact(users.create_token, email=name)
        found = await user_of(database, token)
        assert found is not None
        assert found.username == name
    with pytest.raises(users.AmbiguousUser, match="'BOB' can mean 'bob' or 'Bob'"):
        await database.transact(users.create_token, email="BOB")
    with pytest.raises(UsernameTaken, match="'bob' already"):
        await database.transact(users.create, username="BOB")


@pytest.mark.parametrize(
    ("username", "email", "refusal"),
    [
        ("eve", "BOB@example.org", EmailTaken),
        ("Bob@Example.org", "", EmailTaken),
        ("eve", "Ann@example.org", UsernameTaken),
        ("ANN@example.org", "", UsernameTaken),
        ("eve@example.org", "eve@example.org", None),
    ],
)
@pytest_twisted.ensureDeferred
async def test_new_names_and_addresses_are_nobody_elses(
    database: Database, username: str, email: str, refusal: type[Exception] | None
) -> None:
    await database.transact(users.create, username="bob", email="bob@example.org")
    await database.transact(users.create, username="ann@example.org")
    making = database.transact(users.create, username=username, email=email)
    if refusal is None:
        await making
    else:
        with pytest.raises(refusal, match="already"):
            await making


@pytest_twisted.ensureDeferred
async def test_one_address_at_once_is_one_users(database: Database, direct: Arranged) -> None:
    making = [
        database.transact(users.create, username=f"user{number}", email=email)
        for number, email in enumerate(("b@example.org", "B@example.org", "b@EXAMPLE.org"))
    ]
    await gatherResults([ensureDeferred(_if_free(one)) for one in making])
    assert direct.value("SELECT count(*) FROM users") == 1


@pytest.mark.parametrize("name", ["bоb", "bob ", "b ob", "b\u200bob"])
@pytest_twisted.ensureDeferred
async def test_a_name_that_looks_like_another_is_only_known_if_it_exists(
    database: Database, direct: Arranged, name: str
) -> None:
    for make in (
        lambda transaction: users.create_token(transaction, email=name),
        lambda transaction: users.create(transaction, username=name),
        lambda transaction: users.create(transaction, username="ann", email=name),
    ):
        with pytest.raises(UnfitText):
            await database.transact(make)
    direct.rows("INSERT INTO users (username) VALUES (%s)", name)
    await database.transact(users.create_token, email=name)
    await database.transact(users.set_active, username=name, is_active=False)
    assert direct.value("SELECT is_active FROM users") is False


@pytest_twisted.ensureDeferred
async def test_a_command_for_one_user_does_not_change_another(
    database: Database, direct: Arranged
) -> None:
    direct.rows("INSERT INTO users (username) VALUES ('bob'), ('Bob')")
    with pytest.raises(users.UnknownUser, match="no user 'BOB', but there is 'bob' and 'Bob'"):
        await database.transact(users.set_active, username="BOB", is_active=False)


@pytest_twisted.ensureDeferred
async def test_two_spellings_at_once_make_one_user(database: Database, direct: Arranged) -> None:
    names = ("bob@example.org", "Bob@example.org", "BOB@example.org", "bob@EXAMPLE.org")
    making = [database.transact(users.create_token, email=name) for name in names]
    creating = _if_free(database.transact(users.create, username="bOb@example.org"))
    await gatherResults([ensureDeferred(one) for one in (creating, *map(_done, making))])
    assert direct.value("SELECT count(*) FROM users") == 1


@pytest_twisted.ensureDeferred
async def test_of_administrators_who_are_changed_at_once_one_stays(
    database: Database, direct: Arranged
) -> None:
    ids = [
        await database.transact(users.create, username=f"admin{number}", admin=True)
        for number in range(3)
    ]
    for change in ({"is_admin": False}, {"is_active": False}) * 3:
        direct.rows("UPDATE users SET is_admin = true, is_active = true")
        changing = [
            database.transact(users.change_user, changes=_changed_to(change), user_id=one)
            for one in ids
        ]
        await gatherResults([ensureDeferred(_unless_last(one)) for one in changing])
        assert direct.value("SELECT count(*) FROM users WHERE is_admin AND is_active") == 1


def _changed_to(values: Mapping[str, bool | str]) -> Changes:
    return lambda _stored: Draft(values=values)


async def _unless_last(changing: Awaitable[object]) -> None:
    with suppress(users.LastAdministrator):
        await changing


async def _done(making: Awaitable[object]) -> None:
    await making


async def _if_free(making: Awaitable[int]) -> None:
    with suppress(UsernameTaken, EmailTaken):
        await making


async def a_session(database: Database, user_id: int) -> None:
    await database.transact(
        console_sessions.begin, user_id=user_id, address="127.0.0.1", browser="a browser"
    )


NARROWING: dict[str, Callable[[Database], Awaitable[object]]] = {
    "another password": lambda database: database.transact(
        users.set_password, username="bob", password="new"
    ),
    "disabled": lambda database: database.transact(
        users.set_active, username="bob", is_active=False
    ),
    "limited": lambda database: database.transact(
        users.set_limited, username="bob", is_limited=True
    ),
    "another password by API": lambda database: database.transact(
        users.change_user, changes=_changed_to({"password": "new"}), user_id=1
    ),
    "disabled by API": lambda database: database.transact(
        users.change_user, changes=_changed_to({"is_active": False}), user_id=1
    ),
    "limited by API": lambda database: database.transact(
        users.change_user, changes=_changed_to({"is_limited": True}), user_id=1
    ),
}
OTHER: dict[str, Callable[[Database], Awaitable[object]]] = {
    "enabled": lambda database: database.transact(users.set_active, username="bob", is_active=True),
    "unlimited": lambda database: database.transact(
        users.set_limited, username="bob", is_limited=False
    ),
    "another address": lambda database: database.transact(
        users.change_user, changes=_changed_to({"email": "bob@example.org"}), user_id=1
    ),
}


@pytest.mark.parametrize("change", NARROWING)
@pytest_twisted.ensureDeferred
async def test_a_user_who_loses_something_is_logged_out(
    database: Database, direct: Arranged, change: str
) -> None:
    for name in ("bob", "ann"):
        user_id = await database.transact(users.create, username=name)
        await a_session(database, user_id)
        await database.transact(
            console_sessions.make_link, user_id=user_id, within=timedelta(hours=1)
        )
    await NARROWING[change](database)
    assert direct.rows("SELECT user_id FROM console_sessions") == [{"user_id": 2}]
    assert direct.rows("SELECT user_id FROM console_links") == [{"user_id": 2}]


@pytest.mark.parametrize("change", OTHER)
@pytest_twisted.ensureDeferred
async def test_other_changes_log_nobody_out(
    database: Database, direct: Arranged, change: str
) -> None:
    await a_session(database, await database.transact(users.create, username="bob"))
    await OTHER[change](database)
    assert direct.value("SELECT count(*) FROM console_sessions") == 1
