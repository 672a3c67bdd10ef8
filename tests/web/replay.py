"""Asking again what the service in use was asked, with the ids, tokens and names of here."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from attrs import define, field, frozen
from twisted.web.http_headers import Headers

from tests.web.conftest import Answer, Api
from tests.web.sockets import asked

RecordedRequest = dict[str, Any]

HOST = "http://127.0.0.1:58000"

# Headers that clients look at.
HEADERS = ("Content-Type", "Allow", "WWW-Authenticate", "Location")

_KINDS = {
    "schedule": "schedule",
    "default_schedule": "schedule",
    "messageset": "messageset",
    "next_set": "messageset",
    "current_messageset_id": "messageset",
    "expected_messageset_id": "messageset",
    "binary_content": "binarycontent",
}
_NAMED = re.compile(r"\b(\w+)=(\d+)\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")
_TOKEN = re.compile(r"\b[0-9a-f]{40}\b")

# What the service says of itself.
_OF_ITS_OWN = {"renders": "RENDERS", "libraries": "LIBRARIES"}
# What was added since, by another member of the same object.
_ADDED: dict[str, set[str]] = {
    "results": {"count"},
    "short_name": {
        "channel",
        "send_hours",
        "max_age",
        "updated_by",
        "on_missing_translation",
    },
    "text_content": {"updated_by"},
    "day_of_week": {
        "time_zone",
        "send_hours",
        "max_age",
        "max_rate",
        "canary",
        "brake_percent",
        "brake_after",
    },
    "libraries": {
        "ledger",
        "services",
        "clock",
        "pause",
        "server",
        "database_reason",
        "role",
        "ticks",
        "status",
        "reasons",
        "send_pauses",
    },
}
_NEW_METRICS = ("subscriptions.created.sum",)

_SPELLINGS = (str.lower, str.upper, lambda text: text.replace("-", ""))


# What may be anything.
ANY = "anything"


@frozen(kw_only=True)
class Different:
    """An exchange that goes another way here, and why.

    ``path``, ``headers`` and ``body`` are what is asked instead; ``status``, ``answer``,
    ``allow``, ``location`` and ``content_type`` what is answered; None: as recorded. ``adds`` are
    other members of the answer, ``without`` what is not in it. ``same_as_other_form``: as the path
    with or without its slash.
    """

    why: str
    path: str | None = None
    headers: Mapping[str, str] = field(factory=dict)
    body: str | bytes | None = None
    status: int | None = None
    answer: Any = None
    adds: Mapping[str, Any] = field(factory=dict)
    without: str = ""
    allow: str | None = None
    location: str | None = None
    content_type: str | None = None
    same_as_other_form: bool = False

    def applied(self, exchange: RecordedRequest) -> RecordedRequest:
        """The exchange as it goes here."""
        request, response = exchange["request"], exchange["response"]
        asked = {"path": self.path, "body": self.body}
        request = request | {name: one for name, one in asked.items() if one is not None}
        if self.headers:
            request |= {"headers": {**request["headers"], **self.headers}}
        headers = dict(response["headers"])
        if headers.get("Content-Type", "").startswith("text/html"):
            headers = {"Allow": ANY, **headers, "Content-Type": "application/json"}
        told = {
            "Allow": self.allow,
            "Location": self.location,
            "Content-Type": self.content_type,
        }
        headers |= {name: one for name, one in told.items() if one is not None}
        if self.status is not None and self.status >= 400:
            headers.pop("Location", None)
        if self.answer is ANY:
            headers["Content-Type"] = ANY
        return {
            "name": exchange["name"],
            "request": request,
            "response": {
                "status": self.status or response["status"],
                "headers": headers,
                "body": self._body(response["body"]),
                "like": response["body"],
            },
        }

    def _body(self, recorded: str) -> str:
        if self.answer is not None:
            return ANY if self.answer is ANY else json.dumps(self.answer)
        if self.adds:
            return json.dumps(json.loads(recorded) | self.adds)
        return recorded.replace(self.without, "")


@define
class RecordedNames:
    """What the recording's ids, tokens, hosts and file names are here."""

    texts: dict[str, str]
    ids: dict[tuple[str, int], int] = field(factory=dict)

    def text(self, text: str) -> str:
        for there, here in self.texts.items():
            text = text.replace(there, here)
        return text

    def path(self, path: str) -> str:
        path = self.form(path)
        match = re.fullmatch(r"(/api/v1/)([\w-]+)/(0*)(\d+)(\b.*)", path)
        if match is None:
            return self.text(path)
        start, kind, zeros, number, rest = match.groups()
        return f"{start}{kind}/{zeros}{self.number(kind, number)}{rest}"

    def form(self, text: str) -> str:
        """What is written like name=1, in a form or a query."""

        def here(match: re.Match[str]) -> str:
            return f"{match[1]}={self.number(_KINDS.get(match[1], match[1]), match[2])}"

        return _NAMED.sub(here, text)

    def number(self, kind: str, number: str | int) -> int:
        return self.ids.get((kind, int(number)), int(number))

    def value(self, value: Any, kind: str) -> Any:
        """A JSON value of a resource of this kind, with the names of here."""
        if isinstance(value, dict):
            return {name: self.member(name, one, kind) for name, one in value.items()}
        if isinstance(value, list):
            return [self.value(one, kind) for one in value]
        return self.url(value) if isinstance(value, str) else value

    def member(self, name: str, value: Any, kind: str) -> Any:
        if name == "messages":
            return self.value(value, "message")
        kind = _KINDS.get(name, kind)
        if name in {*_KINDS, "id"} and not isinstance(value, bool):
            if isinstance(value, str) and value.isdigit():
                return str(self.number(kind, value))
            if isinstance(value, (int, float)):
                return self.ids.get((kind, int(value)), value)
        return self.value(value, kind)

    def url(self, text: str) -> str:
        """A text, which may be the URL of a row."""
        start, found, path = text.partition("/api/")
        return self.text(start) + (self.path(found + path) if found else "")

    def learn(self, kind: str, there: Any, here: Any) -> None:
        """Remember what a row, or something in it, is called here."""
        if isinstance(there, dict) and isinstance(here, dict):
            for name in there.keys() & here.keys() & {"id", "content", "task_id"}:
                self.learn(kind, there[name], here[name])
            if len(there.get("results", ())) == len(here.get("results", ())) == 1:
                self.learn(kind, there["results"][0], here["results"][0])
        elif isinstance(there, int):
            self.ids[kind, there] = here
        elif isinstance(there, str) and isinstance(here, str) and there not in self.texts:
            if "/" in there:
                self.texts[there.rpartition("/")[2]] = here.rpartition("/")[2]
            else:
                self.texts |= {spelt(there): spelt(here) for spelt in _SPELLINGS}


async def ask(api: Api, names: RecordedNames, exchange: RecordedRequest) -> Answer:
    """Ask once more, and learn the names of what is made."""
    request = exchange["request"]
    if "raw" in request:
        return await _ask_raw(api, names.text(request["raw"]))
    kind = kind_of(exchange)
    body = request["body"]
    if isinstance(body, str) and body.startswith("base64:"):
        body = b64decode(body.removeprefix("base64:"))
    elif isinstance(body, str) and "json" in request["headers"].get("Content-Type", ""):
        with suppress(ValueError, RecursionError):
            given = json.loads(body)
            mapped = names.value(given, kind)
            body = body if mapped == given else json.dumps(mapped)
    elif isinstance(body, str):
        body = names.form(body)
    headers = {name: names.text(value) for name, value in request["headers"].items()}
    answer = await api.send(request["method"], names.path(request["path"]), body, headers)
    if answer.status == exchange["response"]["status"] and answer.status < 300:
        names.learn(kind, _json(exchange["response"]["body"]), _json(answer.text))
    return answer


async def other_form(api: Api, names: RecordedNames, exchange: RecordedRequest) -> RecordedRequest:
    """The exchange, to be answered as the path with a slash less, or more, is answered."""
    path, query, parameters = exchange["request"]["path"].partition("?")
    path = path.rstrip("/") if path.endswith("/") else f"{path}/"
    request = exchange["request"] | {"path": path + query + parameters}
    answer = await ask(api, names, exchange | {"request": request})
    headers = {name: value for name in HEADERS if (value := answer.header(name)) is not None}
    response = {"status": answer.status, "headers": headers, "body": answer.text}
    return exchange | {"response": response}


def kind_of(exchange: RecordedRequest) -> str:
    """The name of the collection that an exchange is about."""
    path = exchange["request"].get("path", "").removeprefix("/api/v1/")
    return re.split(r"[/?]", path)[0]


def differences(answer: Answer, exchange: RecordedRequest, names: RecordedNames) -> list[str]:
    """In what an answer is another one than that which was recorded."""
    response = exchange["response"]
    compared: dict[str, tuple[Any, Any]] = {"status": (answer.status, response["status"])}
    for name in HEADERS:
        was = response["headers"].get(name)
        if was is not ANY:
            compared[name] = (answer.header(name), None if was is None else names.url(was))
    expected = _json(response["body"])
    if response["body"] is ANY:
        pass
    elif expected is None:
        compared["body"] = (answer.text, names.text(response["body"] or ""))
    else:
        here = _json(answer.text)
        compared["body"] = (_masked(here), _masked(names.value(expected, kind_of(exchange))))
        like = _json(response.get("like")) or expected
        compared["order"] = (_order(here, like), _order(like, here))
    return [
        f"{exchange['name']}: {what} is {here!r}, was {there!r}"
        for what, (here, there) in compared.items()
        if here != there
    ]


async def _ask_raw(api: Api, sent: str) -> Answer:
    """Send just this, and hang on to the first answer that is more than a promise."""
    closing = sent.replace("\r\nAuthorization:", "\r\nConnection: close\r\nAuthorization:", 1)
    conversation = await asked(api, closing.encode("latin-1"))
    received = (await conversation.rest()).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    head, _, body = received.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    headers = Headers()
    for name, _, value in (line.partition(":") for line in lines):
        headers.addRawHeader(name, value.strip())
    return Answer(status=int(line.split(" ")[1]), headers=headers, text=body.decode("utf-8"))


def _json(text: str | None) -> Any:
    """What a text says in JSON, or None."""
    try:
        return json.loads(text or "")
    except ValueError:
        return None


def _order(value: Any, like: Any) -> list[str]:
    """The order of the members that both have."""
    if not isinstance(value, dict) or not isinstance(like, dict):
        return []
    return [name for name in value if name in like and not name.isdigit()]


def _masked(value: Any) -> Any:
    """A value without what was added since, and without what differs at every run."""
    if isinstance(value, dict):
        added = next((names for name, names in _ADDED.items() if name in value), set())
        kept = {name: _masked(one) for name, one in value.items() if name not in added}
        if "metrics_available" in value:  # in no order, some of them again and again
            kept["metrics_available"] = sorted({*_NEW_METRICS, *value["metrics_available"]})
        if "libraries" in value:
            kept["version"] = "VERSION"
        return kept | {name: one for name, one in _OF_ITS_OWN.items() if name in value}
    if isinstance(value, list):
        return [_masked(one) for one in value]
    return _TOKEN.sub("TOKEN", _TIME.sub("TIME", value)) if isinstance(value, str) else value
