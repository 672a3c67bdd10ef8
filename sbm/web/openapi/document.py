"""Builds the whole description from its sections."""

from __future__ import annotations

from collections.abc import Sequence

from sbm.model.user import PERMISSIONS, USUAL
from sbm.web.openapi.parts import HEADERS, PARAMETERS, Section, responses
from sbm.web.schema.json_schema import JsonSchema

_ABOUT = """\
This service stores messages, schedules and subscriptions. It sends to each subscriber the next
message of their set, on their schedule, once.

**Paths** work with and without a slash at the end; there are no redirects. HEAD works wherever GET
does, and OPTIONS on every path.

**Authentication** comes first: a token, or a name and a password. Then the service checks the
permission, the method, the row, the body, and last the values in the body. The answer has the first
error.

**Permissions.** `x-permissions` names what an operation needs. Every user can read content and the
health. A user who is not limited holds {usual}; a limited user holds only what was granted, and an
administrator holds everything.

{permissions}

**Values** are read leniently. A text may be written as a number, and blanks at its ends are
removed. Integers, references and booleans may be written as texts (`"7"`, `"yes"`). Fields and
filters that are not described here are ignored. Forms have neither null nor types: in a form, an
empty reference is null, a missing boolean is false, and `metadata` is JSON text.

**Lists** have pages. A client that follows `next` to the end sees each row once, even if rows are
made and deleted meanwhile. An empty filter is ignored. If a filter is given twice, the last one
counts. A NUL is refused. Times are ISO 8601, in UTC unless they have an offset.

**URLs** in answers have the host of the Host header.
"""

_SECURITY: dict[str, JsonSchema] = {
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "The word `Token`, a blank, and the token.",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The name and the password of a user.",
    },
}


def _about() -> str:
    """The description of the whole, with the table of permissions."""
    rows = (f"`{name}`: {allows}" for name, allows in PERMISSIONS.items())
    usual = ", ".join(f"`{name}`" for name in PERMISSIONS if name in USUAL)
    return _ABOUT.replace("{usual}", usual).replace("{permissions}", " ".join(rows))


def document(version: str, sections: Sequence[Section]) -> JsonSchema:
    """These sections as OpenAPI 3.1, ready to be JSON; ``version`` is that of sbm."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stage-Based Messaging",
            "version": version,
            "description": _about(),
            "license": {"name": "BSD-3-Clause", "identifier": "BSD-3-Clause"},
        },
        "servers": [{"url": "/", "description": "This service."}],
        "tags": [
            {"name": name, "description": description}
            for section in sections
            for name, description in section.tags
        ],
        "paths": {path.path: path.described() for section in sections for path in section.paths},
        "components": {
            "schemas": {name: one for section in sections for name, one in section.schemas.items()},
            "parameters": dict(PARAMETERS),
            "headers": dict(HEADERS),
            "responses": responses(),
            "securitySchemes": _SECURITY,
        },
    }
