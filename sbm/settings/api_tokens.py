"""Reads the settings about tokens of the API, for the daemon and for commands."""

from __future__ import annotations

from sbm.model.user import MAX_TOKENS
from sbm.settings.reading import Settings


def read_max_tokens(settings: Settings) -> int:
    """How many live tokens a user may have."""
    return settings.count("SBM_MAX_TOKENS", MAX_TOKENS, most=100_000)


def read_inbound_tokens(settings: Settings) -> tuple[str, ...]:
    """The tokens that the Scheduler may show; the first one is told to it."""
    return settings.tokens("SCHEDULER_INBOUND_API_TOKEN")
