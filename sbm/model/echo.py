"""What was sent, as an error quotes it."""

from __future__ import annotations

# Enough to see what is meant. What was sent can be a whole body, or a secret in the wrong place.
MOST_ECHOED = 200


def echoed(sent: object, most: int = MOST_ECHOED) -> str:
    """The text of a value, cut off behind so many characters."""
    text = str(sent)
    return text if len(text) <= most else f"{text[:most]}…"
