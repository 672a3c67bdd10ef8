"""What operations raise where they cannot do what they were asked to."""

from __future__ import annotations


class Refused(Exception):
    """What was asked for cannot be done, and nothing was; the message says why, for a person."""
