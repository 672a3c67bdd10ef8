"""The schemas of the answers that all resources share: of errors, and of OPTIONS."""

from __future__ import annotations

from sbm.web.openapi.parts import Section
from sbm.web.openapi.schemas import one_object, said, schema
from sbm.web.schema.json_schema import FLAG, TEXT, JsonSchema

_OPTION: JsonSchema = {
    "type": "object",
    "properties": {
        "type": TEXT,
        "required": FLAG,
        "read_only": FLAG,
        "label": TEXT,
        "max_length": {"type": "integer"},
        "min_value": {"type": "integer"},
        "max_value": {"type": "integer"},
        "choices": {
            "type": "array",
            "items": one_object({"value": {}, "display_name": TEXT}),
        },
    },
    "required": ["type", "required", "read_only", "label"],
    "additionalProperties": False,
}

_SENTENCES: JsonSchema = {"type": "array", "items": TEXT, "minItems": 1}

SECTION = Section(
    schemas={
        "Detail": one_object({"detail": said(TEXT, "What is wrong, in one sentence.")}),
        "Refusal": {
            "description": "Why the values of the request are refused.",
            "anyOf": [
                schema("Detail"),
                {
                    "type": "object",
                    "description": "By field, or filter; `non_field_errors` is about several.",
                    "minProperties": 1,
                    "additionalProperties": _SENTENCES,
                },
                _SENTENCES,
            ],
        },
        "About": one_object(
            {
                "name": TEXT,
                "description": TEXT,
                "renders": {"type": "array", "items": TEXT},
                "parses": {"type": "array", "items": TEXT},
                "actions": {
                    "type": "object",
                    "description": "The fields, by method and name.",
                    "additionalProperties": {"type": "object", "additionalProperties": _OPTION},
                },
            },
            required=["name", "description", "renders", "parses"],
            note="The answer to OPTIONS.",
        ),
    }
)
