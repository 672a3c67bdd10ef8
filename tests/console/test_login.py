"""Who gets in, with which cookie, for how long, and where to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path

import pytest
import pytest_twisted

from sbm.store import console_sessions
from sbm.web.http.origin import Proxies
from tests.arrange import Arranged
from tests.console.conftest import Served, mounted
from tests.console.content import ADMIN, NOBODY, PASSWORD, USUAL
from tests.console.reader import Page, Reader, query_of
from tests.web.conftest import served

LOGIN = "/console/login"
WRONG = "The name or the password is wrong."
# What a browser sends to the address that a proxy has, as the proxy hands it on.
BY_PROXY = {"Host": "sbm.example.org", "X-Forwarded-Proto": "https"}


@pytest_twisted.async_yield_fixture
async def proxied(
    database_uri: str, postgres_uri: str, tmp_path: Path, direct: Arranged
) -> AsyncIterator[Served]:
    """The site behind a proxy on this machine, which speaks https with browsers."""
    mount = partial(mounted, proxies=Proxies([ip_network("127.0.0.1")]))
    async with served(database_uri, tmp_path, mount=mount) as api:
        yield Served(api=api, direct=direct, server_uri=postgres_uri)


async def log_in(
    reader: Reader, username: str = ADMIN, password: str = PASSWORD, leads_to: str = ""
) -> Page:
    """Open the page, and send its form; nothing is followed."""
    await reader.get(f"{LOGIN}?next={leads_to}" if leads_to else LOGIN)
    place = reader.page.fields()["next"] if reader.page is not None else ""
    return await reader.post(LOGIN, username=username, password=password, next=place)


def sessions(site: Served) -> int:
    return int(site.direct.value("SELECT count(*) FROM console_sessions"))


@pytest_twisted.ensureDeferred
async def test_with_name_and_password_a_session_begins(site: Served) -> None:
    reader = site.reader(None, headers={"User-Agent": "Firefox\x7f 1"})
    page = await log_in(reader)

    assert (page.status, page.place) == (303, "/console/")
    (session,) = site.direct.rows("SELECT * FROM console_sessions")
    assert session["address"] == "127.0.0.1"
    assert session["browser"] == "Firefox  1"
    assert bytes(session["digest"]) == sha256(reader.cookies["sbm-local"].encode()).digest()
    assert (await reader.get("/console/")).heading == "Today"


@pytest.mark.parametrize(
    ("username", "password"),
    [
        (ADMIN, "wrong"),
        (ADMIN, ""),
        ("nobody-at-all", PASSWORD),
        ("", ""),
        ("a\0b", PASSWORD),
        ("x" * 5000, PASSWORD),
        (ADMIN, "x" * 5000),
        ("<b>'\"&", PASSWORD),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_wrong_name_or_password_is_refused_alike(
    site: Served, username: str, password: str
) -> None:
    reader = site.reader(None)
    page = await log_in(reader, username, password)

    assert (page.status, page.heading) == (403, "Log in")
    assert page.main.one("p", role="alert").text == WRONG
    assert page.main.one("input", name="password")["aria-describedby"] == "problem"
    assert page.main.one("input", name="password").get("value") == ""
    assert reader.cookies == {}
    assert sessions(site) == 0


@pytest_twisted.ensureDeferred
async def test_an_inactive_user_is_refused(site: Served) -> None:
    site.direct.rows("UPDATE users SET is_active = false WHERE username = %s", USUAL)
    page = await log_in(site.reader(None), USUAL)

    assert page.status == 403


@pytest_twisted.ensureDeferred
async def test_guesses_are_slowed_down(site: Served) -> None:
    reader = site.reader(None)
    statuses = [(await log_in(reader, password="wrong")).status for _ in range(5)]
    page = await log_in(reader)

    assert statuses == [403] * 5
    assert (page.status, page.fields()["username"]) == (429, ADMIN)
    assert "Too many wrong passwords. Try again in 2 seconds." in page.main.text
    assert sessions(site) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": ""},
    ],
)
@pytest_twisted.ensureDeferred
async def test_no_other_site_logs_anybody_in(site: Served, headers: dict[str, str]) -> None:
    page = await site.reader(None).post(LOGIN, username=ADMIN, password=PASSWORD, headers=headers)

    assert page.status == 403
    assert sessions(site) == 0


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
@pytest_twisted.ensureDeferred
async def test_an_old_browser_tells_the_origin(site: Served, origin: str) -> None:
    reader = site.reader(None)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin}
    body = f"username={ADMIN}&password={PASSWORD.replace(' ', '+')}"
    foreign = await reader.send("POST", LOGIN, body, headers)
    ours = await reader.send("POST", LOGIN, body, headers | {"Origin": site.api.base})

    assert (foreign.status, ours.status) == (403, 303)


@pytest.mark.parametrize(
    "place",
    [
        "https://evil.example/console/",
        "//evil.example/console/",
        "/\\evil.example",
        "\\\\evil.example",
        "/console/\\..\\..",
        "/api/v1/",
        "/consolex/",
        "javascript:alert(1)",
        "http://[",
        "/console/%0d%0aSet-Cookie: a=b",
        "/console/\r\nX: y",
        "/console/" + "a" * 3000,
        "",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_login_leads_nowhere_else(site: Served, place: str) -> None:
    page = await site.reader(None).post(LOGIN, username=ADMIN, password=PASSWORD, next=place)

    assert page.status == 303
    assert page.place.startswith("/console/")
    assert "\\" not in page.place
    assert len(page.place) < 2100
    assert page.header("X") is None
    language = await site.reader(None).get(f"/console/language?to=fr&next={place[:20]}")
    assert language.place.startswith("/console/")


@pytest_twisted.ensureDeferred
async def test_a_login_leads_back_to_the_page_that_was_asked_for(site: Served) -> None:
    reader = site.reader(None)
    asked = await reader.get("/console/people/?q=a%20b&c=%2F")
    page = await log_in(reader, leads_to=asked.place.partition("next=")[2])

    assert page.place == "/console/people/?q=a%20b&c=%2F"


@pytest_twisted.ensureDeferred
async def test_what_was_sent_without_a_session_is_not_asked_for_again(site: Served) -> None:
    page = await site.reader(None).post("/console/start/?x=1", a="b")

    assert (page.status, query_of(page.place)) == (303, {"next": "/console/start/"})


@pytest_twisted.ensureDeferred
async def test_a_part_of_a_page_sends_the_whole_page_to_the_login(site: Served) -> None:
    page = await site.reader(None).get(
        "/console/", part=True, HX_Current_URL=f"{site.api.base}/console/content/?a=1"
    )

    assert (page.status, page.text) == (401, "")
    assert query_of(page.header("HX-Redirect") or "") == {"next": "/console/content/?a=1"}


@pytest_twisted.ensureDeferred
async def test_the_cookie_over_plain_http_on_this_machine(site: Served) -> None:
    page = await log_in(site.reader(None))

    name, _, rest = (page.header("Set-Cookie") or "").partition("=")
    assert name == "sbm-local"
    assert rest.partition("; ")[2].split("; ") == ["Path=/", "HttpOnly", "SameSite=lax"]


@pytest_twisted.ensureDeferred
async def test_the_cookie_over_https_can_be_set_by_no_other_host(proxied: Served) -> None:
    reader = proxied.reader(None, headers=BY_PROXY)
    headers = {"Origin": "https://sbm.example.org"}
    page = await reader.post(LOGIN, username=ADMIN, password=PASSWORD, headers=headers)

    name, _, rest = (page.header("Set-Cookie") or "").partition("=")
    assert name == "__Host-sbm"
    flags = {flag.lower() for flag in rest.partition("; ")[2].split("; ")}
    assert flags == {"path=/", "secure", "httponly", "samesite=lax"}
    assert (await reader.get("/console/")).heading == "Today"


@pytest.mark.parametrize("headers", [{"Host": "sbm.example.org"}, BY_PROXY])
@pytest_twisted.ensureDeferred
async def test_passwords_are_not_taken_where_others_can_read_them(
    site: Served, headers: dict[str, str]
) -> None:
    """Who says X-Forwarded-Proto here is no proxy that is trusted."""
    reader = site.reader(None, headers=headers)
    page = await reader.get(LOGIN)
    link = await reader.get("/console/link?key=x")
    answer = await reader.post(LOGIN, username=ADMIN, password=PASSWORD)

    assert [one.status for one in (page, link, answer)] == [403, 403, 403]
    assert "Open this page with https." in page.main.text
    assert page.main.all("form") == []
    assert sessions(site) == 0


@pytest_twisted.ensureDeferred
async def test_a_session_is_of_no_use_over_plain_http_to_another_host(site: Served) -> None:
    reader = site.reader()
    reader.headers["Host"] = "rebound.example"

    assert (await reader.get("/console/")).status == 303


@pytest_twisted.ensureDeferred
async def test_a_session_of_https_is_not_one_of_plain_http(proxied: Served) -> None:
    reader = proxied.reader()
    secret = reader.cookies["sbm-local"]
    reader.headers |= BY_PROXY
    assert (await reader.get("/console/")).status == 303

    reader.cookies = {"__Host-sbm": secret}
    assert (await reader.get("/console/")).status == 200


@pytest_twisted.ensureDeferred
async def test_a_session_has_the_address_that_the_trusted_proxy_tells(proxied: Served) -> None:
    headers = {**BY_PROXY, "X-Forwarded-For": "198.51.100.9, 203.0.113.7"}
    reader = proxied.reader(None, headers=headers)
    await reader.post(
        LOGIN, username=ADMIN, password=PASSWORD, headers={"Origin": "https://sbm.example.org"}
    )

    assert proxied.direct.value("SELECT address FROM console_sessions") == "203.0.113.7"


@pytest.mark.parametrize(
    ("column", "ends_after"),
    [("used_at", timedelta(minutes=30)), ("began_at", timedelta(hours=12))],
)
@pytest_twisted.ensureDeferred
async def test_a_session_ends(site: Served, column: str, ends_after: timedelta) -> None:
    reader = site.reader()
    statement = f"UPDATE console_sessions SET {column} = now() - %s"  # noqa: S608
    site.direct.rows(statement, ends_after - timedelta(seconds=30))
    assert (await reader.get("/console/")).status == 200

    site.direct.rows(statement, ends_after)
    assert (await reader.get("/console/")).status == 303
    assert (await reader.post("/console/logout")).place.startswith(LOGIN)


@pytest_twisted.ensureDeferred
async def test_what_a_person_does_keeps_a_session_alive_and_an_open_page_does_not(
    site: Served,
) -> None:
    reader = site.reader()
    used = "SELECT used_at > now() - interval '1 minute' FROM console_sessions"

    site.direct.rows("UPDATE console_sessions SET used_at = now() - interval '29 minutes'")
    await reader.get("/console/", part=True)
    await reader.get("/console/", Accept="text/event-stream")
    assert site.direct.value(used) is False

    await reader.get("/console/")
    assert site.direct.value(used) is True


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM console_sessions",
        "UPDATE users SET is_active = false",
        "DELETE FROM users WHERE username = 'ann'",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_session_is_revoked(site: Served, statement: str) -> None:
    reader = site.reader()
    assert (await reader.get("/console/")).status == 200
    site.direct.rows(statement)

    assert (await reader.get("/console/")).status == 303


@pytest_twisted.ensureDeferred
async def test_what_a_user_may_counts_at_once(site: Served) -> None:
    reader = site.reader()
    site.direct.rows("UPDATE users SET is_admin = false, is_limited = true")
    page = await reader.get("/console/")

    assert "/console/users/" not in {one["href"] for one in page.tree.all("a")}


@pytest_twisted.ensureDeferred
async def test_log_out(site: Served) -> None:
    reader, other = site.reader(), site.reader()
    await reader.get("/console/")
    secret = reader.cookies["sbm-local"]
    page = await reader.post("/console/logout")

    assert (page.status, page.place, reader.cookies) == (303, LOGIN, {})
    reader.cookies["sbm-local"] = secret
    assert (await reader.get("/console/")).status == 303
    assert (await other.get("/console/")).status == 200


@pytest_twisted.ensureDeferred
async def test_a_link_logs_in_once(site: Served) -> None:
    user_id = site.direct.value("SELECT id FROM users WHERE username = %s", NOBODY)
    secret = await site.api.database.transact(
        console_sessions.make_link, user_id=user_id, within=timedelta(hours=1)
    )
    reader, second = site.reader(None), site.reader(None)
    page = await reader.get(f"/console/link?key={secret}")
    again = await second.get(f"/console/link?key={secret}")

    assert (page.status, page.heading) == (200, "Log in with a link")
    assert sessions(site) == 0, "a program that only reads the link has used it"
    page = await reader.submit(page, "Log in")
    assert (page.status, page.heading) == (200, "Today")
    page = await second.submit(again, "Log in")
    assert page.status == 403
    assert page.main.one("p", role="alert").text == "This link was used already, or is too old."
    assert sessions(site) == 1


@pytest.mark.parametrize("change", ["expires_at = now()", "digest = sha256('other')"])
@pytest_twisted.ensureDeferred
async def test_a_link_that_does_not_count(site: Served, change: str) -> None:
    user_id = site.direct.value("SELECT id FROM users WHERE username = %s", NOBODY)
    secret = await site.api.database.transact(
        console_sessions.make_link, user_id=user_id, within=timedelta(hours=1)
    )
    site.direct.rows(f"UPDATE console_links SET {change}")  # noqa: S608
    reader = site.reader(None)
    page = await reader.submit(await reader.get(f"/console/link?key={secret}"), "Log in")

    assert (page.status, sessions(site)) == (403, 0)


@pytest_twisted.ensureDeferred
async def test_a_link_of_an_inactive_user_does_not_count(site: Served) -> None:
    user_id = site.direct.value("SELECT id FROM users WHERE username = %s", NOBODY)
    secret = await site.api.database.transact(
        console_sessions.make_link, user_id=user_id, within=timedelta(hours=1)
    )
    site.direct.rows("UPDATE users SET is_active = false")
    page = await site.reader(None).post("/console/link", key=secret)

    assert (page.status, sessions(site)) == (403, 0)


@pytest_twisted.ensureDeferred
async def test_the_api_does_not_know_the_cookie(site: Served) -> None:
    reader = site.reader()
    page = await reader.get("/console/")
    assert page.status == 200

    for method, path in [
        ("GET", "/api/v1/schedule/"),
        ("POST", "/api/v1/schedule/"),
        ("GET", "/api/v1/users/"),
        ("DELETE", "/api/v1/messageset/1/"),
    ]:
        answer = await reader.send(method, path, None, {})
        assert answer.status == 401, path


@pytest_twisted.ensureDeferred
async def test_a_token_of_the_api_is_of_no_use_in_the_console(site: Served) -> None:
    reader = site.reader(None, headers={"Authorization": f"Token {site.api.token}"})

    assert (await reader.get("/console/")).status == 303


@pytest_twisted.ensureDeferred
async def test_the_language_is_that_of_the_browser_until_another_is_chosen(site: Served) -> None:
    reader = site.reader(headers={"Accept-Language": "de, fr-CA;q=0.9, en;q=0.8"})
    assert (await reader.get("/console/")).tree.one("html")["lang"] == "fr"

    page = await reader.get("/console/language?to=en&next=/console/")
    cookie = page.header("Set-Cookie") or ""
    assert page.place == "/console/"
    assert {"Path=/console", "HttpOnly", "SameSite=lax"} <= set(cookie.split("; "))
    assert (await reader.get("/console/")).tree.one("html")["lang"] == "en"

    await reader.get("/console/language?to=xx")
    assert (await reader.get("/console/")).tree.one("html")["lang"] == "en"
