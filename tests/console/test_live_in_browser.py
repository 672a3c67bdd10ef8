"""Live parts in a real browser, with what it gets when it asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from attrs import define, field
from playwright.sync_api import Locator, Route, expect

from tests.console.browsing import Browsing, Tab, eventually

pytestmark = pytest.mark.xdist_group("browser")

PART = "**/console/live/*"

# More than from one question to the next.
A_WHILE = 16_000


def stream(text: str) -> Mapping[str, Any]:
    """The answer that is a stream, which ends at once."""
    return {"content_type": "text/event-stream", "body": f"data: <p>{text}</p>\n\n"}


def alone(text: str) -> Mapping[str, Any]:
    """The answer if there is no place for a stream."""
    return {"content_type": "text/html", "body": f"<p>{text}</p>"}


@define(eq=False, slots=False)  # Playwright adds attributes to a listener's object
class Answers:
    """Answers each question for the live part of a page when it is told to."""

    tab: Tab
    held: list[Route] = field(factory=list)
    asked: int = 0

    def __attrs_post_init__(self) -> None:
        self.tab.page.route(PART, self._hold)
        self.tab.page.clock.install()

    def _hold(self, route: Route) -> None:
        self.held.append(route)
        self.asked += 1

    def give(self, answer: Mapping[str, Any]) -> None:
        """Answer the next question."""
        eventually(lambda: self.tab.page.title() and self.held)
        self.held.pop(0).fulfill(**answer)

    def pass_time(self) -> None:
        """Let the page believe that a while has passed."""
        self.tab.page.clock.run_for(A_WHILE)


def live(tab: Tab) -> Locator:
    """The live part of a page."""
    return tab.page.locator("#live")


def test_a_part_is_live_however_late_its_script_comes(browsing: Browsing) -> None:
    """A page is looked at once: what the extension does must be known by then."""
    tab = browsing.open()
    held: list[Route] = []
    tab.page.route("**/hx-sse.min.js*", lambda route: held.append(route))
    tab.page.goto(f"{tab.url}/console/", wait_until="commit")
    eventually(lambda: tab.page.evaluate("typeof htmx !== 'undefined'") and held)
    tab.page.evaluate("new Promise((done) => setTimeout(done))")  # after a timer of htmx
    with tab.page.expect_response(PART):
        held.pop().continue_()


@pytest.mark.parametrize("path", ["/console/", "/console/operations/", "/console/ticks/1/"])
def test_a_stream_that_ends_is_followed_by_the_part_alone(browsing: Browsing, path: str) -> None:
    tab = browsing.open()
    answers = Answers(tab)
    tab.go(path)
    answers.give(stream("streamed"))
    expect(live(tab)).to_have_text("streamed")
    for text in ("no place", "no place again"):
        answers.pass_time()
        answers.give(alone(text))
        expect(live(tab)).to_have_text(text)
    answers.pass_time()
    answers.give(stream("streamed again"))
    expect(live(tab)).to_have_text("streamed again")


def test_a_stream_that_ends_with_its_session_is_followed_by_the_login(browsing: Browsing) -> None:
    tab = browsing.open(expected=[401])
    answers = Answers(tab)
    tab.go("/console/")
    answers.give(stream("streamed"))
    expect(live(tab)).to_have_text("streamed")
    answers.pass_time()
    answers.give({"status": 401, "headers": {"HX-Redirect": "/console/login?next=%2Fconsole%2F"}})
    tab.page.wait_for_url("**/console/login?next=*")


def test_a_part_that_is_slow_is_asked_for_once(browsing: Browsing) -> None:
    tab = browsing.open()
    answers = Answers(tab)
    tab.go("/console/")
    answers.pass_time()
    answers.give(alone("slow"))
    expect(live(tab)).to_have_text("slow")
    answers.pass_time()
    answers.give(alone("quick"))
    expect(live(tab)).to_have_text("quick")
    assert answers.asked == 2


def test_a_page_in_the_background_has_no_stream(browsing: Browsing) -> None:
    tab = browsing.open()
    page = tab.page
    with page.expect_response(PART):
        tab.go("/console/")
    with page.expect_event("requestfailed", lambda request: "/live/" in request.url):
        show(tab, hidden=True)
    with page.expect_response(PART):
        show(tab, hidden=False)


def show(tab: Tab, *, hidden: bool) -> None:
    """Let the page believe that it is seen, or not."""
    tab.page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )
