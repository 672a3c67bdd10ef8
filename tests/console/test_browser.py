"""Pages in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.console.browsing import Browsing, Tab

pytestmark = pytest.mark.xdist_group("browser")


def test_today_is_for_everybody(tab: Tab) -> None:
    page = tab.go("/console/")

    expect(page.get_by_role("heading", level=1)).to_have_text("Today")
    tab.check()


def test_it_works_without_javascript_on_a_phone(browsing: Browsing) -> None:
    tab = browsing.open(javascript=False, phone=True)

    expect(tab.go("/console/").get_by_role("heading", level=1)).to_have_text("Today")


def test_it_says_that_the_database_is_away(browsing: Browsing) -> None:
    tab = browsing.open(expected=[503])
    with browsing.running.database_away():
        page = tab.go("/console/")

        expect(page.get_by_role("alert")).to_contain_text("Nothing is lost")
        tab.check()
    expect(tab.go("/console/").get_by_role("heading", level=1)).to_have_text("Today")
