"""How large the metadata of a subscription or of a message may be.

A megabyte of tiny values takes a hundred times that in memory, and is read and written again with
each row. So there are two limits. Rows that were imported can be beyond them.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

# If SBM_MAX_METADATA_BYTES does not say otherwise.
MAX_METADATA_BYTES = 16 * 2**10
MAX_METADATA_VALUES = 1000


def metadata_problem(metadata: Any, *, max_bytes: int = MAX_METADATA_BYTES) -> str | None:
    """Why metadata, parsed from JSON, are too large; None if they are not.

    The bytes are those of the text that the database makes of it: ``octet_length(metadata::text)``.
    The values are all that are in it, also objects and arrays; the outermost one does not count.
    """
    if not metadata:
        return None
    count, spelled_out, level = 0, 0, [metadata]
    while level:
        below: list[Any] = []
        for one in level:
            if isinstance(one, (dict, list)):
                below.extend(one.values() if isinstance(one, dict) else one)
            elif isinstance(one, float):
                spelled_out += _bytes_spelled_out(one)
        count += len(below)
        if count > MAX_METADATA_VALUES:
            return f"Ensure this value has no more than {MAX_METADATA_VALUES} values in it."
        level = below
    text = json.dumps(metadata, ensure_ascii=False)
    if len(text.encode("utf-8", "surrogatepass")) + spelled_out > max_bytes:
        return f"Ensure this value has no more than {max_bytes} bytes as JSON."
    return None


def _bytes_spelled_out(number: float) -> int:
    """How many bytes longer a number is in the database, which writes no exponents."""
    text = repr(number)
    return len(format(Decimal(text), "f")) - len(text) if "e" in text else 0
