"""The simplest JSON Schemas, from which the OpenAPI description is made."""

from __future__ import annotations

from typing import Any

from sbm.model.ids import LARGEST_ID

JsonSchema = dict[str, Any]

TEXT: JsonSchema = {"type": "string"}
NUMBER: JsonSchema = {"type": "number"}
COUNT: JsonSchema = {"type": "integer", "minimum": 0}
FLAG: JsonSchema = {"type": "boolean"}
ROW_ID: JsonSchema = {"type": "integer", "minimum": 1, "maximum": LARGEST_ID}
UUID: JsonSchema = {"type": "string", "format": "uuid"}
URL: JsonSchema = {"type": "string", "format": "uri"}
MOMENT: JsonSchema = {"type": "string", "format": "date-time"}
DAY: JsonSchema = {"type": "string", "format": "date"}
