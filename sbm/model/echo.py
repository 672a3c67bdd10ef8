"""How an error quotes a value that a client sent."""

from __future__ import annotations

# Enough to recognise the value. The value can be a whole body, or a secret in the wrong place.
MOST_ECHOED = 200


def echoed(sent: object, most: int = MOST_ECHOED) -> str:
    """The text of a value, cut off after ``most`` characters."""
    text = str(sent)
    return text if len(text) <= most else f"{text[:most]}…"
