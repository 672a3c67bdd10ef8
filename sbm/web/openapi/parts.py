"""The parts that many operations share: parameters, headers, answers, and the form of a path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from sbm.web.http.api_request import MAX_KEY_LENGTH
from sbm.web.http.bodies import FORM, JSON, MULTIPART
from sbm.web.http.endpoint import REPLAYED
from sbm.web.http.needs import FOR_EVERY_USER, Needs
from sbm.web.openapi.schemas import one_object, ref, said, schema
from sbm.web.schema.json_schema import FLAG, TEXT, UUID, JsonSchema

# The characters of a key: visible ASCII, without quotes.
_KEY = f"[!#-~]{{1,{MAX_KEY_LENGTH}}}"

ALLOW = {
    "description": "The methods of this path.",
    "schema": TEXT | {"examples": ["GET, POST, HEAD, OPTIONS"]},
}
HEADERS: Mapping[str, JsonSchema] = {
    "Allow": {"required": True, **ALLOW},
    "AllowIfKnown": ALLOW,
    "WWW-Authenticate": {
        "description": "How to authenticate.",
        "required": True,
        "schema": TEXT | {"examples": ['Basic realm="api"']},
    },
    "Location": {
        "description": "The URL of the new row.",
        "required": True,
        "schema": {"type": "string", "format": "uri"},
    },
    REPLAYED: {
        "description": "The same request was done before; this is the earlier answer.",
        "schema": {"const": "true"},
    },
    "Retry-After": {
        "description": "Seconds to wait before the next try, if they are known.",
        "schema": TEXT | {"pattern": "^[0-9]+$"},
    },
}

PARAMETERS: Mapping[str, JsonSchema] = {
    "limit": {
        "name": "limit",
        "in": "query",
        "description": "How many rows a page has at most: no more than 1,000. 0, or a text that is"
        " not a number, is ignored.",
        "schema": {"type": "integer", "minimum": 0, "default": 1000},
    },
    "offset": {
        "name": "offset",
        "in": "query",
        "description": "How many rows come before the page. A text that is not a number is"
        " ignored.",
        "schema": {"type": "integer", "minimum": 0, "default": 0},
    },
    "cursor": {
        "name": "cursor",
        "in": "query",
        "description": "Where a page begins. The links to the next and the previous page have it."
        " It is valid for its list and filters only. Clients use it as it is.",
        "schema": TEXT | {"maxLength": 512},
    },
    "idempotency-key": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The client's own key for this request, with or without quotes. If the same"
        " user repeats the request within 24 hours, with the same key, path and body, it gets the"
        " same answer, and nothing is done again. A request with another body is refused.",
        "schema": TEXT | {"pattern": f'^({_KEY}|"{_KEY}")$'},
    },
}

# The answers that have the same form on all paths.
ERRORS: Mapping[str, JsonSchema] = {
    "Unreadable": {
        "description": "The request cannot be read, its headers are too large, or its Host header"
        " is invalid.",
        "schema": "Detail",
    },
    "Invalid": {
        "description": "The values are refused. The errors are given by field, as a list if a"
        " message as a whole is refused, or as a detail if the request cannot be read.",
        "schema": "Refusal",
    },
    "InvalidFilter": {
        "description": "A filter is refused, by its name; or the cursor, or the request, cannot"
        " be read.",
        "schema": "Refusal",
    },
    "Unauthenticated": {
        "description": "The credentials are missing or wrong.",
        "schema": "Detail",
    },
    "Forbidden": {
        "description": "The user does not have the permission, or the token is the Scheduler's,"
        " which may only call the two `send` endpoints.",
        "schema": "Detail",
    },
    "NotFound": {"description": "There is no such row.", "schema": "Detail"},
    "NotAcceptable": {
        "description": "The Accept header excludes JSON.",
        "schema": "Detail",
    },
    "TooSlow": {"description": "The request took too long to arrive.", "schema": "Detail"},
    "InUse": {
        "description": "Other rows refer to the row. Nothing was deleted.",
        "schema": "Detail",
    },
    "LastAdministrator": {
        "description": "The user is the last active administrator. Nothing was changed.",
        "schema": "Detail",
    },
    "TooLarge": {"description": "The body is too large.", "schema": "Detail"},
    "KeyReused": {
        "description": "The Idempotency-Key was used for a request with another body. Nothing was"
        " done.",
        "schema": "Detail",
    },
    "TooManyGuesses": {
        "description": "Many wrong credentials came from this address: nothing was looked up.",
        "schema": "Detail",
    },
    "TooManyTokens": {
        "description": "The user has as many live tokens as SBM_MAX_TOKENS allows, and uses all of"
        " them; or many wrong credentials came from this address.",
        "schema": "Detail",
    },
    "UnsupportedMediaType": {
        "description": "The media type of the body is not supported.",
        "schema": "Detail",
    },
    "Unavailable": {
        "description": "The database cannot be used now, or there are too many requests. Nothing"
        " was done, unless the detail says that this is not known.",
        "schema": "Detail",
    },
}

_PUBLISHING = "Needs content.publish, too, if people who are under way get what is changed."

# Every request may get these answers.
_CONNECTION = {400: "Unreadable", 408: "TooSlow", 413: "TooLarge", 503: "Unavailable"}

# The answer if a user has no room for another token.
TOO_MANY = {429: ref("responses", "TooManyTokens")}

ACCEPTED = one_object({"accepted": said(FLAG | {"const": True}, "The request was done, or begun.")})
NOT_ACCEPTED = one_object(
    {
        "accepted": FLAG | {"const": False},
        "reason": said(TEXT, "Why nothing was done."),
    }
)
TASK = one_object(
    {
        "accepted": FLAG | {"const": True},
        "task_id": said(UUID, "The id of the task."),
    }
)


@frozen(kw_only=True)
class Operation:
    """One method of one path.

    ``name`` is unique in the description. ``answers`` are its successes, by status, and its errors
    besides those of its path. ``body`` is the schema of its body, ``media_types`` are the types of
    the body, ``example`` is one in JSON; an operation without ``body`` does not read the body.
    ``takes_key``: a request with an Idempotency-Key is done once.
    """

    name: str
    summary: str
    answers: Mapping[int, JsonSchema]
    description: str = ""
    parameters: Sequence[JsonSchema] = ()
    body: JsonSchema | None = None
    example: Any = None
    media_types: Sequence[str] = (JSON, FORM, MULTIPART)
    takes_key: bool = False


@frozen(kw_only=True)
class PathItem:
    """One path; ``needs`` are the permissions of its methods.

    ``needs_user`` is false if no authentication is needed. ``is_api`` is false for paths besides
    the API: they have no authentication, and no OPTIONS in JSON.
    """

    path: str
    tag: str
    operations: Mapping[str, Operation]
    parameters: Sequence[JsonSchema] = ()
    needs: Needs = FOR_EVERY_USER
    needs_user: bool = True
    is_api: bool = True

    def described(self) -> JsonSchema:
        """The path for OpenAPI, with HEAD and OPTIONS."""
        described: JsonSchema = {"parameters": list(self.parameters)} if self.parameters else {}
        for method, operation in self.operations.items():
            described[method.lower()] = self._described(method, operation)
        read = self.operations.get("GET")
        if read is not None:
            described["head"] = self._described("HEAD", read)
        described["options"] = self._described("OPTIONS", self._options())
        return described

    def _described(self, method: str, operation: Operation) -> JsonSchema:
        is_head = method == "HEAD"
        errors = self._errors(operation)
        answers = {status: ref("responses", name) for status, name in errors.items()}
        answers |= operation.answers
        parameters = list(operation.parameters)
        if operation.takes_key:
            parameters.append(ref("parameters", "idempotency-key"))
            answers |= {
                status: _replayable(one)
                for status, one in operation.answers.items()
                if status < 300
            }
        if is_head:
            answers = {status: _without_content(one) for status, one in answers.items()}
        described: JsonSchema = {
            "operationId": f"head_{operation.name}" if is_head else operation.name,
            "tags": [self.tag],
            "summary": f"{operation.summary}, without the body" if is_head else operation.summary,
        }
        description = "" if is_head else self._description(method, operation)
        if description:
            described["description"] = description
        if parameters:
            described["parameters"] = parameters
        if operation.body is not None:
            content = {kind: {"schema": operation.body} for kind in operation.media_types}
            if operation.example is not None:
                content[JSON] = {"schema": operation.body, "example": operation.example}
            described["requestBody"] = {"required": True, "content": content}
        described["responses"] = {str(status): answers[status] for status in sorted(answers)}
        described["security"] = self._security(method)
        described["x-permissions"] = self.needs.of(method)
        return described

    def _description(self, method: str, operation: Operation) -> str:
        if method not in self.needs.publishing:
            return operation.description
        return f"{operation.description} {_PUBLISHING}".strip()

    def _errors(self, operation: Operation) -> dict[int, str]:
        errors = dict(_CONNECTION)
        if self.is_api:
            errors |= {401: "Unauthenticated", 406: "NotAcceptable", 429: "TooManyGuesses"}
        if self.is_api:
            errors[403] = "Forbidden"
        if operation.body is not None:
            errors |= {400: "Invalid", 415: "UnsupportedMediaType"}
        if operation.takes_key:
            errors[422] = "KeyReused"
        return errors

    def _security(self, method: str) -> list[JsonSchema]:
        if not self.needs_user:
            return []
        permissions = self.needs.of(method)
        return [{"token": permissions}, {"basic": permissions}]

    def _options(self) -> Operation:
        name = "_".join(filter(str.isidentifier, _words(self.path))) or "root"
        answer = answer_of(schema("About"), "The name, description and formats of this path.")
        if not self.is_api:
            answer = {"description": "No body: see Allow.", "headers": allow()}
        return Operation(
            name=f"options_{name}", summary="Describe this path", answers={200: answer}
        )


@frozen(kw_only=True)
class Section:
    """A part of the description: ``tags`` are its headings and their sentences."""

    tags: Sequence[tuple[str, str]] = ()
    paths: Sequence[PathItem] = ()
    schemas: Mapping[str, JsonSchema] = {}


def answer_of(body: JsonSchema, description: str, **headers: JsonSchema) -> JsonSchema:
    """A response with a JSON body; besides Allow it has these headers."""
    return {
        "description": description,
        "headers": allow() | headers,
        "content": {JSON: {"schema": body}},
    }


def no_content(description: str) -> JsonSchema:
    """A response without a body."""
    return {"description": description, "headers": allow()}


def allow() -> JsonSchema:
    """The header that every answer of a path has."""
    return {"Allow": ref("headers", "Allow")}


def responses() -> dict[str, JsonSchema]:
    """The shared answers, each also without a body, for HEAD."""
    whole = {name: _error(name, error) for name, error in ERRORS.items()}
    bare = {
        f"{name}WithoutBody": {part: one[part] for part in ("description", "headers")}
        for name, one in whole.items()
    }
    return whole | bare


def _error(name: str, error: JsonSchema) -> JsonSchema:
    headers = {"Allow": ref("headers", "AllowIfKnown")}
    if name == "Unauthenticated":
        headers["WWW-Authenticate"] = ref("headers", "WWW-Authenticate")
    if name in ("Unavailable", "TooManyGuesses"):
        headers["Retry-After"] = ref("headers", "Retry-After")
    return {
        "description": error["description"],
        "headers": headers,
        "content": {JSON: {"schema": schema(error["schema"])}},
    }


def _replayable(answer: JsonSchema) -> JsonSchema:
    replayed = {REPLAYED: ref("headers", REPLAYED)}
    return answer | {"headers": answer["headers"] | replayed}


def _without_content(answer: JsonSchema) -> JsonSchema:
    if "$ref" in answer:
        return {"$ref": answer["$ref"] + "WithoutBody"}
    return {part: value for part, value in answer.items() if part != "content"}


def _words(path: str) -> Iterable[str]:
    return path.replace("{", "").replace("}", "").replace("-", "_").replace(".", "_").split("/")
