"""What the service in use answered, asked again.

``recorded.json`` is a selection of exchanges in the order in which they were made. Left out is what
sbm does otherwise on purpose, and what it does not have. Ids and tokens are mapped, times masked.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest_twisted
from attrs import define, field

from sbm.store import binary_contents, users
from tests.arrange import arranged
from tests.web.conftest import Answer, Api

RECORDED = json.loads(Path(__file__).with_name("recorded.json").read_text(encoding="utf-8"))
HOST = "http://127.0.0.1:58000"
FILES = ("20261123042411867450.jpg", "20261123042411700303.mp3")

_KINDS = {
    "schedule": "schedule",
    "default_schedule": "schedule",
    "messageset": "messageset",
    "next_set": "messageset",
    "binary_content": "binarycontent",
}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")


@define
class Mapping:
    """What the recording's ids, tokens and addresses are here."""

    texts: dict[str, str]
    ids: dict[tuple[str, int], int] = field(factory=dict)

    def text(self, text: str) -> str:
        for there, here in self.texts.items():
            text = text.replace(there, here)
        return text

    def path(self, path: str) -> str:
        match = re.fullmatch(r"(/api/v1/)(\w+)/(0*)(\d+)(\b.*)", path)
        if match is None:
            return self.text(path)
        start, kind, zeros, number, rest = match.groups()
        return f"{start}{kind}/{zeros}{self.ids.get((kind, int(number)), number)}{rest}"

    def value(self, value: Any, kind: str) -> Any:
        """A JSON value of a resource of this kind, with the ids of here."""
        if isinstance(value, dict):
            return {name: self.member(name, one, kind) for name, one in value.items()}
        if isinstance(value, list):
            return [self.value(one, kind) for one in value]
        return self.text(value) if isinstance(value, str) else value

    def member(self, name: str, value: Any, kind: str) -> Any:
        if name == "messages":
            return self.value(value, "message")
        kind = _KINDS.get(name, kind)
        if isinstance(value, (int, float)) and name in {*_KINDS, "id"}:
            return self.ids.get((kind, int(value)), value)
        return self.value(value, kind)

    def learn(self, kind: str, there: Any, here: Any) -> None:
        if isinstance(there, int):
            self.ids[kind, there] = here
        else:
            spellings = (str.lower, str.upper, lambda text: text.replace("-", ""))
            self.texts.update({spelt(there): spelt(here) for spelt in spellings})


async def _replayed(api: Api, mapping: Mapping, recorded: dict[str, Any]) -> Answer:
    kind = _kind(recorded)
    body = recorded.get("body")
    if body is not None and body.startswith("base64:"):
        body = b64decode(body.removeprefix("base64:"))
    elif body is not None and recorded["headers"].get("Content-Type") == "application/json":
        with suppress(ValueError):
            given = json.loads(body)
            mapped = mapping.value(given, kind)
            body = body if mapped == given else json.dumps(mapped)
    headers = {name: mapping.text(value) for name, value in recorded["headers"].items()}
    path = mapping.path(recorded["path"])
    return await api.send(recorded["method"], path, body, headers)


def _kind(recorded: dict[str, Any]) -> str:
    return str(recorded["path"]).removeprefix("/api/v1/").partition("/")[0]


def _masked(value: Any) -> Any:
    """The value without what was added since, and without what differs at every run."""
    if isinstance(value, dict):
        added = {"count"} if "results" in value else {"channel"} if "short_name" in value else set()
        return {name: _masked(one) for name, one in value.items() if name not in added}
    if isinstance(value, list):
        return [_masked(one) for one in value]
    return _TIME.sub("TIME", value) if isinstance(value, str) else value


def _differences(answer: Answer, recorded: dict[str, Any], mapping: Mapping) -> list[str]:
    expected = recorded.get("answer")
    comparisons: dict[str, tuple[Any, Any]] = {"status": (answer.status, recorded["status"])}
    for name, value in recorded["answer_headers"].items():
        comparisons[name] = (answer.header(name), mapping.text(value))
    if expected is not None:
        wanted = _masked(mapping.value(expected, _kind(recorded)))
        comparisons["body"] = (_masked(answer.json), wanted)
        if isinstance(expected, dict):
            order = [name for name in answer.json if name in expected]
            comparisons["order"] = (order, list(expected))
    return [
        f"{recorded['name']}: {what} is {here!r}, was {there!r}"
        for what, (here, there) in comparisons.items()
        if here != there
    ]


@pytest_twisted.ensureDeferred
async def test_recorded_exchanges_are_answered_as_they_were(api: Api, database_uri: str) -> None:
    inactive = await api.database.transact(users.create_token, email="gone", admin=False)
    with arranged(database_uri) as behind:
        behind.rows("UPDATE users SET is_active = false WHERE username = 'gone'")
    mapping = Mapping(
        {"a" * 40: api.token, "b" * 40: api.user_token, "c" * 40: inactive, HOST: api.base}
    )
    for number, name in enumerate(FILES, start=1):
        made = await api.database.transact(binary_contents.create, content=name)
        mapping.learn("binarycontent", number, made.id)
    differences = []
    for recorded in RECORDED:
        answer = await _replayed(api, mapping, recorded)
        expected = recorded.get("answer")
        if answer.status == 201 and isinstance(expected, dict) and "id" in expected:
            mapping.learn(_kind(recorded), expected["id"], answer.json["id"])
        differences += _differences(answer, recorded, mapping)
    assert not differences, "\n".join(differences)
