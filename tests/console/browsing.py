"""A real browser on a real daemon, and what is looked at on each page."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from attrs import define, field
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response
from playwright.sync_api import Request as Loading

from tests.arrange import Arranged
from tests.console.content import ADMIN
from tests.console.lost_database import lost
from tests.console.reader import begin_session
from tests.e2e.daemons import ENVIRON, TWISTD
from tests.patience import patience
from tests.ports import free_port

ROOT = Path(__file__).parent.parent.parent
PICTURES = ROOT / "docs" / "pictures"
CHROMIUM = Path("/usr/bin/chromium")

SCHEDULER_TOKEN = "token-of-the-scheduler"

_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

DESKTOP = {"width": 1100, "height": 760}
PHONE = {"width": 390, "height": 760}
# A picture of the manual has 60 kB at most.
PICTURE = {"width": 840, "height": 480}


@define(eq=False, kw_only=True)
class Running:
    """A daemon with its database; ``direct`` reads and writes that behind the daemon's back."""

    url: str
    direct: Arranged
    output: Path
    server_uri: str

    @contextmanager
    def database_away(self) -> Iterator[None]:
        """Meanwhile the daemon cannot reach its database; ``direct`` can."""
        with lost(self.server_uri, self.direct):
            yield
        cookie = f"sbm-local={begin_session(self.direct, ADMIN)}"
        eventually(lambda: _has_heading(f"{self.url}/console/", cookie))

    def send(self, schedule: int) -> None:
        """Let a schedule tick, and wait until all is sent that it owes."""
        request = Request(
            f"{self.url}/api/v1/schedule/{schedule}/send/",
            method="POST",
            headers={"Authorization": f"Token {SCHEDULER_TOKEN}"},
        )
        with urlopen(request) as answer:
            assert answer.status == 202
        eventually(
            lambda: (
                not self.direct.value(
                    "SELECT (SELECT count(*) FROM sends)"
                    " + (SELECT count(*) FROM ticks WHERE state = 'expanding')"
                )
            )
        )


def eventually(condition: Callable[[], Any]) -> None:
    """Return when the condition holds; fail when it does not come to."""
    give_up_at = time.monotonic() + patience()
    while not condition():
        assert time.monotonic() < give_up_at, "it never came to that"
        time.sleep(0.05)


def _has_heading(url: str, cookie: str) -> bool:
    """Whether the page is there, and is not the one that says that the database is away."""
    try:
        with urlopen(Request(url, headers={"Cookie": cookie})) as answer:
            return b"<h1>" in answer.read()
    except OSError:
        return False


@contextmanager
def neighbours(folder: Path) -> Iterator[dict[str, str]]:
    """The Seed services; gives the settings of a daemon that calls them."""
    command = [sys.executable, "-m", "tests.console.neighbours", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def daemon(folder: Path, environ: dict[str, str]) -> Iterator[str]:
    """A daemon as in production; gives its URL."""
    port = free_port()
    listen = f"tcp:{port}:interface=127.0.0.1"
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [str(TWISTD), "-n", "--pidfile=", "sbm", "--listen", listen],
            cwd=folder,
            env={**ENVIRON, **environ},
            stdout=output,
            stderr=output,
        )
    try:
        eventually(lambda: _listens(port) or process.poll() is not None)
        assert process.poll() is None, (folder / "output").read_text(encoding="utf-8")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@define(eq=False, slots=False, kw_only=True)  # Playwright adds attributes to a listener's object
class Tab:
    """A tab of the browser. ``expected`` are statuses of refusals that the test provokes.

    ``page`` is Playwright's. Everything that goes wrong in it is kept in ``problems``: errors of
    scripts, messages of the console, requests that failed.
    """

    page: Page
    url: str
    expected: Sequence[int] = ()
    problems: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.page.on("console", self._told)
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)

    def go(self, path: str) -> Page:
        """Read a page, by its path."""
        self.page.goto(self.url + path)
        return self.page

    def check(self) -> None:
        """Fail if axe finds a violation of WCAG 2.2 AA, or if the page scrolls sideways."""
        results = Axe().run(
            self.page,
            options={"resultTypes": ["violations"], "runOnly": {"type": "tag", "values": _RULES}},
        )
        told = results.generate_report() if results.violations_count else ""
        assert not told, f"{self.page.url}\n{told}"
        self.check_width()

    def check_width(self) -> None:
        """Fail if the page scrolls sideways."""
        wide, shown = self.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert wide <= shown, f"{self.page.url} is {wide} px wide, of which {shown} are shown"

    def picture(self, name: str) -> None:
        """Write a picture for the manual, if SBM_PICTURES is set: ``docs/pictures/<name>.png``."""
        if not os.environ.get("SBM_PICTURES"):
            return
        PICTURES.mkdir(exist_ok=True)
        self.page.set_viewport_size(PICTURE)  # type: ignore[arg-type]
        self.page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")
        self.page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]

    def _told(self, message: ConsoleMessage) -> None:
        is_status = message.text.startswith("Failed to load resource")  # told by _answered
        if message.type in ("error", "warning") and not is_status:
            self.problems.append(f"console: {message.text}")

    def _failed(self, request: Loading) -> None:
        # What still loads when the page is left ends so; what the policy forbids does not.
        if request.failure != "net::ERR_ABORTED":
            self.problems.append(f"{request.method} {request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.problems.append(f"{response.request.method} {response.url}: {response.status}")


@define(eq=False, kw_only=True)
class Browsing:
    """Opens tabs, each with cookies of its own."""

    browser: Browser
    running: Running
    tabs: list[Tab] = field(factory=list)
    _contexts: list[BrowserContext] = field(factory=list)

    def open(
        self,
        username: str | None = ADMIN,
        *,
        javascript: bool = True,
        phone: bool = False,
        language: str = "en",
        dark: bool = False,
        expected: Sequence[int] = (),
    ) -> Tab:
        """A tab in which this user is logged in, or nobody."""
        context = self.browser.new_context(
            java_script_enabled=javascript,
            viewport=PHONE if phone else DESKTOP,  # type: ignore[arg-type]
            has_touch=phone,
            locale=language,
            color_scheme="dark" if dark else "light",
            timezone_id="Africa/Johannesburg",
            reduced_motion="reduce",
        )
        self._contexts.append(context)
        context.set_default_timeout(20_000)
        if username is not None:
            secret = begin_session(self.running.direct, username)
            context.add_cookies(
                [{"name": "sbm-local", "value": secret, "url": self.running.url, "sameSite": "Lax"}]
            )
        tab = Tab(page=context.new_page(), url=self.running.url, expected=expected)
        self.tabs.append(tab)
        return tab

    def close(self) -> list[str]:
        """Close all tabs; returns what went wrong in them."""
        for context in self._contexts:
            context.close()
        return [problem for tab in self.tabs for problem in tab.problems]
