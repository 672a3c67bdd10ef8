"""Why sends are held back: they are owed, and wait for a person or for their hours."""

from __future__ import annotations

from typing import Literal, get_args

# The answers of the function hold_of in the database.
#   paused: a person paused them
Hold = Literal["paused"]

HOLDS: tuple[Hold, ...] = get_args(Hold)
