"""The signature of an operator: who makes a change, and why."""

from __future__ import annotations

from attrs import frozen

# The longest reason of a pause, in characters.
MAX_REASON = 500


@frozen(kw_only=True)
class Signature:
    """The name of an operator, and the reason for a change, for the ledger and the audit."""

    actor: str
    reason: str = ""
