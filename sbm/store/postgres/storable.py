"""Values as PostgreSQL can store them."""

from __future__ import annotations

from typing import Any

from psycopg2.extras import Json

from sbm.model.json_text import JsonText


def json_parameter(value: Any) -> str | Json | None:
    """JSON, as JsonText or parsed, as the parameter of a statement; None is no value."""
    if value is None:
        return None
    return value.text if isinstance(value, JsonText) else Json(value)


def storable(text: str) -> str:
    """The text without characters that PostgreSQL cannot store, which would make a batch fail."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
