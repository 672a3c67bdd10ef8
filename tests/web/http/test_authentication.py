"""Who is let in, by what, and what is said to others."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import pytest_twisted

from sbm.model.password import hash_password, is_current
from sbm.model.user import VIEW_BEHIND_SUBSCRIPTIONS
from sbm.operations import users
from sbm.store import users as store_users
from sbm.web.http import credential_guard
from sbm.web.http.credential_guard import FREE
from tests.arrange import arranged
from tests.web.conftest import SCHEDULER_TOKEN, Answer, Api

SCHEDULES = "/api/v1/schedule/"
USER_TOKEN = "/api/v1/user/token/"
TOKEN_AUTH = "/api/token-auth/"
FORM = "application/x-www-form-urlencoded"
INVALID_PASSWORD = {"detail": "Invalid username/password."}
CANNOT_LOG_IN = {"non_field_errors": ["Unable to log in with provided credentials."]}

# "lètmein ☃", as Django itself hashed it.
DJANGO = "pbkdf2_sha256$1000$abcdefghIJ12$PHSQk87ITcTHMBLpjI5smbBrxoUCZKOWKPiQZ9FdREU="


def basic(credentials: str | bytes) -> str:
    """An Authorization header, from text in UTF-8 or from bytes."""
    raw = credentials.encode() if isinstance(credentials, str) else credentials
    return "Basic " + base64.b64encode(raw).decode()


async def add_user(api: Api, username: str, password: str, **more: Any) -> None:
    await api.database.transact(
        users.create, username=username, password=hash_password(password), **more
    )


async def seen_with(api: Api, authorization: str) -> Answer:
    """The answer to somebody who shows this."""
    return await api.send("GET", SCHEDULES, None, {"Authorization": authorization})


@pytest.mark.parametrize(
    ("authorization", "detail"),
    [
        ("Basic", "Invalid basic header. No credentials provided."),
        ("bAsic ", "Invalid basic header. No credentials provided."),
        ("Basic a b", "Invalid basic header. Credentials string should not contain spaces."),
        ("Basic abc", "Invalid basic header. Credentials not correctly base64 encoded."),
        ("Basic ####", "Invalid username/password."),
        (basic("bob"), "Invalid username/password."),
        (basic("nobody:pw"), "Invalid username/password."),
        (basic("bob:wrong"), "Invalid username/password."),
        (basic("Bob:pw"), "Invalid username/password."),
        (basic("bob:"), "Invalid username/password."),
        (basic("bob:pw "), "Invalid username/password."),
        (basic("b\0b:pw"), "Invalid username/password."),
        (basic("b" * 151 + ":pw"), "Invalid username/password."),
        (basic("user@example.org:"), "Invalid username/password."),
    ],
)
@pytest_twisted.ensureDeferred
async def test_basic_credentials_that_are_not_right_are_told_why(
    api: Api, authorization: str, detail: str
) -> None:
    await add_user(api, "bob", "pw")
    answer = await seen_with(api, authorization)
    assert (answer.status, answer.json) == (401, {"detail": detail})
    assert answer.header("WWW-Authenticate") == 'Basic realm="api"'


@pytest_twisted.ensureDeferred
async def test_a_name_and_a_password_do_as_well_as_a_token(api: Api) -> None:
    await add_user(api, "bob", "p:w")
    for authorization in (basic("bob:p:w"), basic("bob:p:w").replace("Basic ", "BASIC   ")):
        assert (await seen_with(api, authorization)).status == 200


@pytest_twisted.ensureDeferred
async def test_credentials_are_read_in_utf_8_and_in_latin_1(api: Api) -> None:
    await add_user(api, "bøb", "pässwörd")
    for encoding in ("utf-8", "latin-1"):
        authorization = basic("bøb:pässwörd".encode(encoding))
        assert (await seen_with(api, authorization)).status == 200


@pytest_twisted.ensureDeferred
async def test_an_inactive_user_has_no_password(api: Api) -> None:
    await add_user(api, "bob", "pw")
    await api.database.transact(users.set_active, username="bob", is_active=False)
    answer = await seen_with(api, basic("bob:pw"))
    assert (answer.status, answer.json) == (401, INVALID_PASSWORD)
    answer = await api.post(TOKEN_AUTH, {"username": "bob", "password": "pw"}, token="")
    assert (answer.status, answer.json) == (400, CANNOT_LOG_IN)


@pytest_twisted.ensureDeferred
async def test_a_password_that_django_hashed_is_accepted_and_stored_anew(
    api: Api, database_uri: str
) -> None:
    await api.database.transact(users.create, username="bob", password=DJANGO)
    stored = "SELECT password FROM users WHERE username = 'bob'"
    with arranged(database_uri) as direct:
        assert (await seen_with(api, basic("bob:letmein"))).status == 401
        assert direct.value(stored) == DJANGO
        assert (await seen_with(api, basic("bob:lètmein ☃"))).status == 200
        assert is_current(direct.value(stored))
    assert (await seen_with(api, basic("bob:lètmein ☃"))).status == 200


@pytest_twisted.ensureDeferred
async def test_administrators_make_tokens_for_others(api: Api, database_uri: str) -> None:
    answers = [
        await api.post(USER_TOKEN, {"email": "bob@example.org"}),
        await api.post(USER_TOKEN[:-1], {"email": "  bob@example.org "}),
        await api.post(USER_TOKEN, "email=bob%40example.org", Content_Type=FORM),
    ]
    tokens = {answer.json["token"] for answer in answers}
    assert [answer.status for answer in answers] == [201] * 3
    assert len(tokens) == 3
    for token in tokens:
        assert (await api.get(SCHEDULES, token=token)).status == 200
        assert (await api.post(USER_TOKEN, {"email": "eve@x.org"}, token=token)).status == 403
    with arranged(database_uri) as direct:
        (row,) = direct.rows("SELECT username, email FROM users WHERE username LIKE 'bob%%'")
    assert row == {"username": "bob@example.org", "email": "bob@example.org"}


@pytest_twisted.ensureDeferred
async def test_a_token_for_an_administrator_leaves_her_one(api: Api) -> None:
    token = (await api.post(USER_TOKEN, {"email": "admin@example.org"})).json["token"]
    assert (await api.post(USER_TOKEN, {"email": "bob@example.org"}, token=token)).status == 201


@pytest.mark.parametrize("email", ["bob@example.org", "Bob@Example.ORG", "a@éxample.org"])
@pytest_twisted.ensureDeferred
async def test_an_email_names_its_user_to_the_letter(
    api: Api, database_uri: str, email: str
) -> None:
    await api.post(USER_TOKEN, {"email": email})
    with arranged(database_uri) as direct:
        assert direct.value("SELECT username FROM users ORDER BY id DESC") == email


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        ({}, ["This field is required."]),
        ({"email": None}, ["This field may not be null."]),
        ({"email": ""}, ["This field may not be blank."]),
        ({"email": "nope"}, ["Enter a valid email address."]),
        ({"email": []}, ["Enter a valid email address."]),
        ({"email": True}, ["Enter a valid email address."]),
        ({"email": 5}, ["Enter a valid email address."]),
        (
            {"email": "a\0@example.org"},
            ["Null characters are not allowed.", "Enter a valid email address."],
        ),
        (
            {"email": "a\ud800@example.org"},
            ["Surrogate characters are not allowed.", "Enter a valid email address."],
        ),
        (
            {"email": "a" * 139 + "@example.org"},
            ["Ensure this field has no more than 150 characters."],
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_email_that_is_none_is_refused(api: Api, body: Any, messages: list[str]) -> None:
    answer = await api.post(USER_TOKEN, body)
    assert (answer.status, answer.json) == (400, {"email": messages})


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST", "PATCH"])
@pytest_twisted.ensureDeferred
async def test_others_are_refused_before_anything_is_read(api: Api, method: str) -> None:
    for token in (api.user_token, SCHEDULER_TOKEN):
        answer = await api.call(method, USER_TOKEN, "{nope", token=token)
        assert answer.status == 403
        assert answer.json == {"detail": "You do not have permission to perform this action."}
        assert answer.header("Allow") == "POST, OPTIONS"


@pytest_twisted.ensureDeferred
async def test_administrators_are_told_what_is_wrong_with_the_request(api: Api) -> None:
    wrong = await api.get(USER_TOKEN)
    assert (wrong.status, wrong.json) == (405, {"detail": 'Method "GET" not allowed.'})
    malformed = await api.post(USER_TOKEN, "{")
    assert malformed.status == 400
    assert malformed.json["detail"].startswith("JSON parse error - Expecting property name")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ('{"username": "bob", "password": " pw "}', "application/json"),
        ("username=bob&password=+pw+", FORM),
        (
            '--X\r\nContent-Disposition: form-data; name="username"\r\n\r\nbob\r\n'
            '--X\r\nContent-Disposition: form-data; name="password"\r\n\r\n pw \r\n--X--\r\n',
            "multipart/form-data; boundary=X",
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_password_is_exchanged_for_a_token(api: Api, body: str, content_type: str) -> None:
    await add_user(api, "bob", " pw ")
    answers = [
        await api.post(path, body, token="", Content_Type=content_type)
        for path in (TOKEN_AUTH, TOKEN_AUTH[:-1])
    ]
    first, second = (answer.json["token"] for answer in answers)
    assert [answer.status for answer in answers] == [200, 200]
    assert first != second
    for token in (first, second):
        assert (await api.get(SCHEDULES, token=token)).status == 200


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"username": "bob", "password": "wrong"}, CANNOT_LOG_IN),
        ({"username": "nobody", "password": "pw"}, CANNOT_LOG_IN),
        ({"username": "b" * 151, "password": "pw"}, CANNOT_LOG_IN),
        ({"username": "user@example.org", "password": "pw"}, CANNOT_LOG_IN),
        ({"username": "bob", "password": "  "}, CANNOT_LOG_IN),
        (
            {},
            {"username": ["This field is required."], "password": ["This field is required."]},
        ),
        (
            {"username": None, "password": None},
            {
                "username": ["This field may not be null."],
                "password": ["This field may not be null."],
            },
        ),
        (
            {"username": " ", "password": ""},
            {
                "username": ["This field may not be blank."],
                "password": ["This field may not be blank."],
            },
        ),
        (
            {"username": [], "password": True},
            {"username": ["Not a valid string."], "password": ["Not a valid string."]},
        ),
        (
            {"username": "b\0b", "password": "\ud800"},
            {
                "username": ["Null characters are not allowed."],
                "password": ["Surrogate characters are not allowed."],
            },
        ),
        (
            [],
            {"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]},
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_login_that_is_not_right_is_refused(api: Api, body: Any, expected: Any) -> None:
    await add_user(api, "bob", "pw")
    answer = await api.post(TOKEN_AUTH, body, token="")
    assert (answer.status, answer.json) == (400, expected)
    assert answer.header("Allow") == "POST, OPTIONS"


@pytest_twisted.ensureDeferred
async def test_a_number_does_as_a_password(api: Api) -> None:
    await add_user(api, "bob", "5")
    body = {"username": "bob", "password": 5}
    assert (await api.post(TOKEN_AUTH, body, token="")).status == 200


@pytest_twisted.ensureDeferred
async def test_the_login_says_what_it_takes(api: Api) -> None:
    for token in ("", api.token):
        answer = await api.get(TOKEN_AUTH, token=token)
        assert (answer.status, answer.json) == (405, {"detail": 'Method "GET" not allowed.'})
    options = await api.call("OPTIONS", TOKEN_AUTH, token="")
    assert options.json == {
        "name": "Obtain Auth Token",
        "description": "",
        "renders": ["application/json"],
        "parses": [FORM, "multipart/form-data", "application/json"],
    }
    plain = await api.post(TOKEN_AUTH, "x", token="", Content_Type="text/plain")
    assert plain.status == 415
    assert (await api.post(TOKEN_AUTH + "anything", {}, token="")).status == 404


@pytest_twisted.ensureDeferred
async def test_a_wrong_token_is_refused_even_where_none_is_needed(api: Api) -> None:
    await add_user(api, "bob", "pw")
    body = {"username": "bob", "password": "pw"}
    answer = await api.post(TOKEN_AUTH, body, token="x" * 40)
    assert (answer.status, answer.json) == (401, {"detail": "Invalid token."})


@pytest_twisted.ensureDeferred
async def test_a_permission_lets_a_user_in_until_it_is_revoked(api: Api) -> None:
    held = {"username": "user@example.org", "permission": VIEW_BEHIND_SUBSCRIPTIONS}
    path = "/api/v1/behind-subscriptions/"
    assert (await api.get(path, token=api.user_token)).status == 403
    await api.database.transact(users.grant, **held)
    assert (await api.get(path, token=api.user_token)).status == 200
    await api.database.transact(users.revoke, **held)
    assert (await api.get(path, token=api.user_token)).status == 403


@pytest_twisted.ensureDeferred
async def test_capitals_of_an_email_make_no_second_user(api: Api, database_uri: str) -> None:
    for email in ("carol@example.org", "Carol@Example.org", " CAROL@EXAMPLE.ORG "):
        assert (await api.post(USER_TOKEN, {"email": email})).status == 201
    with arranged(database_uri) as direct:
        assert direct.value("SELECT count(*) FROM users WHERE email ILIKE 'carol%'") == 1


@pytest_twisted.ensureDeferred
async def test_an_email_that_looks_like_another_makes_no_user(api: Api, database_uri: str) -> None:
    answer = await api.post(USER_TOKEN, {"email": "bob@ex\u0430mple.org"})
    (sentence,) = answer.json["email"]
    assert answer.status == 400
    assert "must not mix letters" in sentence
    with arranged(database_uri) as direct:
        direct.rows("INSERT INTO users (username) VALUES ('bob@x.org'), ('Bob@x.org')")
    answer = await api.post(USER_TOKEN, {"email": "BOB@x.org"})
    assert answer.status == 400
    assert answer.json == {
        "email": ["'BOB@x.org' can mean 'bob@x.org' or 'Bob@x.org': use the exact name."]
    }


@pytest_twisted.ensureDeferred
async def test_a_renamed_user_gets_no_name_that_looks_like_another(api: Api) -> None:
    await api.made("users", username="ann")
    bob = await api.made("users", username="bob", email="bob@example.org")
    path = f"/api/v1/users/{bob['id']}/"
    changes = ({"username": "Ann"}, {"username": "a\u043dn"}, {"email": "bob@ex\u0430mple.org"})
    for change in changes:
        answer = await api.call("PATCH", path, change)
        assert (answer.status, list(answer.json)) == (400, list(change))
    assert (await api.call("PATCH", path, {"username": "Bob"})).json["username"] == "Bob"


# Guessing


@pytest_twisted.ensureDeferred
async def test_whoever_guesses_tokens_waits_and_others_go_on(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The guesses take no time, as it were: so many would be allowed again while a machine is busy.
    monkeypatch.setattr(credential_guard, "SECONDS_EACH", 1000.0)
    monkeypatch.setattr(credential_guard, "REFUSED_SECONDS", 1000.0)
    assert (await api.get(SCHEDULES)).status == 200
    answers = [await seen_with(api, f"Token {number:040d}") for number in range(FREE + 3)]
    assert [answer.status for answer in answers[:FREE]] == [401] * FREE
    last = answers[-1]
    assert last.status == 429
    assert 900 < int(last.header("Retry-After") or 0) <= 1000
    assert last.json == {
        "detail": "Too many wrong credentials came from this address; try again later."
    }
    # It was right before; and what was refused is told in the same words as before.
    assert (await api.get(SCHEDULES)).status == 200
    again = await seen_with(api, f"Token {FREE - 1:040d}")
    assert (again.status, again.json) == (401, {"detail": "Invalid token."})


@pytest.mark.parametrize("authorization", [f"Token {'a' * 40}", basic("bob:wrong")])
@pytest_twisted.ensureDeferred
async def test_the_same_wrong_credentials_are_looked_up_once(
    api: Api, monkeypatch: pytest.MonkeyPatch, authorization: str
) -> None:
    await add_user(api, "bob", "pw")
    first = await seen_with(api, authorization)
    monkeypatch.setattr(store_users, "find_user_by_token", None)
    monkeypatch.setattr(store_users, "find_user_by_name", None)
    second = await seen_with(api, authorization)
    assert (first.status, first.json) == (second.status, second.json)
    assert first.status == 401


@pytest_twisted.ensureDeferred
async def test_a_log_in_that_failed_is_not_checked_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_user(api, "bob", "pw")
    for _ in range(2):
        sent = {"Content-Type": FORM}
        answer = await api.send("POST", TOKEN_AUTH, "username=bob&password=wrong", sent)
        assert (answer.status, answer.json) == (400, CANNOT_LOG_IN)
        monkeypatch.setattr(store_users, "find_user_by_name", None)


@pytest_twisted.ensureDeferred
async def test_a_token_that_was_right_is_refused_once_it_is_revoked(
    api: Api, database_uri: str
) -> None:
    assert (await api.get(SCHEDULES)).status == 200
    with arranged(database_uri) as direct:
        direct.rows("DELETE FROM tokens")
    assert (await api.get(SCHEDULES)).status == 401
