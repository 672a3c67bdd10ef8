"""The present fault of a Message Sender: the harness writes it, each request reads it."""

from __future__ import annotations

import json
import random
from pathlib import Path

from attrs import asdict, frozen

# Faults of a POST. All except the last five store the outbound.
POST_TROUBLES = (
    "stored, answered 500",
    "stored, hung up",
    "stored, answered without an id",
    "stored, answered with garbage",
    "stored, answered late",
    "stored late",
    "not stored, answered 500",
    "not stored, hung up",
    "busy, 503",
    "busy, 429",
    "wrong token, 401",
)

# Faults of the list of outbounds.
LIST_TROUBLES = ("list: 500", "list: garbage", "list: a loop", "list: somebody else's")


@frozen(kw_only=True)
class SenderFault:
    """One kind of fault, and the share of requests that have it; ``seconds`` is how late."""

    kind: str = ""
    share: float = 1.0
    seconds: float = 0.0

    def tell(self, path: Path) -> None:
        """Write it to the file that the Message Sender reads, in one step."""
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)), encoding="ascii")
        fresh.replace(path)


NONE = SenderFault()


def befallen(path: Path, among: tuple[str, ...]) -> SenderFault:
    """The fault of this request, if it is one of these kinds; mostly none."""
    try:
        trouble = SenderFault(**json.loads(path.read_text(encoding="ascii")))
    except FileNotFoundError:
        return NONE
    if trouble.kind in among and random.random() < trouble.share:
        return trouble
    return NONE
