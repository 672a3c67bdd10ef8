"""Users, their tokens and sessions; and everybody's own sessions and password."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from sbm.model import password
from tests.console.conftest import Served
from tests.console.content import ADMIN, NOBODY, PASSWORD, USUAL
from tests.console.reader import Reader

PLACE = "/console/users/"


def may(name: str) -> dict[str, Any]:
    """The box of a permission, ticked."""
    return {name: "yes"}


def id_of(site: Served, username: str) -> int:
    return int(site.direct.value("SELECT id FROM users WHERE username = %s", username))


def tokens_of(site: Served, username: str) -> int:
    return int(
        site.direct.value("SELECT count(*) FROM tokens WHERE user_id = %s", id_of(site, username))
    )


def sessions_of(site: Served, username: str) -> int:
    return int(
        site.direct.value(
            "SELECT count(*) FROM console_sessions WHERE user_id = %s", id_of(site, username)
        )
    )


@ensureDeferred
async def test_a_list_says_what_each_may_do_and_how_they_get_in(
    site: Served, reader: Reader
) -> None:
    site.direct.rows(
        "INSERT INTO tokens (user_id, digest, last_used_at) VALUES (%s, sha256('x'), '2026-01-01')",
        id_of(site, USUAL),
    )
    page = await reader.get(PLACE)
    rows = {row[0]: row[1:] for row in page.rows()[1:]}
    assert rows[ADMIN] == ["active", "everything (administrator)", "yes", "0", "–"]
    assert rows[USUAL] == ["active", "the usual", "yes", "1", "1 Jan 2026 02:00"]
    assert rows[NOBODY][1] == "nothing but read content"
    assert rows["people.read"][1] == "people.read"
    found = await reader.get(f"{PLACE}?username={USUAL}")
    assert [row[0] for row in found.rows()[1:]] == [USUAL]
    assert (await reader.get(f"{PLACE}?username=eve")).says("No user has exactly this name.")


@ensureDeferred
async def test_a_user_is_made_once(site: Served, reader: Reader) -> None:
    page = await reader.get(f"{PLACE}new/")
    typed: dict[str, Any] = {
        "username": "eve",
        "email": "eve@example.org",
        "password": "a long sentence",
        "may-people.read": "yes",
        "reason": "new on the helpdesk",
    }
    for _ in range(2):
        done = await reader.submit(page, "Make the user", **typed)
        assert done.done == "The user “eve” was made."
        assert done.heading == "User “eve”"
    (row,) = site.direct.rows("SELECT * FROM users WHERE username = 'eve'")
    assert (row["is_limited"], row["is_admin"], row["is_active"]) == (True, False, True)
    assert password.verify("a long sentence", row["password"])
    assert site.direct.rows(
        "SELECT permission FROM user_permissions WHERE user_id = %s", row["id"]
    ) == [{"permission": "people.read"}]
    assert site.direct.rows(
        "SELECT DISTINCT actor, reason FROM audit WHERE row_id = %s", str(row["id"])
    ) == [{"actor": ADMIN, "reason": "new on the helpdesk"}]


@ensureDeferred
async def test_a_name_that_is_taken_is_told_in_the_form(site: Served, reader: Reader) -> None:
    page = await reader.get(f"{PLACE}new/")
    refused = await reader.submit(
        page, "Make the user", username=USUAL, **may("may-operate"), reason="x"
    )
    assert refused.status == 400
    assert refused.says("A user with this name already exists.")
    field = refused.main.one("input", id="username")
    assert (field["value"], field["aria-invalid"]) == (USUAL, "true")
    assert refused.main.one("input", name="may-operate").has("checked")


@ensureDeferred
async def test_permissions_are_changed_and_a_limited_user_is_logged_out(
    site: Served, reader: Reader
) -> None:
    uma = site.reader(USUAL)
    assert (await uma.get("/console/sessions/")).status == 200
    page = await reader.get(f"{PLACE}{id_of(site, USUAL)}/edit/")
    assert page.says("1 session in the console ends")
    done = await reader.submit(
        page, "Change the user", is_limited="yes", **may("may-content.edit"), reason="narrower"
    )
    assert done.done == "The user was changed."
    assert done.says("content.edit: Edit schedules, message sets, messages and files.")
    assert (await uma.get("/console/sessions/")).status == 303
    assert site.direct.value("SELECT is_limited FROM users WHERE username = %s", USUAL) is True


@ensureDeferred
async def test_two_people_who_change_a_user_notice_it(site: Served, reader: Reader) -> None:
    page = await reader.get(f"{PLACE}{id_of(site, USUAL)}/edit/")
    site.direct.rows("UPDATE users SET email = 'new@example.org' WHERE username = %s", USUAL)
    refused = await reader.submit(page, "Change the user", email="other@example.org", reason="x")
    assert refused.status == 409
    assert refused.main.one("input", id="email")["value"] == "new@example.org"


@ensureDeferred
async def test_a_password_is_set_and_ends_the_sessions(site: Served, reader: Reader) -> None:
    site.reader(USUAL)
    page = await reader.get(f"{PLACE}{id_of(site, USUAL)}/password/")
    assert page.says("1 session in the console ends.")
    done = await reader.submit(page, "Set the password", password="a new sentence", reason="lost")
    assert done.done.startswith("The user has another password")
    assert sessions_of(site, USUAL) == 0
    stored = site.direct.value("SELECT password FROM users WHERE username = %s", USUAL)
    assert password.verify("a new sentence", stored)
    page = await reader.get(f"{PLACE}{id_of(site, USUAL)}/password/")
    for unfit in ("", "x" * 1001):
        refused = await reader.submit(page, "Set the password", password=unfit, reason="lost")
        assert (refused.status, refused.says("Enter a password of 1 to 1000 characters.")) == (
            *(400, True),
        )


@ensureDeferred
async def test_a_user_is_locked_out_and_let_in(site: Served, reader: Reader) -> None:
    site.reader(USUAL)
    place = f"{PLACE}{id_of(site, USUAL)}/active/"
    done = await reader.submit(await reader.get(place), "Lock the user out", reason="left")
    assert done.done == "The user is locked out."
    assert sessions_of(site, USUAL) == 0
    done = await reader.submit(await reader.get(place), "Let the user in", reason="is back")
    assert done.done == "The user can log in again."
    assert site.direct.value("SELECT is_active FROM users WHERE username = %s", USUAL) is True


@ensureDeferred
async def test_the_last_administrator_stays(site: Served, reader: Reader) -> None:
    site.direct.rows("UPDATE users SET is_admin = false WHERE username <> %s", ADMIN)
    place = f"{PLACE}{id_of(site, ADMIN)}/"
    page = await reader.get(f"{place}active/")
    assert page.says("This is the last active administrator.")
    page = await reader.get(f"{place}edit/")
    refused = await reader.submit(page, "Change the user", is_admin=None, reason="x")
    assert refused.status == 409
    assert refused.says("This user is the last active administrator.")
    assert site.direct.value("SELECT is_admin FROM users WHERE username = %s", ADMIN) is True


@ensureDeferred
async def test_a_token_is_shown_once_and_revoked(site: Served, reader: Reader) -> None:
    page = await reader.get(f"/console/tokens/new/{id_of(site, USUAL)}/")
    typed: dict[str, Any] = {"name": "the hub", "expires_at": "2030-01-01", "reason": "a new hub"}
    shown = await reader.submit(page, "Make the token", **typed)
    assert (shown.status, shown.heading) == (200, "The new token")
    token = shown.main.one("code").text
    assert re.fullmatch("[0-9a-f]{40}", token)
    (row,) = site.direct.rows("SELECT * FROM tokens WHERE user_id = %s", id_of(site, USUAL))
    assert bytes(row["digest"]) == sha256(token.encode()).digest()
    assert row["expires_at"].isoformat() == "2029-12-31T22:00:00+00:00"
    again = await reader.submit(page, "Make the token", **typed)
    assert again.done.startswith("A token was made. It was shown once")
    assert token not in again.text
    kept = site.direct.value(
        "SELECT string_agg(convert_from(body, 'utf8'), '') FROM idempotency_keys"
    )
    assert token not in kept
    assert tokens_of(site, USUAL) == 1
    page = await reader.get(again.links()[f"Revoke … token {row['id']}"])
    done = await reader.submit(page, "Revoke", reason="lost")
    assert done.done == "The token was revoked."
    assert (
        site.direct.value("SELECT revoked_at IS NULL FROM tokens WHERE id = %s", row["id"]) is False
    )
    page = await reader.get(f"/console/tokens/{row['id']}/revoke/")
    assert page.says("It is revoked already.")


@ensureDeferred
async def test_a_token_that_would_be_expired_is_told_in_the_form(
    site: Served, reader: Reader
) -> None:
    page = await reader.get(f"/console/tokens/new/{id_of(site, USUAL)}/")
    for day, told in (("2001-01-01", "not in the future"), ("soon", "Enter a day")):
        refused = await reader.submit(page, "Make the token", expires_at=day, reason="x")
        assert (refused.status, refused.says(told)) == (400, True)
    assert tokens_of(site, USUAL) == 0


@ensureDeferred
async def test_an_administrator_ends_sessions_of_others(site: Served, reader: Reader) -> None:
    for _ in range(3):
        site.reader(USUAL)
    page = await reader.get(f"{PLACE}{id_of(site, USUAL)}/")
    ends = [link for text, link in page.links().items() if text.startswith("End … session")]
    assert len(ends) == 3
    done = await reader.submit(await reader.get(ends[0]), "End")
    assert done.done == "1 session ended."
    page = await reader.get(done.links()["End all sessions …"])
    assert page.says("2 sessions of “uma” end.")
    await reader.submit(page, "End")
    assert sessions_of(site, USUAL) == 0
    assert site.direct.value("SELECT count(*) FROM audit WHERE actor = %s", ADMIN) == 2


@ensureDeferred
async def test_everybody_ends_the_own_sessions(site: Served) -> None:
    others = [site.reader(NOBODY) for _ in range(2)]
    ned = site.reader(NOBODY)
    page = await ned.get("/console/sessions/")
    assert len(page.rows()) == 4
    ends = [link for text, link in page.links().items() if text.startswith("End … session")]
    assert len(ends) == 2
    done = await ned.submit(await ned.get(ends[0]), "End")
    assert done.done == "1 session ended."
    await ned.submit(await ned.get(done.links()["End all others …"]), "End")
    assert [(await one.get("/console/sessions/")).status for one in others] == [303, 303]
    assert (await ned.get("/console/sessions/")).status == 200


@ensureDeferred
async def test_nobody_ends_the_sessions_of_another(site: Served) -> None:
    reader = site.reader(ADMIN)
    assert (await reader.get("/console/sessions/")).status == 200
    session = site.direct.value("SELECT max(id) FROM console_sessions")
    ned = site.reader(NOBODY)
    assert (await ned.get(f"/console/sessions/{session}/end/")).status == 404
    for path in ("end/", f"{session}/end/"):
        place = f"/console/sessions/of/{id_of(site, ADMIN)}/{path}"
        assert (await ned.get(place)).status == 403
    assert sessions_of(site, ADMIN) == 1


@ensureDeferred
async def test_the_own_password_needs_the_present_one(site: Served) -> None:
    site.reader(NOBODY)
    ned = site.reader(NOBODY)
    page = await ned.get("/console/sessions/password/")
    assert page.says("1 other session of yours ends.")
    refused = await ned.submit(page, "Change it", present="guessed", password="new sentence")
    assert (refused.status, refused.says("The present password is wrong.")) == (400, True)
    done = await ned.submit(refused, "Change it", present=PASSWORD, password="new sentence")
    assert done.done == "Your password was changed, and 1 other session ended."
    stored = site.direct.value("SELECT password FROM users WHERE username = %s", NOBODY)
    assert password.verify("new sentence", stored)
    assert sessions_of(site, NOBODY) == 1


@ensureDeferred
async def test_guesses_of_the_present_password_are_slowed_down(site: Served) -> None:
    ned = site.reader(NOBODY)
    for _ in range(5):
        page = await ned.get("/console/sessions/password/")
        await ned.submit(page, "Change it", present="guessed", password="new sentence")
    page = await ned.get("/console/sessions/password/")
    refused = await ned.submit(page, "Change it", present=PASSWORD, password="new sentence")
    assert refused.says("Too many wrong passwords.")


@pytest.mark.parametrize(
    "path",
    [
        "users/",
        "users/new/",
        "users/1/",
        "users/1/edit/",
        "users/1/password/",
        "users/1/active/",
        "tokens/new/1/",
        "tokens/1/revoke/",
        "sessions/of/1/end/",
    ],
)
@ensureDeferred
async def test_only_administrators_have_users(site: Served, path: str) -> None:
    reader = site.reader(USUAL)
    before = site.direct.rows("SELECT * FROM users ORDER BY id")
    assert (await reader.get(f"/console/{path}")).status == 403
    await reader.get("/console/sessions/")
    answer = await reader.post(f"/console/{path}", once="1", seen="", reason="x", password="y")
    assert answer.status in (403, 405)
    assert site.direct.rows("SELECT * FROM users ORDER BY id") == before
    assert tokens_of(site, USUAL) == 0
