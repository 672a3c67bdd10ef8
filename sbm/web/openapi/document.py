"""The whole description, of its sections."""

from __future__ import annotations

from collections.abc import Sequence

from sbm.web.openapi.parts import HEADERS, PARAMETERS, Section, responses
from sbm.web.schema.json_schema import JsonSchema

_ABOUT = """\
Stores the messages that people get stage by stage, the schedules they get them on, and who gets
what; and sends each subscriber the next message of her set, on her schedule, once.

**Paths** answer with a slash at the end and without one; there are no redirects. HEAD and OPTIONS
answer wherever GET and POST do.

**Authentication** comes first: a token, or a name and a password. Then come permission, method,
row, body, and at last what the body says: the first refusal is the one that is answered.

**Values** are taken leniently. Texts may come as numbers and are stripped; integers, references and
booleans may come as texts (`"7"`, `"yes"`). What is not described here is ignored, in bodies and
among filters. Forms know neither null nor types: an empty reference is null, a boolean that is not
there is false, and `metadata` is JSON text.

**Lists** come in pages. Who follows `next` to its end sees each row once, whatever others do
meanwhile. An empty filter is none; of a name that is there twice the last one counts; a NUL is
refused. Times are ISO 8601, in UTC unless they tell their offset.

**URLs** in answers follow the Host header.
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


def document(version: str, sections: Sequence[Section]) -> JsonSchema:
    """These sections as OpenAPI 3.1, ready to be JSON; ``version`` is that of sbm."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stage-Based Messaging",
            "version": version,
            "description": _ABOUT,
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
