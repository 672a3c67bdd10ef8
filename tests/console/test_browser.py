"""The frame, and the questions that everybody has, in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.console.browsing import PHONE, Browsing, Tab
from tests.console.content import ADMIN, MORNING, MOTHERS, NOBODY, PASSWORD, THANDI

pytestmark = pytest.mark.xdist_group("browser")

PICTURED = ("grid", "message", "people", "person", "trouble", "behind")

# What other modules do not look at; the names are those of the pictures in the manual.
PAGES = {
    "content": "/console/content/",
    "grid": f"/console/content/{MOTHERS}/",
    "message": f"/console/content/{MOTHERS}/2/eng_ZA/",
    "people": "/console/people/",
    "person": f"/console/people/{THANDI}/",
    "trouble": "/console/trouble/",
    "behind": "/console/behind/",
    "silent": "/console/behind/silent/",
    "undelivered": "/console/behind/undelivered/",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_for_everybody(tab: Tab, name: str) -> None:
    """On a desk, in the dark, on a telephone, and from the right to the left."""
    page = tab.go(PAGES[name])
    if name in PICTURED:
        tab.picture(name)
    tab.check()
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    tab.check()
    page.evaluate("document.documentElement.dir = 'rtl'")
    tab.check_width()


def test_somebody_logs_in_by_keyboard_alone_and_out_again(browsing: Browsing) -> None:
    tab = browsing.open(username=None, expected=[403])
    page = tab.go("/console/content/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    tab.check()
    tab.picture("login")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.get_by_label("Name").focus()
    page.keyboard.type(ADMIN)
    page.keyboard.press("Tab")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
    expect(page.get_by_label("Password")).to_have_accessible_description(
        "The name or the password is wrong."
    )
    tab.check()
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Content")
    page.get_by_role("button", name="Log out").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")


def test_it_is_read_in_french_without_javascript_on_a_phone(browsing: Browsing) -> None:
    tab = browsing.open(javascript=False, phone=True)
    page = tab.go("/console/")
    page.get_by_role("link", name="Français").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Aujourd’hui")
    expect(page.locator("html")).to_have_attribute("lang", "fr")
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Today")


def test_the_browser_that_speaks_french_gets_french(browsing: Browsing) -> None:
    tab = browsing.open(language="fr")
    for path in ("/console/", *PAGES.values(), "/console/operations/"):
        tab.go(path)
        expect(tab.page.locator("html")).to_have_attribute("lang", "fr")
        tab.check_width()


def test_it_says_that_the_database_is_away(browsing: Browsing) -> None:
    tab = browsing.open(expected=[503])
    with browsing.running.database_away():
        page = tab.go("/console/")

        expect(page.get_by_role("alert")).to_contain_text("Nothing is lost")
        tab.check()
    expect(tab.go("/console/").get_by_role("heading", level=1)).to_have_text("Today")


def test_it_says_what_somebody_may_not_do(browsing: Browsing) -> None:
    tab = browsing.open(NOBODY, expected=[403, 404])
    page = tab.go("/console/users/")
    expect(page.get_by_role("main")).to_contain_text("This needs the permission “administer”.")
    tab.check()
    expect(tab.go("/console/nowhere").get_by_role("heading", level=1)).to_have_text(
        "There is no such page"
    )
    tab.check()


def answer_to(page: Page, question: str) -> Locator:
    """What stands beside a question on Today."""
    return page.locator("dt", has_text=question).locator("+ dd")


@pytest.mark.parametrize("has_javascript", [True, False])
def test_today_answers_the_questions_of_everybody_in_two_clicks(
    browsing: Browsing, has_javascript: bool
) -> None:
    tab = browsing.open(javascript=has_javascript)
    title = tab.page.get_by_role("heading", level=1)

    answer_to(tab.go("/console/"), "Who did not get it, and why?").get_by_role("link").click()
    expect(title).to_contain_text("Tick")
    tab.page.locator("main a[href*='people']").first.click()
    expect(title).to_contain_text("People of tick")

    page = tab.go("/console/")
    answer_to(page, "What goes out if I press start?").get_by_role("link").click()
    page.locator(f"main a[href='/console/start/{MORNING}/']").first.click()
    expect(title).to_contain_text(f"schedule {MORNING}")

    page = tab.go("/console/")
    for question, told in {
        "What happens to those under way?": "A changed text is sent to everybody",
        "What happens after an outage?": "What was owed is still owed",
    }.items():
        answer = answer_to(page, question)
        expect(answer.get_by_text(told)).to_be_hidden()
        answer.locator("summary").click()
        expect(answer.get_by_text(told)).to_be_visible()
    expect(answer_to(page, "Whose clock is it?")).to_contain_text("The Seed Scheduler ticks")
