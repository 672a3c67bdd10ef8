"""The description as a page. It has no scripts, and loads nothing from the network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.web.template import Tag, flattenString, tags

from sbm.web.schema.json_schema import JsonSchema

_MARKED = re.compile(r"\*\*(?P<strong>[^*]+)\*\*|`(?P<code>[^`]+)`")

# HEAD is GET without its body, and OPTIONS is the same on all paths: the page says this once.
_METHODS = ("get", "post", "put", "patch", "delete")


@frozen(kw_only=True)
class DescriptionPage:
    """A page, and its Content-Security-Policy."""

    html: bytes
    policy: str


def render(description: JsonSchema) -> DescriptionPage:
    """The page of a description."""
    style = files("sbm.web.openapi").joinpath("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    html: list[bytes] = []
    flattened: Deferred[bytes] = flattenString(None, _Writer(description).page(style))
    flattened.addCallback(html.append)
    (body,) = html  # one piece: nothing in it is asynchronous
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return DescriptionPage(
        html=b"<!DOCTYPE html>\n" + body, policy=f"{policy}; frame-ancestors 'none'"
    )


@frozen
class _Writer:
    """Makes the tags of a description."""

    _whole: JsonSchema

    def page(self, style: str) -> Tag:
        info = self._whole["info"]
        return tags.html(
            tags.head(
                tags.meta(charset="utf-8"),
                tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
                tags.title(info["title"]),
                tags.style(style),
            ),
            tags.body(
                tags.nav(self._contents()),
                Tag("main")(
                    tags.h1(info["title"]),
                    tags.p(
                        f"Version {info['version']}. ",
                        tags.a("openapi.json", href="/api/v1/openapi.json"),
                        " says the same to programs.",
                    ),
                    *_paragraphs(info["description"]),
                    tags.h2("Authentication", id="authentication"),
                    self._security(),
                    *self._sections(),
                    tags.h2("Schemas", id="schemas"),
                    *self._schemas(),
                ),
            ),
            lang="en",
        )

    def _contents(self) -> Tag:
        entries = [("authentication", "Authentication")]
        entries += [(_anchor(tag["name"]), tag["name"]) for tag in self._whole["tags"]]
        entries.append(("schemas", "Schemas"))
        return tags.ul(*(tags.li(tags.a(name, href=f"#{anchor}")) for anchor, name in entries))

    def _security(self) -> Tag:
        schemes = self._whole["components"]["securitySchemes"]
        return _terms((name, [one["description"]]) for name, one in schemes.items())

    def _sections(self) -> Iterator[Tag]:
        for tag in self._whole["tags"]:
            yield tags.h2(tag["name"], id=_anchor(tag["name"]))
            yield tags.p(tag["description"])
            for path, item in self._whole["paths"].items():
                for method in _METHODS:
                    if method in item and tag["name"] in item[method]["tags"]:
                        yield self._operation(path, method, item)

    def _operation(self, path: str, method: str, item: JsonSchema) -> Tag:
        operation = item[method]
        parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
        parts: list[Any] = [
            tags.summary(
                tags.b(method.upper(), class_=f"method {method}"),
                " ",
                tags.code(path),
                " ",
                tags.span(operation["summary"], class_="what"),
            ),
            *_paragraphs(operation.get("description", "")),
            tags.p(_access(operation["security"])),
        ]
        if parameters:
            parts += [tags.h4("Parameters"), self._parameters(parameters)]
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]
            (body,) = {one["schema"]["$ref"] for one in content.values()}
            parts += [tags.h4("Body"), tags.p(_link(body), " as ", ", ".join(content))]
            parts += [
                tags.pre(json.dumps(one["example"], indent=2))
                for one in content.values()
                if "example" in one
            ]
        parts += [tags.h4("Answers"), self._answers(operation["responses"])]
        return tags.details(*parts, id=operation["operationId"])

    def _parameters(self, parameters: Iterable[JsonSchema]) -> Tag:
        resolved = [self._resolved(one) for one in parameters]
        return _terms(
            (one["name"], [f"in the {one['in']}: ", self._type(one["schema"]), _told(one)])
            for one in resolved
        )

    def _answers(self, responses: JsonSchema) -> Tag:
        def said(answer: JsonSchema) -> list[Any]:
            found = self._resolved(answer)
            content = found.get("content", {})
            types = [self._type(one["schema"]) for one in content.values()]
            return [*types, " " if types else "", found["description"]]

        return _terms((status, said(answer)) for status, answer in responses.items())

    def _schemas(self) -> Iterator[Tag]:
        for name, one in self._whole["components"]["schemas"].items():
            yield tags.details(tags.summary(tags.code(name)), self._shape(one), id=f"schema-{name}")

    def _shape(self, schema: JsonSchema) -> Tag:
        if "properties" not in schema:
            return tags.p(self._type(schema), _told(schema))
        required = schema.get("required", [])
        return _terms(
            (
                name,
                [
                    self._type(one),
                    "" if name in required else ", optional",
                    f", by default {json.dumps(one['default'])}" if "default" in one else "",
                    _told(one),
                ],
            )
            for name, one in schema["properties"].items()
        )

    def _type(self, schema: JsonSchema) -> Any:
        """A schema in a few words."""
        if "$ref" in schema:
            return _link(schema["$ref"])
        if "anyOf" in schema:
            words: list[Any] = []
            for one in schema["anyOf"]:
                words += [" or " if words else "", self._type(one)]
            return words
        if "items" in schema:
            return ["array of ", self._type(schema["items"])]
        if "object" in schema.get("type", []) and "properties" in schema:
            return ["object ", self._shape(schema)]
        if isinstance(schema.get("additionalProperties"), dict):
            return ["object of ", self._type(schema["additionalProperties"])]
        return _scalar(schema)

    def _resolved(self, value: JsonSchema) -> JsonSchema:
        if "$ref" not in value:
            return value
        found = self._whole
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return found


def _scalar(schema: JsonSchema) -> str:
    kinds = schema.get("type", "any JSON")
    words = [kinds if isinstance(kinds, str) else " or ".join(kinds)]
    limits = {
        "format": "{}",
        "enum": "one of {}",
        "const": "{}",
        "minimum": "from {}",
        "maximum": "to {}",
        "maxLength": "up to {} characters",
        "pattern": "like {}",
    }
    for name, sentence in limits.items():
        if name in schema:
            value = schema[name]
            said = value if isinstance(value, str) else json.dumps(value)
            words.append(sentence.format(said))
    return ", ".join(words)


def _access(security: list[dict[str, list[str]]]) -> str:
    if not security:
        return "Needs no user."
    permissions = next(iter(security[0].values()))
    if not permissions:
        return "Needs any user."
    return f"Needs the permission {' and '.join(permissions)}."


def _told(schema: JsonSchema) -> list[Any]:
    return [". ", *_marked(schema["description"])] if "description" in schema else []


def _link(reference: str) -> Tag:
    name = reference.rpartition("/")[2]
    return tags.a(name, href=f"#schema-{name}")


def _terms(terms: Iterable[tuple[str, list[Any]]]) -> Tag:
    return tags.dl(
        *(part for term, said in terms for part in (tags.dt(tags.code(term)), tags.dd(*said)))
    )


def _paragraphs(text: str) -> list[Tag]:
    return [tags.p(*_marked(part)) for part in text.strip().split("\n\n") if part]


def _marked(text: str) -> Iterator[Any]:
    """A text with its **strong** words and its `code`."""
    end = 0
    for match in _MARKED.finditer(text):
        yield text[end : match.start()]
        yield tags.b(match["strong"]) if match["strong"] else tags.code(match["code"])
        end = match.end()
    yield text[end:]


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")
