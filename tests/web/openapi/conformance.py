"""Whether an answer is one of those that the description has for its request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from jsonschema_rs import Draft202012Validator

from sbm.web.description import describe
from tests.web.conftest import Answer

DESCRIPTION = json.loads(json.dumps(describe("1.2.3")))


@cache
def validator(pointer: str) -> Draft202012Validator:
    """What validates by the schema there, which may refer to others."""
    root = {"$ref": pointer, "components": DESCRIPTION["components"]}
    return Draft202012Validator(root | {"paths": DESCRIPTION["paths"]})


def objections(method: str, target: str, answer: Answer) -> list[str]:
    """What is wrong with an answer; nothing can be with that of a path that is not described."""
    item = _item(target.partition("?")[0])
    described = None if item is None else DESCRIPTION["paths"][item].get(method.lower())
    if described is None:
        return []
    pointer = f"#/paths/{_escaped(item or '')}/{method.lower()}/responses/{answer.status}"
    if str(answer.status) not in described["responses"]:
        return [f"{method} {item} is not described to answer {answer.status}"]
    return [f"{method} {item}: {one}" for one in _wrong(pointer, answer)]


def _wrong(pointer: str, answer: Answer) -> Iterator[str]:
    response = _at(pointer)
    if "$ref" in response:
        pointer = response["$ref"]
        response = _at(pointer)
    for name, header in response.get("headers", {}).items():
        if _at(header["$ref"]).get("required") and answer.header(name) is None:
            yield f"{answer.status} without {name}"
    content = response.get("content")
    if content is None:
        if answer.text:
            yield f"{answer.status} with a body"
    elif "application/json" in content:
        schema = f"{pointer}/content/application~1json/schema"
        for error in validator(schema).iter_errors(json.loads(answer.text)):
            yield f"{answer.status} {error.instance_path}: {error.message}"


def _item(path: str) -> str | None:
    """The described path that this one is, whichever form it is written in."""
    for item in sorted(DESCRIPTION["paths"], key=lambda one: one.count("{")):
        pattern = re.sub(r"{[^}]+}", "[^/]+", item.rstrip("/"))
        if re.fullmatch(pattern, path.rstrip("/")):
            return str(item)
    return None


def _escaped(path: str) -> str:
    """A path as a step of a JSON pointer in a URL."""
    return path.replace("/", "~1").replace("{", "%7B").replace("}", "%7D")


def _at(pointer: str) -> Any:
    found = DESCRIPTION
    for step in pointer.removeprefix("#/").split("/"):
        plain = step.replace("%7B", "{").replace("%7D", "}").replace("~1", "/")
        found = found[plain]
    return found
