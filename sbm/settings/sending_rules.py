"""The settings that decide what is sent, for the daemon and for simulations."""

from __future__ import annotations

from sbm.model.content_limits import ContentLimits
from sbm.model.content_rules import MAX_TEXT_LENGTH
from sbm.model.metadata import MAX_METADATA_BYTES
from sbm.model.send import CONTENT_SETTLE
from sbm.model.simulation import SimulationRules, SimulationSettings
from sbm.settings.reading import Settings

# A body has four times as much at most: see BodyLimits.
_MOST_METADATA_BYTES = 2**18


def read_max_text_length(settings: Settings) -> int:
    """How many characters the Message Sender accepts, for the daemon and for commands."""
    return settings.count("SBM_MAX_TEXT_LENGTH", MAX_TEXT_LENGTH, most=1000000)


def read_max_metadata_bytes(settings: Settings) -> int:
    """How many bytes metadata may have, for the daemon and for commands."""
    return settings.count("SBM_MAX_METADATA_BYTES", MAX_METADATA_BYTES, most=_MOST_METADATA_BYTES)


def read_content_limits(settings: Settings) -> ContentLimits:
    """Both, for commands."""
    return ContentLimits(
        text_length=read_max_text_length(settings),
        metadata_bytes=read_max_metadata_bytes(settings),
    )


def read_simulation(settings: Settings) -> SimulationSettings:
    """All of them, for the daemon and for commands."""
    return SimulationSettings(
        rules=SimulationRules(
            max_text_length=read_max_text_length(settings),
            dry_runs=settings.ids("DRY_RUN_MESSAGESETS"),
            content_settle=settings.seconds(
                "SBM_CONTENT_SETTLE_SECONDS",
                int(CONTENT_SETTLE.total_seconds()),
                least=0,
                most=604800,
            ),
        ),
        max_rate=settings.optional_count("SBM_MAX_RATE", most=100_000),
    )
