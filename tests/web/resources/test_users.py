"""Users and their tokens, as administrators make and change them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from sbm.model.password import is_current
from sbm.operations import users
from sbm.runtime.token_uses import TokenUses
from tests.arrange import arranged
from tests.web.conftest import Api, reactor, served

USERS = "/api/v1/users/"
TOKENS = "/api/v1/tokens/"
BOB = {
    "username": "bob",
    "email": "",
    "is_active": True,
    "is_admin": False,
    "is_limited": False,
    "permissions": [],
}


def shown(answer: Any) -> dict[str, Any]:
    """A user without the values of each run."""
    return {name: one for name, one in answer.items() if name not in ("id", "created_at")}


def basic(password: str) -> dict[str, str]:
    credentials = base64.b64encode(f"bob:{password}".encode()).decode()
    return {"Authorization": f"Basic {credentials}"}


@pytest_twisted.ensureDeferred
async def test_a_user_is_made_as_every_user_is(api: Api) -> None:
    made = await api.made("users", username="bob")
    assert shown(made) == BOB
    assert (await api.get(f"{USERS}{made['id']}/")).json == made
    assert (await api.get(f"{USERS}?username=bob")).json["results"] == [made]
    assert (await api.get(f"{USERS}?is_admin=true")).json["count"] == 1


@pytest_twisted.ensureDeferred
async def test_a_user_is_made_with_everything_and_changed(api: Api, database_uri: str) -> None:
    fields = {
        "email": "b@example.org",
        "is_limited": True,
        "permissions": ["operate", "people.read", "operate"],
        "password": " sécret ",
    }
    made = await api.made("users", username="bob", **fields)
    assert shown(made) == BOB | {
        "email": "b@example.org",
        "is_limited": True,
        "permissions": ["operate", "people.read"],
    }
    path = f"{USERS}{made['id']}/"
    read = await api.send("GET", "/api/v1/subscriptions/", None, basic(" sécret "))
    assert read.status == 200
    change = {"username": "ann", "permissions": ["content.edit"], "is_active": False}
    changed = await api.call("PATCH", path, change)
    assert changed.json == made | change
    again = await api.call("PUT", path, {"username": "bob", "is_active": True})
    assert again.json == changed.json | {"username": "bob", "is_active": True}
    refused = await api.send("GET", "/api/v1/subscriptions/", None, basic(" sécret "))
    assert refused.status == 403
    assert (await api.call("PATCH", path, {"password": "new"})).status == 200
    assert (await api.send("GET", "/api/v1/schedule/", None, basic("new"))).status == 200
    audited = (await api.get(f"/api/v1/audit/?table=users&row={made['id']}")).json
    assert [one["operation"] for one in audited["results"]] == ["update"] * 3 + ["insert"]
    assert audited["results"][0]["after"] == {"password": "***"}
    with arranged(database_uri) as direct:
        assert is_current(direct.value("SELECT password FROM users WHERE username = 'bob'"))


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({}, {"username": ["This field is required."]}),
        ({"username": "user@example.org"}, {"username": ["A user with this name already exists."]}),
        (
            {"username": "b\x07b"},
            {
                "username": [
                    "It must not contain blanks, control characters or invisible characters."
                ]
            },
        ),
        ({"username": "b", "email": "nope"}, {"email": ["It must be an e-mail address."]}),
        (
            {"username": "bob ", "email": "b@example.org"},
            {
                "username": [
                    "It must not contain blanks, control characters or invisible characters."
                ]
            },
        ),
        (
            {"username": "a:b"},
            {
                "username": [
                    "It must not contain a colon: it ends the name when a user logs in with a"
                    " password."
                ]
            },
        ),
        (
            {"username": "b", "email": "USER@example.org"},
            {"email": ["A user with this name already exists."]},
        ),
        ({"username": "b", "password": ""}, {"password": ["This field may not be blank."]}),
        (
            {"username": "b", "permissions": ["administer"]},
            {"permissions": ['"administer" is not a valid choice.']},
        ),
        (
            {"username": "b", "permissions": "operate"},
            {"permissions": ['Expected a list of items but got type "str".']},
        ),
        (
            {"username": "b", "permissions": [[]]},
            {"permissions": ['"[]" is not a valid choice.']},
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_values_that_are_wrong_are_refused(
    api: Api, fields: dict[str, Any], errors: dict[str, Any]
) -> None:
    answer = await api.post(USERS, fields)
    assert (answer.status, answer.json) == (400, errors)
    (other,) = (await api.get(f"{USERS}?username=admin@example.org")).json["results"]
    if fields:
        answer = await api.call("PATCH", f"{USERS}{other['id']}/", fields)
        assert (answer.status, answer.json) == (400, errors)
    assert (await api.get(USERS)).json["count"] == 2


@pytest_twisted.ensureDeferred
async def test_a_name_that_another_user_has_in_another_spelling_is_taken(api: Api) -> None:
    bob = await api.made("users", username="bob")
    ann = await api.made("users", username="ann")
    taken = {"username": ["A user with this name already exists."]}
    assert (await api.post(USERS, {"username": "BOB"})).json == taken
    answer = await api.call("PATCH", f"{USERS}{ann['id']}/", {"username": "Bob"})
    assert (answer.status, answer.json) == (400, taken)
    answer = await api.call("PATCH", f"{USERS}{bob['id']}/", {"username": "Bob"})
    assert (answer.status, answer.json["username"]) == (200, "Bob")


@pytest_twisted.ensureDeferred
async def test_an_address_that_another_user_has_is_taken(api: Api) -> None:
    await api.made("users", username="bob", email="bob@example.org")
    ann = await api.made("users", username="ann", email="ann@example.org")
    taken = "A user with this e-mail address already exists."
    for fields in ({"email": "BOB@example.org"}, {"username": "Bob@example.org"}):
        (field,) = fields
        answer = await api.post(USERS, {"username": "eve"} | fields)
        assert (answer.status, answer.json) == (400, {field: [taken]})
        answer = await api.call("PATCH", f"{USERS}{ann['id']}/", fields)
        assert (answer.status, answer.json) == (400, {field: [taken]})
    own = {"username": "Ann@example.org", "email": "ANN@example.org"}
    assert (await api.call("PATCH", f"{USERS}{ann['id']}/", own)).json == ann | own


@pytest.mark.parametrize(
    ("username", "email"), [("bob ", ""), ("a:b", "not an address"), ("bоb", " b@example.org")]
)
@pytest_twisted.ensureDeferred
async def test_a_user_of_before_can_be_written_as_it_was_read(
    api: Api, database_uri: str, username: str, email: str
) -> None:
    with arranged(database_uri) as direct:
        direct.rows("INSERT INTO users (username, email) VALUES ('BOB', %s)", email)
        number = direct.value(
            "INSERT INTO users (username, email) VALUES (%s, %s) RETURNING id", username, email
        )
    path = f"{USERS}{number}/"
    read = (await api.get(path)).json
    assert (read["username"], read["email"]) == (username, email)
    written = await api.call("PUT", path, read)
    assert (written.status, written.json) == (200, read)


@pytest.mark.parametrize("change", [{"is_admin": False}, {"is_active": False}])
@pytest_twisted.ensureDeferred
async def test_the_last_administrator_stays_one(api: Api, change: dict[str, Any]) -> None:
    (admin,) = (await api.get(f"{USERS}?is_admin=true")).json["results"]
    path = f"{USERS}{admin['id']}/"
    await api.made("users", username="disabled", is_admin=True, is_active=False)
    refused = await api.call("PATCH", path, change)
    assert (refused.status, refused.json) == (
        409,
        {
            "detail": "This user is the last active administrator. Make another one first, or use"
            " `sbm user`."
        },
    )
    assert (await api.get(path)).json == admin
    await api.made("users", username="ann", is_admin=True)
    assert (await api.call("PATCH", path, change)).status == 200


@pytest_twisted.ensureDeferred
async def test_a_user_who_is_none_is_not_found(api: Api) -> None:
    assert (await api.call("PATCH", f"{USERS}99/", {"password": "x"})).status == 404
    assert (await api.call("DELETE", f"{USERS}1/")).status == 405


@pytest_twisted.ensureDeferred
async def test_a_token_is_shown_once_and_revoked(api: Api, database_uri: str) -> None:
    bob = await api.made("users", username="bob")
    fields = {"user": bob["id"], "name": "the hub", "expires_at": "2099-01-01T00:00:00+02:00"}
    made = await api.made("tokens", **fields)
    token = made.pop("token")
    assert (made["username"], made["name"]) == ("bob", "the hub")
    assert made["expires_at"] == "2098-12-31T22:00:00Z"
    assert (made["last_used_at"], made["revoked_at"]) == (None, None)
    path = f"{TOKENS}{made['id']}/"
    assert (await api.get(path)).json == made
    assert (await api.get(f"{TOKENS}?user={bob['id']}")).json["results"] == [made]
    assert (await api.get("/api/v1/schedule/", token=token)).status == 200
    for _ in range(2):
        assert (await api.call("DELETE", path)).status == 204
    assert (await api.get("/api/v1/schedule/", token=token)).status == 401
    assert (await api.get(path)).json["revoked_at"] is not None
    assert (await api.get(f"{TOKENS}?user={bob['id']}&is_live=true")).json["count"] == 0
    assert (await api.call("DELETE", f"{TOKENS}99/")).status == 404
    with arranged(database_uri) as direct:
        stored = direct.value("SELECT string_agg(tokens::text, ' ') FROM tokens")
    assert token not in stored


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"user": 99}, {"user": ['Invalid pk "99" - object does not exist.']}),
        (
            {"user": 1, "expires_at": "2020-01-01T00:00:00Z"},
            {"expires_at": ["This moment is not in the future."]},
        ),
        (
            {"user": 1, "name": "a\x07"},
            {"name": ["It must not contain control characters."]},
        ),
        (
            {"user": 1, "name": "a" * 101},
            {"name": ["Ensure this field has no more than 100 characters."]},
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_token_that_cannot_be_made_is_refused(
    api: Api, fields: dict[str, Any], errors: dict[str, Any]
) -> None:
    answer = await api.post(TOKENS, fields)
    assert (answer.status, answer.json) == (400, errors)


@pytest_twisted.ensureDeferred
async def test_one_token_too_many_is_refused_everywhere(database_uri: str, tmp_path: Path) -> None:
    async with served(database_uri, tmp_path, max_tokens=2) as api:
        bob = await api.made("users", username="b@example.org", password="pw")
        log_in = {"username": "b@example.org", "password": "pw"}
        assert (await api.post("/api/token-auth/", log_in, token="")).status == 200
        assert (await api.post(TOKENS, {"user": bob["id"]})).status == 201
        answers = [
            await api.post("/api/token-auth/", log_in, token=""),
            await api.post(TOKENS, {"user": bob["id"]}),
            await api.post("/api/v1/user/token/", {"email": "b@example.org"}),
        ]
        for answer in answers:
            assert answer.status == 429
            assert answer.json["detail"].startswith("The user has 2 live tokens")


@pytest_twisted.ensureDeferred
async def test_a_use_is_noted_if_the_last_one_was_noted_an_hour_ago(
    database_uri: str, tmp_path: Path
) -> None:
    uses = TokenUses(reactor=reactor)
    async with served(database_uri, tmp_path, token_uses=uses) as api:
        with arranged(database_uri) as direct:
            for age, noted in (("59 minutes", []), ("61 minutes", [2])):
                direct.rows("UPDATE tokens SET last_used_at = now() - %s::interval", age)
                for _ in range(2):
                    answer = await api.get("/api/v1/schedule/", token=api.user_token)
                    assert answer.status == 200
                assert list(uses.take()) == noted
                last = direct.value("SELECT count(*) FROM tokens WHERE last_used_at > now()")
                assert last == 0
        await api.database.transact(users.set_active, username="user@example.org", is_active=False)
        assert (await api.get("/api/v1/schedule/", token=api.user_token)).status == 401
        assert uses.take() == {}
