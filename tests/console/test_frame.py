"""What all pages of the console have in common."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
import pytest_twisted
from attrs import evolve

from sbm.console.static_files import FOLDER
from sbm.store import status
from sbm.store.postgres.errors import CommitUnknown
from tests.console.conftest import Served
from tests.console.content import ADMIN, NOBODY, PASSWORD, USUAL
from tests.console.reader import Page, Reader
from tests.console.wire import fetched
from tests.e2e.end_to_end import pause

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)


@pytest_twisted.ensureDeferred
async def test_the_root_leads_to_the_console(site: Served) -> None:
    for path in ("/", "/console"):
        answer = await site.api.get(path, token="")
        assert (answer.status, answer.header("Location")) == (303, "/console/")


@pytest_twisted.ensureDeferred
async def test_a_missing_slash_is_added_whatever_the_parameters_are_called(reader: Reader) -> None:
    page = await reader.get("/console/ticks?path=//elsewhere&self=1&name=x")
    assert (page.status, page.place) == (
        303,
        "/console/ticks/?path=%2F%2Felsewhere&self=1&name=x",
    )


@pytest_twisted.ensureDeferred
async def test_without_a_session_it_asks_for_the_password_and_leads_back(site: Served) -> None:
    stranger = site.reader(None)

    page = await stranger.get("/console/?done=x")
    assert (page.status, page.place) == (303, "/console/login?next=%2Fconsole%2F%3Fdone%3Dx")
    page = await stranger.submit(
        await stranger.read("/console/"), "Log in", username=ADMIN, password=PASSWORD
    )

    assert (page.status, page.heading) == (200, "Today")


@pytest_twisted.ensureDeferred
async def test_it_says_that_the_database_is_away(site: Served, reader: Reader) -> None:
    with site.database_away():
        page = await reader.get("/console/")
        part = await reader.get("/console/", part=True)

    assert (page.status, page.heading) == (503, "The database is away")
    assert page.header("Retry-After") == "5"
    assert part.status == 503
    assert not part.tree.all("html")
    while page.status == 503:
        await pause(0.05)
        page = await reader.get("/console/")
    assert page.heading == "Today"


@pytest_twisted.ensureDeferred
async def test_it_says_if_it_does_not_know_whether_something_was_done(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(_transaction: object) -> None:
        raise CommitUnknown("lost")

    monkeypatch.setattr(status, "list_open_ticks", lost)
    page = await reader.get("/console/")

    assert page.status == 503
    assert page.says("look before you send it again")


@pytest_twisted.ensureDeferred
async def test_every_answer_has_the_headers_that_protect_it(site: Served) -> None:
    reader, stranger = site.reader(), site.reader(None)
    pages = [
        await reader.get("/console/"),
        await reader.get("/console/", part=True),
        await reader.get("/console/nowhere"),
        await reader.get("/console/logout"),
        await reader.post("/console/logout", secret="wrong"),
        await stranger.get("/console/"),
        await stranger.get("/console/", part=True),
        await stranger.get("/console/login"),
        await stranger.get("/console/link?key=x"),
        await stranger.get("/console/static/console.css"),
        await stranger.get("/console/static/nothing.css"),
    ]

    for page in pages:
        assert page.header("Content-Security-Policy") == POLICY, page.url
        assert page.header("X-Content-Type-Options") == "nosniff"
        assert page.header("X-Frame-Options") == "DENY"
        assert page.header("Referrer-Policy") == "same-origin"
        assert page.header("Cross-Origin-Opener-Policy") == "same-origin"
        if "/static/console" not in page.url:
            assert page.header("Cache-Control") == "no-store"


@pytest_twisted.ensureDeferred
async def test_an_unknown_address(site: Served, reader: Reader) -> None:
    page = await reader.get("/console/nowhere/<b>?x=<b>")
    assert (page.status, page.heading) == (404, "There is no such page")
    sent = await reader.post("/console/nowhere")
    assert (sent.status, sent.heading) == (404, "There is no such page")

    page = await site.reader(None).get("/console/nowhere")
    assert (page.status, page.place) == (303, "/console/login?next=%2Fconsole%2Fnowhere")


@pytest.mark.parametrize("path", ["/console//evil.example", "/console/..", "/console/%2e%2e/x"])
@pytest_twisted.ensureDeferred
async def test_no_address_leads_to_another_host(reader: Reader, path: str) -> None:
    page = await reader.get(path)

    assert page.status in (303, 404)
    assert page.place.startswith("/console/") or page.status == 404


@pytest_twisted.ensureDeferred
async def test_only_methods_of_pages_are_answered(site: Served, reader: Reader) -> None:
    for method, path in [
        ("PUT", "/console/"),
        ("DELETE", "/console/"),
        ("OPTIONS", "/console/"),
        ("PUT", "/console/login"),
        ("GET", "/console/logout"),
        ("POST", "/console/static/console.css"),
    ]:
        page = await reader.send(method, path, None, {})
        assert (page.status, page.heading) == (405, "This was not done"), (method, path)

    head = await reader.send("HEAD", "/console/", None, {})
    assert (head.status, head.text) == (200, "")


@pytest_twisted.ensureDeferred
async def test_a_page_that_fails_says_so_and_is_counted_as_a_defect(
    site: Served, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_transaction: object) -> None:
        raise ZeroDivisionError("sensitive details")

    monkeypatch.setattr(status, "list_open_ticks", broken)
    page = await reader.get("/console/")

    assert (page.status, page.heading) == (500, "This page failed")
    assert "sensitive" not in page.text
    metrics = (await site.api.get("/metrics", token="")).text
    assert re.search(r'reason="defect",status="500"', metrics)


@pytest_twisted.ensureDeferred
async def test_a_template_that_fails_says_so(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(_transaction: object) -> None:
        return None

    monkeypatch.setattr(status, "list_open_ticks", nothing)
    page = await reader.get("/console/")

    assert (page.status, page.heading) == (500, "This page failed")


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        ("{}", "application/json", 415),
        ("[1]", "application/json", 415),
        ("x", "text/plain", 415),
        ("--b\r\nbroken", "multipart/form-data; boundary=b", 400),
        ("&".join(f"a{number}=1" for number in range(1100)), "", 400),
        ("a=" + "x" * 2**20, "application/x-www-form-urlencoded", 413),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_form_that_is_none_is_refused(
    reader: Reader, body: str, kind: str, expected: int
) -> None:
    page = await reader.send(
        "POST", "/console/logout", body, {"Sec-Fetch-Site": "same-origin", "Content-Type": kind}
    )

    assert page.status == expected


@pytest_twisted.ensureDeferred
async def test_the_secret_of_a_form_is_of_its_session_and_looks_different_each_time(
    site: Served,
) -> None:
    reader, other = site.reader(), site.reader()

    def secret(page: Page) -> str:
        return page.tree.all("input", name="secret")[0]["value"]

    first, second = secret(await reader.get("/console/")), secret(await reader.get("/console/"))
    foreign = secret(await other.get("/console/"))
    assert first != second
    for wrong in (foreign, "", "x", first[:-4], first[4:], "ä", None):
        page = await reader.post("/console/logout", secret=wrong)
        assert page.status == 403
        assert page.says("No page of your present session has sent this form.")
    assert (await reader.post("/console/logout", secret=second)).status == 303
    assert site.direct.value("SELECT count(*) FROM console_sessions") == 1


@pytest_twisted.ensureDeferred
async def test_the_menu_shows_what_the_user_may_see(site: Served) -> None:
    places = {
        username: {
            one["href"]
            for one in (await site.reader(username).get("/console/")).tree.one("nav").all("a")
        }
        for username in (ADMIN, USUAL, NOBODY)
    }

    assert "/console/users/" in places[ADMIN]
    assert "/console/users/" not in places[USUAL]
    assert "/console/people/" in places[USUAL]
    assert "/console/people/" not in places[NOBODY]
    assert "/console/content/" in places[NOBODY]


@pytest.mark.parametrize(
    ("accepted", "is_zipped"),
    [
        ("gzip, deflate, br", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("gzip;q=0, identity", False),
        ("identity", False),
    ],
)
@pytest_twisted.ensureDeferred
async def test_pages_are_compressed_if_the_browser_reads_that(
    site: Served, accepted: str, is_zipped: bool
) -> None:
    answer = await fetched(f"{site.api.base}/console/login", Accept_Encoding=accepted)

    assert (answer.header("Content-Encoding") == "gzip") is is_zipped
    assert b"<h1>" in (gzip.decompress(answer.body) if is_zipped else answer.body)
    assert answer.header("Vary") == "Accept-Encoding, Cookie"


def _addresses(page: Page) -> list[str]:
    """The files that a page loads."""
    files = page.tree.all("link", rel="stylesheet") + page.tree.all("link", rel="icon")
    return [one["href"] for one in files] + [one["src"] for one in page.tree.all("script")]


@pytest_twisted.ensureDeferred
async def test_the_first_page_is_small_with_all_that_it_loads(site: Served) -> None:
    stranger = site.reader(None)
    page = await stranger.get("/console/login")
    answers = [
        await fetched(site.api.base + path, Accept_Encoding="gzip")
        for path in ["/console/login", *_addresses(page)]
    ]

    assert len(answers) == 6
    assert sum(len(answer.body) for answer in answers) <= 60_000


@pytest_twisted.ensureDeferred
async def test_static_files_are_kept_by_the_browser_until_they_change(site: Served) -> None:
    stranger = site.reader(None)
    types = {"css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
    for path in _addresses(await stranger.get("/console/login")):
        name = path.rpartition("/")[2].partition("?")[0]
        kind = types.get(name.rpartition(".")[2], "text/javascript; charset=utf-8")
        url, content = site.api.base + path, (FOLDER / name).read_bytes()
        answer = await fetched(url)
        assert answer.body == content
        assert answer.header("Content-Type") == kind
        assert answer.header("Cache-Control") == "public, max-age=31536000, immutable"

        tag = answer.header("ETag") or ""
        again = await fetched(url, If_None_Match=tag)
        assert (again.status, again.body) == (304, b"")
        zipped = await fetched(url, Accept_Encoding="gzip")
        assert zipped.header("Content-Encoding") == "gzip"
        assert gzip.decompress(zipped.body) == content
        assert zipped.header("ETag") != tag

        old = await fetched(url.partition("?")[0] + "?v=0")
        assert old.header("Cache-Control") == "no-cache"


@pytest.mark.parametrize(
    "name",
    ["README.rst", "..%2fconsole.py", "%2e%2e/console.py", "console.css/", "x/console.css", ""],
)
@pytest_twisted.ensureDeferred
async def test_no_other_file_is_read(site: Served, name: str) -> None:
    page = await site.reader(None).get(f"/console/static/{name}")

    assert page.status in (303, 404)


def test_files_of_others_have_their_version_and_licence_beside_them() -> None:
    readme = (FOLDER / "README.rst").read_text(encoding="utf-8")
    foreign = sorted(path.name for path in FOLDER.glob("*.min.js"))

    assert foreign == ["htmx.min.js", "hx-sse.min.js"]
    for name in foreign:
        assert re.search(rf"``{re.escape(name)}`` +htmx.org \d+\.\d+\.\d+ +Zero-Clause BSD", readme)
    assert "THE SOFTWARE IS PROVIDED" in (FOLDER / "htmx-licence.txt").read_text(encoding="utf-8")


def test_nothing_comes_from_another_host() -> None:
    for path in Path(FOLDER).parent.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(src|href|action)=\"(https?:)?//", text), path.name
    assert "url(" not in (FOLDER / "console.css").read_text(encoding="utf-8")


def test_the_style_sheet_has_logical_properties_only() -> None:
    """So that a page reads from the right to the left by ``dir`` alone."""
    text = (FOLDER / "console.css").read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    physical = r"[{;\s](margin|padding|border|inset)?-?(left|right)\s*:|text-align:\s*(left|right)"

    assert re.findall(physical, text) == []


@pytest_twisted.ensureDeferred
async def test_what_a_visit_leaves_out_is_optional(site: Served) -> None:
    """HTTP/1.0 and no headers at all."""
    reader = evolve(site.reader(), headers={"Accept": "*/*"})

    assert (await reader.get("/console/")).status == 200
