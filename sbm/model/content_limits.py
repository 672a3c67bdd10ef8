"""The limits of what is written, as the settings say."""

from __future__ import annotations

from attrs import frozen

from sbm.model.content_rules import MAX_TEXT_LENGTH
from sbm.model.metadata import MAX_METADATA_BYTES


@frozen(kw_only=True)
class ContentLimits:
    """How many characters a text that is sent may have, and how many bytes metadata."""

    text_length: int = MAX_TEXT_LENGTH
    metadata_bytes: int = MAX_METADATA_BYTES
