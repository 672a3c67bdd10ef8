"""Operations, audit, users, sessions and intake in a real browser: WCAG, telephones, no script."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.console.browsing import Browsing, Tab

pytestmark = pytest.mark.xdist_group("browser")

PAGES = {
    "/console/operations/": "Operations",
    "/console/operations/pauses/new/": "Pause sends",
    "/console/operations/pauses/begin/?on_ticks=skip": "Pause sends",
    "/console/help/": "What to do",
    "/console/help/unknown/": "The outcome of a send is unknown",
    "/console/audit/": "Audit",
    "/console/users/": "Users",
    "/console/users/1/": "User “ann”",
    "/console/users/2/edit/": "Change the user “uma”",
    "/console/users/2/password/": "Set a password for “uma”",
    "/console/tokens/new/2/": "Make a token for “uma”",
    "/console/sessions/": "My sessions",
    "/console/sessions/password/": "Change my password",
    "/console/intake/": "Intake",
}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_for_everybody(browsing: Browsing, path: str) -> None:
    for tab in (browsing.open(), browsing.open(phone=True, dark=True)):
        page = tab.go(path)
        expect(page.get_by_role("heading", level=1)).to_have_text(PAGES[path])
        tab.check()
    tab = browsing.open(javascript=False)
    expect(tab.go(path).get_by_role("heading", level=1)).to_have_text(PAGES[path])


@pytest.mark.parametrize("has_javascript", [True, False])
def test_sends_are_paused_and_go_on_by_keyboard_alone(
    browsing: Browsing, has_javascript: bool
) -> None:
    page = browsing.open(javascript=has_javascript).go(
        "/console/operations/pauses/begin/?lane=tick"
    )
    page.get_by_label("Why?").press_sequentially("wrong texts")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("The pause has begun.")
    page.get_by_role("link", name="End pause").press("Enter")
    page.get_by_label("Why?").press_sequentially("they are right now")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("The pause has ended.")


def test_the_pages_are_pictured_for_the_manual(tab: Tab) -> None:
    for path, name in (
        ("/console/operations/", "operations"),
        ("/console/audit/", "audit"),
        ("/console/users/", "users"),
        ("/console/intake/", "intake"),
    ):
        tab.go(path)
        tab.check()
        tab.picture(name)
