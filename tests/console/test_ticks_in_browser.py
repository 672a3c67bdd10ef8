"""Today, the ticks and a start in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.console.browsing import Browsing, Tab, eventually
from tests.console.content import MORNING

pytestmark = pytest.mark.xdist_group("browser")


def last_tick(tab: Tab) -> str:
    """The path of the newest tick, from Today in one click."""
    page = tab.go("/console/")
    page.get_by_role("region", name="The ticks of today").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Tick")
    return page.url.removeprefix(tab.url)


def test_the_pages_are_for_everybody(browsing: Browsing) -> None:
    tab = browsing.open()
    tick = last_tick(tab)
    tab.picture("tick")
    for path in (
        *("/console/", "/console/ticks/", tick, f"{tick}people", f"{tick}pause", f"{tick}stop"),
        *("/console/start/", f"/console/start/{MORNING}/"),
    ):
        tab.go(path)
        tab.check()
    tab.go("/console/")
    tab.picture("today")
    tab.go(f"/console/start/{MORNING}/")
    tab.picture("start")


def test_the_pages_fit_a_phone_in_the_dark(browsing: Browsing) -> None:
    tab = browsing.open(phone=True, dark=True)
    tick = last_tick(tab)
    for path in ("/console/", "/console/ticks/", tick, f"{tick}people", "/console/start/1/"):
        tab.go(path)
        tab.check()


def test_today_is_shown_anew_when_something_changes(browsing: Browsing) -> None:
    """The stream brings it. What somebody has opened stays open."""
    tab = browsing.open()
    page = tab.go("/console/")
    live = page.locator("#live")
    before = live.locator("#as-of time").get_attribute("datetime")
    live.get_by_text("As a table").click()
    table = live.locator("details table")
    expect(table).to_be_visible()
    eventually(lambda: live.locator("#as-of time").get_attribute("datetime") != before)
    expect(page.locator("#live")).to_have_count(1)
    expect(table).to_be_visible()


def test_a_start_is_confirmed_without_javascript(browsing: Browsing) -> None:
    tab = browsing.open(javascript=False)
    page = tab.go("/console/start/")
    page.get_by_role("link", name="What would schedule 2 send?").click()
    page.get_by_label("Why?").fill("a test of the console")
    page.get_by_role("button", name="Start: send to").click()
    expect(page.get_by_role("status")).to_contain_text("of schedule 2 has begun")


def test_a_tick_is_started_with_a_canary_and_stopped_for_good(browsing: Browsing) -> None:
    """By the daemon: one of five people is tried, and the others are skipped."""
    direct = browsing.running.direct
    schedule = direct.schedule(minute="0", hour="3", day_of_month="1", month_of_year="1")
    direct.subscriptions(5, direct.messageset("stopped.text", schedule), schedule)
    tab = browsing.open()
    page = tab.go(f"/console/start/{schedule}/")
    page.get_by_label("Wait after so many messages").fill("1")
    page.get_by_label("Why?").fill("a test of the console")
    page.get_by_role("button", name="Start: send to 5 people").click()
    expect(page.get_by_role("status")).to_contain_text("has begun")
    here = page.url

    def says(text: str) -> bool:
        page.goto(here)
        return page.get_by_text(text).count() > 0

    eventually(lambda: says("It waits for a person after its first messages."))
    tab.picture("tick-held")
    page.get_by_role("link", name="Stop it for good").click()
    expect(page.get_by_role("listitem").filter(has_text="do not get the message")).to_contain_text(
        "4 people"
    )
    page.get_by_label("Why?").fill("a test of the console")
    page.get_by_role("button", name="Stop it for good").click()
    eventually(lambda: says("a person stopped the tick") and says("5 of 5"))
    page.get_by_role("link", name="a person stopped the tick").click()
    expect(page.get_by_role("row")).to_have_count(5)
    tab.check()
