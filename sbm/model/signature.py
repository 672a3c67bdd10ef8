"""Who does something, and why."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Signature:
    """What an operator puts to what she does, for the ledger and the audit."""

    actor: str
    reason: str = ""
