"""The content screens in a real browser."""

from __future__ import annotations

import struct
import wave
import zlib
from io import BytesIO

import pytest
from playwright.sync_api import Route, expect

from tests.console.browsing import Browsing, Tab
from tests.console.content import MOTHERS

pytestmark = pytest.mark.xdist_group("browser")

CONTENT = "/console/content/"
AT = f"{CONTENT}{MOTHERS}/4/eng_ZA/"
PUBLIC = "http://sbm.example.org"


def a_picture() -> bytes:
    """A PNG of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        told = kind + data
        return struct.pack(">I", len(data)) + told + struct.pack(">I", zlib.crc32(told))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
        + chunk(b"IEND", b"")
    )


def a_sound() -> bytes:
    """A tenth of a second of silence."""
    written = BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(b"\x80" * 800)
    return written.getvalue()


@pytest.mark.parametrize("phone", [False, True])
def test_every_page_is_for_everybody(browsing: Browsing, phone: bool) -> None:
    tab = browsing.open(phone=phone)
    for path in (
        "",
        "new/",
        f"{MOTHERS}/",
        f"{MOTHERS}/edit/",
        f"{MOTHERS}/clone/",
        f"{MOTHERS}/2/eng_ZA/",
        f"{MOTHERS}/3/xho_ZA/",
        f"{MOTHERS}/2/eng_ZA/delete/",
        "schedules/",
        "schedules/1/",
        "schedules/1/edit/",
    ):
        tab.go(CONTENT + path)
        tab.check()


def test_a_refused_form_is_for_everybody(browsing: Browsing) -> None:
    tab = browsing.open(expected=[400])
    page = tab.go(f"{CONTENT}schedules/new/")
    page.get_by_label("Hours of the day").fill("25")

    page.get_by_role("button", name="Make the schedule").click()

    expect(page.get_by_label("Hours of the day")).to_have_accessible_description(
        "0 to 23; 8,18 or 8-18 for several."
        ' Enter a valid cron field: "*", numbers from 0 to 23, ranges and steps, separated by'
        " commas."
    )
    tab.check()


def test_the_counter_follows_what_is_typed(tab: Tab) -> None:
    page = tab.go(AT)
    size = page.get_by_role("status").filter(has_text="characters")

    page.get_by_label("Text", exact=True).fill("x" * 161)

    expect(size).to_have_text("161 characters, GSM-7, 2 SMS, 145 left.")
    page.get_by_label("Text", exact=True).fill("x“")
    expect(size).to_contain_text("These characters make it longer")
    tab.check()


def test_without_javascript_a_conflict_is_resolved(browsing: Browsing) -> None:
    one, other = browsing.open(javascript=False), browsing.open("uma", expected=[409])
    first, second = one.go(AT), other.go(AT)
    first.get_by_label("Text", exact=True).fill("The first")
    second.get_by_label("Text", exact=True).fill("The second")
    first.get_by_role("button", name="Save").click()
    expect(first.get_by_text("It was saved.")).to_be_visible()

    second.get_by_role("button", name="Save").click()

    expect(second.get_by_role("alert")).to_contain_text("Nothing was saved.")
    expect(second.get_by_text("The first")).to_be_visible()
    other.check()
    second.get_by_role("button", name="Save mine").click()
    expect(second.get_by_text("It was saved.")).to_be_visible()


def find_media(tab: Tab) -> None:
    """Let the browser find the public address of the daemon, where its files are."""

    def fetch(route: Route) -> None:
        url = route.request.url.replace(PUBLIC, tab.url)
        route.fulfill(response=route.fetch(url=url))

    tab.page.route(f"{PUBLIC}/**", fetch)


@pytest.mark.parametrize("javascript", [True, False])
def test_files_are_uploaded_shown_and_played(browsing: Browsing, javascript: bool) -> None:
    number = 8 if javascript else 9
    tab = browsing.open(javascript=javascript)
    find_media(tab)
    page = tab.go(f"{CONTENT}{MOTHERS}/{number}/eng_ZA/")
    files = {"name": "a.png", "mimeType": "image/png", "buffer": a_picture()}

    page.get_by_label("A file").set_input_files(files)  # type: ignore[arg-type]
    page.get_by_role("button", name="Upload").click()

    expect(page.get_by_text("The file was saved.")).to_be_visible()
    picture = page.get_by_role("img", name="Picture of this message")
    expect(picture).to_have_js_property("naturalWidth", 1)
    if javascript:
        tab.check()
    sound = {"name": "a.wav", "mimeType": "audio/wav", "buffer": a_sound()}
    page.get_by_label("Another file").set_input_files(sound)  # type: ignore[arg-type]
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("audio")).to_be_visible()
