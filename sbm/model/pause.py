"""A pause: while it lasts, the daemons that it concerns do no work by themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from attrs import frozen

PauseKind = Literal["setting", "restored"]


@frozen(kw_only=True)
class Pause:
    """A pause that has not ended; ``reason`` says what to do about it.

    The kind is ``setting`` if SBM_PAUSED of one daemon is the cause, and ``restored`` if the
    database went back.
    """

    kind: PauseKind
    reason: str
    since: datetime
