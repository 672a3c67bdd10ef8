"""A reader of the console without JavaScript: keeps the cookies, reads pages, and sends forms."""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from attrs import define, field, frozen

from tests.arrange import Arranged
from tests.console.markup import Element, faults, faults_of_whole, parse
from tests.web.conftest import Answer

# A file of a form: its name, its bytes, and its type.
SentFile = tuple[str, bytes, str]

_LOCAL = "sbm-local"


class Client(Protocol):
    """Sends requests, as ``Api`` of tests/web does."""

    base: str

    async def send(
        self, method: str, path: str, body: str | bytes | None, headers: dict[str, str]
    ) -> Answer: ...


def begin_session(direct: Arranged, username: str) -> str:
    """Begin a session of a user, as the page of the login does; returns the secret."""
    secret = f"secret-{uuid.uuid4().hex}"
    direct.rows(
        "INSERT INTO console_sessions (digest, user_id, address, browser)"
        " SELECT %s, id, '127.0.0.1', 'tests' FROM users WHERE username = %s",
        sha256(secret.encode()).digest(),
        username,
    )
    return secret


@frozen(kw_only=True)
class Page:
    """An answer of the console; ``tree`` is empty if it is no HTML."""

    url: str
    status: int
    headers: Any
    text: str
    tree: Element = field(repr=False)

    def header(self, name: str) -> str | None:
        values = self.headers.getRawHeaders(name)
        return values[0] if values else None

    @property
    def place(self) -> str:
        """Where the answer sends the browser."""
        return self.header("Location") or ""

    @property
    def heading(self) -> str:
        return self.tree.one("h1").text

    @property
    def main(self) -> Element:
        """What is in the page besides its head and its foot."""
        return self.tree.one("main")

    @property
    def done(self) -> str:
        """What an action says that has led here."""
        return " ".join(one.text for one in self.tree.all("p", class_="done"))

    def says(self, text: str) -> bool:
        """Whether the text is in the main part, or in the part of a page that this is."""
        mains = self.tree.all("main")
        return text in (mains[0] if mains else self.tree).text

    def links(self) -> dict[str, str]:
        """The links of the main part: the address of each text."""
        return {one.text: one.get("href") for one in self.main.all("a")}

    def rows(self, table: int = 0) -> list[list[str]]:
        """The texts of the cells of a table, row by row, with its heads."""
        found = self.main.all("table")[table]
        return [
            [cell.text for cell in row.within() if cell.tag in ("td", "th")]
            for row in found.all("tr")
        ]

    def form(self, button: str = "") -> Element:
        """The first form of the main part, or the first with a button of this text."""
        forms = [
            one for one in self.main.all("form") if not button or one.all("button", text=button)
        ]
        assert forms, f"no form with {button or 'anything'!r} in: {self.main.text}"
        return forms[0]

    def fields(self, button: str = "") -> dict[str, str]:
        """What a browser would send with the form, if nobody changed it."""
        return dict(_fields(self.form(button), button))


def _fields(form: Element, button: str) -> list[tuple[str, str]]:
    named = [one for one in form.within() if one.get("name") and not one.has("disabled")]
    return [(one["name"], value) for one in named for value in _values(one, button)]


def _values(one: Element, button: str) -> list[str]:
    """The values of an element of a form: none, one or several."""
    if one.tag == "textarea":
        # The first line break after the tag is no part of the value.
        return ["".join(str(child) for child in one.children).removeprefix("\n")]
    if one.tag == "select":
        options = one.all("option")
        chosen = [option for option in options if option.has("selected")] or options[:1]
        return [option.get("value", option.text) for option in chosen]
    if one.tag == "button":
        return [one.get("value")] if button and one.text == button else []
    if one.get("type") in ("checkbox", "radio"):
        return [one.get("value", "on")] if one.has("checked") else []
    return [one.get("value")] if one.tag == "input" and one.get("type") != "file" else []


@define(eq=False, kw_only=True)
class Reader:
    """A browser without JavaScript. ``cookies`` are those that it keeps; ``page`` was read last.

    Each page that it reads is checked: see ``markup.faults``.
    """

    client: Client
    cookies: dict[str, str] = field(factory=dict)
    headers: dict[str, str] = field(factory=dict)
    page: Page | None = None

    async def get(self, path: str, *, part: bool = False, **headers: str) -> Page:
        """Read a page, without following where it sends; ``part`` asks as htmx does."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if part:
            sent["HX-Request"] = "true"
        return await self.send("GET", path, None, sent)

    async def read(self, path: str) -> Page:
        """Read a page, and follow where it sends, which must be pages of the console."""
        page = await self.get(path)
        for _ in range(5):
            if page.status not in (301, 302, 303, 308):
                break
            page = await self.get(self.inside(page.place))
        return page

    async def post(
        self,
        path: str,
        *,
        files: Any = None,
        headers: Any = None,
        **fields: Any,
    ) -> Page:
        """Send a form, with the secret of the page that was read last, unless another is given.

        ``files`` are SentFiles by their names.
        """
        if "secret" not in fields and self.page is not None:
            secrets = self.page.tree.all("input", name="secret")
            fields |= {"secret": secrets[0]["value"]} if secrets else {}
        pairs = [
            (name, str(one))
            for name, value in fields.items()
            if value is not None
            for one in (value if isinstance(value, (list, tuple)) else [value])
        ]
        body, kind = _multipart(pairs, files) if files else (urlencode(pairs), _URLENCODED)
        sent = {"Content-Type": kind, "Sec-Fetch-Site": "same-origin", "Origin": self.client.base}
        return await self.send("POST", path, body, {**sent, **(headers or {})})

    async def submit(
        self,
        page: Page,
        button: str = "",
        *,
        files: Any = None,
        **fields: Any,
    ) -> Page:
        """Send the form with this button, or the first one, and follow where that sends.

        ``fields`` are what the reader types: their names must be in the form. None leaves one out.
        """
        form = page.form(button)
        named = {one.get("name") for one in form.within()}
        assert set(fields) <= named, f"the form has no {sorted(set(fields) - named)}"
        values: dict[str, Any] = {}
        for name, value in _fields(form, button):
            values[name] = [*values[name], value] if name in values else [value]
        values |= fields
        pressed = form.all("button", text=button) if button else []
        told = (pressed[0].get("formaction") if pressed else "") or form.get("action") or page.url
        target = self.inside(urljoin(page.url, told))
        if form.get("method", "get").lower() == "post":
            answer = await self.post(target, files=files, **values)
        else:
            query = urlencode(
                [
                    (name, one)
                    for name, value in values.items()
                    if value is not None
                    for one in (value if isinstance(value, list) else [value])
                ]
            )
            answer = await self.get(f"{target.partition('?')[0]}?{query}")
        return await self.read(self.inside(answer.place)) if answer.status == 303 else answer

    async def send(
        self, method: str, path: str, body: str | bytes | None, headers: dict[str, str]
    ) -> Page:
        """Send just this, with the cookies."""
        sent = {**self.headers, **headers}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = await self.client.send(method, path, body, sent)
        for told in answer.headers.getRawHeaders("Set-Cookie", []):
            self._keep(told)
        page = _page(path, answer, is_part="HX-Request" in sent)
        if page.tree.children:
            self.page = page
        return page

    def inside(self, place: str) -> str:
        """The path of an address of the console, with its query."""
        parts = urlsplit(place)
        host = urlsplit(self.client.base).netloc
        assert parts.netloc in ("", host), f"that leads out: {place}"
        assert parts.path.startswith("/console"), f"that leads out: {place}"
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def _keep(self, told: str) -> None:
        name, _, value = told.partition(";")[0].partition("=")
        if "max-age=0" in told.lower():
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value


_URLENCODED = "application/x-www-form-urlencoded"


def _multipart(pairs: list[tuple[str, str]], files: Mapping[str, SentFile]) -> tuple[bytes, str]:
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in pairs
    ]
    for name, (file_name, content, kind) in files.items():
        head = f'Content-Disposition: form-data; name="{name}"; filename="{file_name}"'
        parts.append(f"--{boundary}\r\n{head}\r\nContent-Type: {kind}\r\n\r\n".encode())
        parts.append(content + b"\r\n")
    return b"".join(
        parts
    ) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _page(path: str, answer: Answer, *, is_part: bool) -> Page:
    kind = (answer.header("Content-Type") or "").partition(";")[0]
    tree = Element("")
    text = answer.text
    if answer.header("Content-Encoding") == "gzip" and text:
        text = gzip.decompress(text.encode("utf-8", "surrogateescape")).decode("utf-8")
    if kind == "text/html" and text:
        tree = parse(text)
        found = faults(tree)
        if not is_part or tree.all("html"):
            found += faults_of_whole(tree)
        assert not found, f"{path}: {'; '.join(found)}"
    return Page(url=path, status=answer.status, headers=answer.headers, text=text, tree=tree)


def query_of(place: str) -> dict[str, str]:
    """The parameters of an address."""
    return dict(parse_qsl(urlsplit(place).query))
